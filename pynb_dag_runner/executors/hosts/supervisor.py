"""Host processes as their supervisor sees them: starting one, giving it a job, what it says, how it ends."""

import contextlib
import math
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Literal

from pynb_dag_runner.executors.base import (
    Handle,
    JobEnded,
    JobEvent,
    JobKept,
    JobMessage,
    JobStarted,
    Limits,
    LimitsOver,
    Pickled,
    Waits,
)
from pynb_dag_runner.executors.hosts.cancellation import CANCEL_SIGNAL
from pynb_dag_runner.executors.hosts.frames import Frame, received
from pynb_dag_runner.model.quantities import more_memory_than_declared
from pynb_dag_runner.processes import marks
from pynb_dag_runner.processes.fork_server.client import (
    ForkedProcess,
    ForkRefused,
    ForkServer,
    ServerPlace,
    ask,
    is_possible,
    own_oom_score_adj,
)
from pynb_dag_runner.processes.fork_server.wire import ForkRequest
from pynb_dag_runner.processes.module_files import Imports
from pynb_dag_runner.processes.pickling import dumps, loads
from pynb_dag_runner.processes.process_table import describe_exit, end_marked, start_of, tree_memory_bytes

HOST = "pynb_dag_runner.executors.hosts.host"
"""The module that a host runs."""

STANDARD_ERROR = 2

_CLOSE_BOUND_S = 1.0
"""What an idle host gets to run its exit handlers."""
_IMPORT_BOUND_S = 60.0
"""What a job may import for, beside its limit, before its own work begins."""
_MEMORY_PERIOD_S = 0.25
_NEVER_S = 3600.0


