"""The seam between what decides and what executes: submit, wait for events, cancel, close.

A job's call returns a generator. What it yields reaches the driver as :class:`JobMessage`, in order and at once; a
:class:`Keep` stays in the executor's store, and the driver gets a handle that later jobs can take as an input. After
its last message a job ends, also when its process died: every submitted job gives exactly one :class:`JobEnded`.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NewType, Protocol

from pynb_dag_runner.executors.project import PackedProject
from pynb_dag_runner.processes.module_files import Imports, own_imports

Handle = NewType("Handle", object)
"""Stands for a kept value; only the executor that gave it can make use of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Amounts that a job holds, or that a node has in all. ``memory`` is in bytes, 0 where not counted."""

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory: float = 0.0
    custom: Mapping[str, float] = field(default_factory=dict, hash=False)

    def lacking(self, needed: "Resources") -> list[str]:
        """What of ``needed`` these amounts can never give, such as ``num_cpus=8 (there are 2)``; empty if all."""
        pairs = [
            ("num_cpus", needed.num_cpus, self.num_cpus),
            ("num_gpus", needed.num_gpus, self.num_gpus),
            ("memory", needed.memory, self.memory),
            *((f"resource {name!r}", amount, self.custom.get(name, 0.0)) for name, amount in needed.custom.items()),
        ]
        return [f"{name}={wanted:g} (there are {there:g})" for name, wanted, there in pairs if wanted > there]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a job may take before its process is ended from outside; None: no limit.

    An executor that runs jobs in the driver's own process can't keep them.

    Attributes:
        time_s: seconds from its first message.
        memory_bytes: resident memory by which the job's process and all its descendants may grow after it.
    """

    time_s: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A call to be made once, elsewhere.

    Attributes:
        key: unique among the jobs of one executor.
        call: picklable; called with the values of ``inputs``; returns a generator of messages. It reports failures of
            the work as messages: an exception that leaves it counts as a crash.
        inputs: handles of values that earlier jobs kept.
        resources: what the job holds while it runs.
        limits: beyond them its process is ended.
        imports: how modules are found where it runs; the same for all jobs of a run.
        shared: it may find what other such jobs did to their process, which is kept for them.
        rescue: made in the same place if the call's process died, for what it left there; its messages count as the
            job's. Only called where that place is another machine.
    """

    key: str
    call: Callable[..., Generator[object]]
    inputs: tuple[Handle, ...] = ()
    resources: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)
    imports: Imports = field(default_factory=own_imports)
    shared: bool = False
    rescue: Callable[[], Generator[object]] | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Yielded by a job: keep ``value`` in the executor's store and give the driver a handle only.

    ``pickled`` is the value's pickle where there is one already.
    """

    value: Any
    pickled: bytes | None = None


@dataclass(frozen=True, slots=True)
class LimitsOver:
    """Yielded by a job: its own work is over, and from here on its limits do not hold. A message like any other."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Yielded by a job: its own work can't begin before something is done; its limits hold from its next message on.

    Attributes:
        what: is done, for people, such as ``importing pandas``.
    """

    what: str


@dataclass(frozen=True, slots=True)
class Pickled:
    """A value as its pickle: the job's process makes it, the driver opens it, and nobody in between does."""

    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class JobStarted:
    """The job's call runs now, in process ``pid`` of ``host``.

    Attributes:
        ticks: when that process started, by which it is told from a later one of the same number; None: not known.
        node: Ray's name of the host; empty without Ray.
    """

    key: str
    host: str
    pid: int
    ticks: int | None = None
    node: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobMessage:
    """Something that the job yielded; between its process and the driver, as :class:`Pickled`."""

    key: str
    message: object


@dataclass(frozen=True, kw_only=True, slots=True)
class JobKept:
    """The job yielded a :class:`Keep`. A host's handle is the value itself, :class:`Pickled`; executors keep it."""

    key: str
    handle: Handle


@dataclass(frozen=True, kw_only=True, slots=True)
class JobEnded:
    """The job is over.

    Attributes:
        death: how its process died, in words; None if the call came to its end.
        cancelled: the end was asked for with ``cancel``.
        exceeded: the limit for which its process was ended.
        lost_input: it never ran, since a value that it needs was lost; submit it again with the value put anew.
    """

    key: str
    death: str | None = None
    cancelled: bool = False
    exceeded: Literal["time", "memory"] | None = None
    lost_input: bool = False


class EngineLost(Exception):
    """What executes jobs is gone, with all of them; the message says what, as a clause. Only closing is left."""


JobEvent = JobStarted | JobMessage | JobKept | JobEnded
"""What is said of a job, by these words on its whole way from the process that runs it to the driver's loop."""


class JobCancelled(BaseException):
    """Raised inside a running job whose cancellation was asked for.

    It is no ``Exception``, so that the handlers of user code let it pass.
    """


class Executor(Protocol):
    """Runs jobs. Not thread-safe: one thread submits, waits and cancels.

    Attributes:
        in_process: jobs run in this very process and so share its terminal.
    """

    in_process: bool

    def capacity(self) -> tuple[Resources, ...]:
        """What each node has in all; a job runs on one node."""
        ...

    def share(self, project: Callable[[], PackedProject]) -> tuple[str, ...]:
        """Make the project's files available to jobs wherever they run; ``project`` is called only where it is needed.

        Returns:
            What the user should know, a sentence each.

        Raises:
            UsageError: the project can't be packed.
        """
        ...

    def submit(self, job: Job) -> None:
        """Queue a job; returns at once."""
        ...

    def put(self, value: Any) -> Handle:
        """Keep a picklable value of the driver's, as an input of jobs."""
        ...

    def wait(self, timeout_s: float) -> list[JobEvent]:
        """What happened since the last call; waits at most ``timeout_s`` seconds for something to happen.

        Raises:
            EngineLost: nothing will happen any more.
        """
        ...

    def cancel(self, key: str, *, force: bool = False) -> None:
        """Ask a job to stop: :class:`JobCancelled` is raised in it. With ``force`` its process is ended at once.

        A job that is over already is left alone.
        """
        ...

    def close(self) -> None:
        """Release everything; jobs that still run are ended."""
        ...