class Host:
    """A process that runs one job at a time. Close it.

    It leads a session of its own: Ctrl-C at the terminal is for the driver alone.

    Args:
        directory: where it starts; None: where its supervisor is.
        environment: variables beside its supervisor's.
        modules: imported while it has no job yet.
        server: forks hosts that have imported them; None: each is started, as it is where the server can't.
    """

    def __init__(
        self,
        *,
        directory: str | None = None,
        environment: Mapping[str, str] | None = None,
        modules: Sequence[str] = (),
        server: ServerPlace | None = None,
    ) -> None:
        self._connection, child = Pipe()
        mark = str(marks.new_member(marks.own()))
        self._mark = f"{marks.MEMBER_VARIABLE}={mark}"
        variables = {**os.environ, **(environment or {}), marks.MEMBER_VARIABLE: mark}
        with child:
            forked = _forked(server, directory, variables, child) if server else None
            self._process = forked or _started(directory, variables, child, modules)
        self.pid = self._process.pid
        # Children of the job may hold the connection's other end open for longer than the host lives.
        self._end = self._process.fileno() if isinstance(self._process, ForkedProcess) else os.pidfd_open(self.pid)
        self._poll = select.poll()
        for waitable in (self._connection.fileno(), self._end):
            self._poll.register(waitable, select.POLLIN)
        self._key = ""
        self._limits = Limits()
        self._watch = _Watch(self.pid, self._limits)
        self._has_spoken = False
        self._told: list[Imports] = []
        self._spent = self.shared = False

    @property
    def alive(self) -> bool:
        """Whether it can take another job."""
        return not self._spent and self._process.poll() is None

    @property
    def waitables(self) -> list[Connection | int]:
        """What becomes readable when :meth:`step` has something to say."""
        return [self._connection, self._end]

    def next_look_s(self) -> float:
        """Seconds until :meth:`step` must be called although nothing became readable."""
        return self._watch.next_look_s()

    def takes(self, imports: Imports, *, shared: bool) -> bool:
        """Whether it can take a job: modules that it has imported for another run are those of that run.

        Args:
            shared: the job may find what other such jobs did to the process.
        """
        known = not self._told or self._told[0].identity == imports.identity
        return self.alive and known and (shared or not self.shared)

    def begin(
        self, key: str, imports: Imports, payload: bytes, inputs: list[bytes], limits: Limits, *, shared: bool = False
    ) -> None:
        """Give it a job that it takes.

        Args:
            key: the job's.
            imports: how it finds the modules.
            payload: the pickled call.
            inputs: pickled arguments.
            shared: in the host's process itself, which is used for such jobs alone from then on.
        """
        self._key, self._limits = key, limits
        self._watch = _Watch(self.pid, limits)
        self._has_spoken = False
        with contextlib.suppress(ConnectionError):  # it died; the next step says so
            news = None if any(imports is known or imports == known for known in self._told) else imports
            self._connection.send_bytes(dumps((news, shared, payload, inputs)))
            self._told += [news] if news else []
        self.shared = self.shared or shared

    def step(self, timeout_s: float = 0.0) -> JobEvent | None:
        """What happened next to its job; None if nothing did within ``timeout_s``."""
        ready = self._poll.poll(math.ceil(min(timeout_s, self.next_look_s()) * 1000))
        if any(descriptor != self._end for descriptor, _ in ready):
            with contextlib.suppress(EOFError, ConnectionError):
                return self._taken(*received(self._connection))
        if self._process.poll() is not None or self._connection.closed:
            return self._death()
        if exceeded := self._watch.exceeded():
            self.kill()
            return self._death(exceeded)
        return None

    def _taken(self, frame: Frame, content: bytes) -> JobEvent | None:
        match frame:
            case Frame.STARTED:
                self._watch.expect()
                started = start_of(self.pid)
                return JobStarted(key=self._key, host=socket.gethostname(), pid=self.pid, ticks=started)
            case Frame.SPENT:
                self._spent = True
                return None
            case Frame.MESSAGE:
                # With its first one a job says that its own work begins: until then it may have imported for seconds.
                if not self._has_spoken:
                    self._has_spoken = True
                    self._watch.begin()
                return JobMessage(key=self._key, message=Pickled(content))
            case Frame.WAITING:
                self._watch, self._has_spoken = _Watch(self.pid, self._limits), False
                return JobMessage(key=self._key, message=Waits(content.decode()))
            case Frame.UNLIMITED:
                self._watch = _Watch(self.pid, Limits())
                return JobMessage(key=self._key, message=LimitsOver())
            case Frame.KEPT:
                return JobKept(key=self._key, handle=Handle(Pickled(content)))
            case Frame.ENDED:
                return JobEnded(key=self._key)
            case Frame.FAILED:
                return JobEnded(key=self._key, death=content.decode())

    def _death(self, exceeded: Literal["time", "memory"] | None = None) -> JobEnded:
        code = self._process.wait()
        if exceeded == "memory":
            words = self._watch.memory_words()
        elif exceeded == "time":
            words = "its process was ended at its timeout"
        else:
            words = f"its process died: {describe_exit(code)}"
        return JobEnded(key=self._key, death=words, exceeded=exceeded)

    def cancel(self) -> None:
        """Raise JobCancelled in its job."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, CANCEL_SIGNAL)

    def kill(self) -> None:
        """End it at once, with its job."""
        self._process.kill()

    def close(self) -> None:
        """Let an idle host end in order; if it does not, or died, end all that it left behind."""
        self._connection.close()
        try:
            self._process.wait(_CLOSE_BOUND_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.returncode != 0:
            end_marked(self._mark)
        if not isinstance(self._process, ForkedProcess):
            os.close(self._end)


def opened(event: JobMessage) -> JobMessage:
    """In the driver: a job's message, unpickled."""
    return replace(event, message=loads(event.message.data)) if isinstance(event.message, Pickled) else event


@dataclass(frozen=True, slots=True)
class NewHosts:
    """How hosts for some jobs come about, wherever on this machine; the attributes are those of :class:`Host`."""

    modules: tuple[str, ...] = ()
    server: ServerPlace | None = None

    def __call__(self) -> Host:
        """One."""
        return Host(modules=self.modules, server=self.server)


class HostServer:
    """A fork server for hosts, where that is possible. Close it after them.

    It has this process's environment, and imports while this process has other things to do.

    Args:
        modules: that jobs need.
        below: for the server's sockets.
        entries: what else its processes may run.

    Attributes:
        place: where it can be asked for processes; None: nowhere.
        new_host: makes one.
    """

    def __init__(self, modules: Sequence[str], below: Path, entries: Sequence[str] = ()) -> None:
        self._server = None
        if modules and is_possible():
            self._server = ForkServer(HOST, *entries, environment=os.environ, modules=modules, below=below)
        self.place = self._server.place if self._server else None
        self.new_host = NewHosts(tuple(modules), self.place)

    def close(self) -> None:
        """End it."""
        if self._server:
            self._server.close()


def _started(
    directory: str | None, variables: Mapping[str, str], child: Connection, modules: Sequence[str]
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", HOST, str(child.fileno()), str(os.getpid()), *modules],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[child.fileno()],
        start_new_session=True,
        cwd=directory,
        env=variables,
    )


def _forked(
    server: ServerPlace, directory: str | None, variables: Mapping[str, str], child: Connection
) -> ForkedProcess | None:
    """A host from the server; None: it has none to give."""
    with contextlib.suppress(ForkRefused, OSError), Path(os.devnull).open("wb") as nowhere:
        request = ForkRequest(
            arguments=(),
            cwd=directory or str(Path.cwd()),
            environment=variables,
            oom_score_adj=own_oom_score_adj(),
        )
        descriptors = [nowhere.fileno(), STANDARD_ERROR, child.fileno()]
        return ask(server.socket, request, descriptors).answer()
    return None


class _Watch:
    """A job's clock and memory, looked at from outside: a C loop that holds the interpreter's lock hides nothing."""

    def __init__(self, pid: int, limits: Limits) -> None:
        self._pid = pid
        self._limits = limits
        self._end_at: float | None = None
        self._look_at: float | None = None
        self._resident_before = 0
        self._memory_before = 0
        self._memory = 0

    def expect(self) -> None:
        """The job imports what it needs, which may take time and memory beside its limits."""
        if self._limits.time_s is not None:
            self._end_at = time.monotonic() + self._limits.time_s + _IMPORT_BOUND_S

    def begin(self) -> None:
        """The job's own work begins."""
        now = time.monotonic()
        if self._limits.time_s is not None:
            self._end_at = now + self._limits.time_s
        if self._limits.memory_bytes is not None:
            self._resident_before = tree_memory_bytes(self._pid)
            self._memory_before = tree_memory_bytes(self._pid, enough=0)
            self._look_at = now + _MEMORY_PERIOD_S

    def next_look_s(self) -> float:
        moments = [moment for moment in (self._end_at, self._look_at) if moment is not None]
        return max(0.0, min(moments) - time.monotonic()) if moments else _NEVER_S

    def exceeded(self) -> Literal["time", "memory"] | None:
        """The limit that the job passed; looks at the memory no more often than is cheap."""
        now = time.monotonic()
        if self._end_at is not None and now >= self._end_at:
            return "time"
        if self._look_at is not None and now >= self._look_at:
            self._look_at = now + _MEMORY_PERIOD_S
            if self._limits.memory_bytes is not None:
                self._memory = tree_memory_bytes(self._pid) - self._resident_before
                if self._memory > self._limits.memory_bytes:
                    # Exactly, which takes longer: what it shares with what forked it, and with its own children.
                    self._memory = tree_memory_bytes(self._pid, enough=0) - self._memory_before
                if self._memory > self._limits.memory_bytes:
                    return "memory"
        return None

    def memory_words(self) -> str:
        assert self._limits.memory_bytes is not None
        return f"it {more_memory_than_declared(self._memory, self._limits.memory_bytes)}"
