"""Attempts under way, as the driver sees them: what each is given, when it began, what its death means."""

import inspect
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pynb_dag_runner.events import AttemptStarted, AttemptWaits
from pynb_dag_runner.execute.clock import Clock
from pynb_dag_runner.executors.base import Handle, JobEnded, Limits, Resources
from pynb_dag_runner.model.graph import Dag, NotebookSource, Task
from pynb_dag_runner.model.outcomes import Failure, Outcome
from pynb_dag_runner.model.references import OutputReference, references_in, replace_references
from pynb_dag_runner.processes.fork_server.client import ServerPlace
from pynb_dag_runner.processes.module_files import Imports, known_files, own_imports
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.secrets.masking import NO_SECRETS, Redactor
from pynb_dag_runner.worker.failures import failure, timeout_failure
from pynb_dag_runner.worker.messages import AttemptSpec, FunctionWork, InputSlot, NotebookWork, thread_variables

FUNCTION_GRACE_S = 0.8
"""Seconds past its timeout after which a function's process is ended; its own alarm should have ended it before."""
NOTEBOOK_GRACE_S = 3.0
"""The worker ends a notebook's kernel itself within 2 s; this is for a worker that is stuck, too."""
EXECUTOR_GRACE_S = 1.0
"""The executor ends a job that passes its limits; this is for an executor whose supervisor is stuck."""


class Values:
    """Outputs of tasks that succeeded: values that JSON holds, and handles of what an executor keeps."""

    def __init__(self) -> None:
        self._outputs: dict[str, Mapping[str, Any]] = {}
        self._kept: dict[str, Handle] = {}

    def take(self, task: str, outputs: Mapping[str, Any]) -> None:
        """The outputs of the task's last attempt."""
        self._outputs[task] = outputs

    def keep(self, task: str, handle: Handle) -> None:
        """The task's return value is kept by the executor."""
        self._kept[task] = handle

    def kept_for(self, task: Task) -> list[str]:
        """Names of the tasks whose kept return values ``task`` is given."""
        references = references_in(task.parameters)
        return sorted({reference.producer.name for reference in references if reference.producer.name in self._kept})

    def find(self, reference: OutputReference) -> Any:
        """The value or the :class:`Handle` that ``reference`` stands for.

        Raises:
            LookupError: the task succeeded without setting it; the message says what it did set.
        """
        name, outputs = reference.producer.name, self._outputs.get(reference.producer.name, {})
        if reference.output_name in outputs:
            return outputs[reference.output_name]
        if reference.output_name == "return" and name in self._kept:
            return _Kept(self._kept[name])
        known = ", ".join(repr(key) for key in outputs) or "none"
        raise LookupError(f"task {name!r} never set the output {reference.output_name!r}; it set {known}")


@dataclass(frozen=True)
class _Kept:
    handle: Handle


@dataclass(kw_only=True)
class RunLimit:
    """The time that a whole run may take.

    Attributes:
        at: when it is over, in monotonic seconds.
        deadline: the same in UTC, for workers.
        over: it is, and what follows from it has been done.
    """

    timeout_s: float
    at: float
    deadline: datetime
    over: bool = False

    @classmethod
    def of(cls, timeout_s: float | None, clock: Clock) -> "RunLimit | None":
        """The limit of a run that starts now."""
        if timeout_s is None:
            return None
        return cls(
            timeout_s=timeout_s,
            at=clock.monotonic() + timeout_s,
            deadline=clock.now() + timedelta(seconds=timeout_s),
        )

    @property
    def words(self) -> str:
        """For messages."""
        return f"the run's time limit of {self.timeout_s:g} s was over"


@dataclass(kw_only=True)
class LiveAttempt:
    """One attempt from the moment that it is queued until its worker is done with its files.

    Attributes:
        start: when it began to run, UTC; None before.
        force_at: when its process is to be ended (monotonic seconds); None: never.
        ended: the task's own work is over; the worker may still be finishing files.
        stopping: its cancellation was asked for.
        stop_reason: why, in words.
        limit: that of the run, if it has one.
        timeout_s: seconds that it may run, known when it begins: its task's, or less if the run's limit comes first.
        run_limited: the run's limit comes first.
        inputs_lost: how often its job could not start since a value was lost on the way.
    """

    task: Task
    number: int
    queued: datetime
    host: str = ""
    pid: int = 0
    start: datetime | None = None
    force_at: float | None = None
    ended: bool = False
    stopping: bool = False
    stop_reason: str = "the run was cancelled"
    limit: RunLimit | None = None
    timeout_s: float | None = None
    run_limited: bool = False
    inputs_lost: int = 0

    @property
    def key(self) -> str:
        """Key of the attempt's job."""
        return f"{self.task.name}#{self.number}"

    def spec(
        self,
        run_id: str,
        folder: Path,
        values: Values,
        terminal: bool,
        redactor: Redactor = NO_SECRETS,
        fork_server: ServerPlace | None = None,
    ) -> tuple[AttemptSpec, tuple[Handle, ...]]:
        """What the worker is to do, and the handles of the values that it needs.

        Args:
            redactor: knows the secrets of the whole run.
            fork_server: for kernels, if there is one.

        Raises:
            LookupError: an upstream task did not set what this task needs, or a notebook can't receive it.
        """
        inputs: list[Handle] = []

        def resolve(reference: OutputReference) -> Any:
            value = values.find(reference)
            if not isinstance(value, _Kept):
                return value
            if isinstance(self.task.source, NotebookSource):
                raise LookupError(
                    f"the return value of task {reference.producer.name!r} is none that JSON can hold; "
                    "a notebook can't receive it"
                )
            inputs.append(value.handle)
            return InputSlot(len(inputs) - 1)

        parameters = {name: replace_references(value, resolve) for name, value in self.task.parameters.items()}
        spec = AttemptSpec(
            run_id=run_id,
            task=self.task.name,
            number=self.number,
            folder=paths.attempt_folder(folder, self.task.name, self.number),
            run_folder_inode=folder.stat().st_ino,
            scratch=f"pdr-a-{secrets.token_hex(16)}",
            work=work_of(self.task),
            queued=self.queued,
            parameters=parameters,
            modules={file.name: file.path for file in known_files()},
            variables={} if terminal else thread_variables(self.task.options.num_cpus),
            timeout_s=self.task.options.timeout_s,
            deadline=self.limit.deadline if self.limit else None,
            memory_bytes=self.task.options.memory,
            terminal=terminal,
            redactor=redactor,
            fork_server=fork_server,
        )
        return spec, tuple(inputs)

    @property
    def limits(self) -> Limits:
        """What the attempt's process is held to from outside. A notebook's kernel is watched by the worker itself."""
        timeout_s = self.task.options.timeout_s
        notebook = isinstance(self.task.source, NotebookSource)
        return Limits(
            time_s=None if timeout_s is None else timeout_s + (NOTEBOOK_GRACE_S if notebook else FUNCTION_GRACE_S),
            memory_bytes=None if notebook else self.task.options.memory,
        )

    def imports(self, imports: Imports) -> Imports:
        """What its worker must know of the run's modules; a notebook's has no use for those of functions."""
        return replace(imports, modules=()) if isinstance(self.task.source, NotebookSource) else imports

    def began(self, start: datetime, pid: int, now: float) -> None:
        """The attempt's clock starts; ``now`` is in monotonic seconds."""
        self.start, self.pid = start, pid
        self.timeout_s = self.task.options.timeout_s
        if self.limit is not None and (self.timeout_s is None or self.limit.at - now < self.timeout_s):
            self.timeout_s, self.run_limited = max(0.0, self.limit.at - now), True
        if self.timeout_s is not None and not self.stopping:
            grace = NOTEBOOK_GRACE_S if isinstance(self.task.source, NotebookSource) else FUNCTION_GRACE_S
            self.force_at = now + self.timeout_s + grace + EXECUTOR_GRACE_S

    def waits(self, time: datetime, reason: str) -> AttemptWaits:
        """What to tell of it before it starts."""
        return AttemptWaits(time=time, task=self.task.name, number=self.number, reason=reason)

    def started(self, start: datetime) -> AttemptStarted:
        """What to tell when it starts."""
        return AttemptStarted(time=start, task=self.task.name, number=self.number, host=self.host, pid=self.pid)

    def explained(self, outcome: Outcome, why: Failure | None) -> Failure | None:
        """The failure as its worker gave it; where the run's limit was the reason, with that."""
        if why is None or outcome is not Outcome.TIMED_OUT or not self.run_limited or self.limit is None:
            return why
        return replace(why, message=f"{why.message}; {self.limit.words}")

    def verdict_of_death(self, job: JobEnded, redactor: Redactor) -> tuple[Outcome, Failure]:
        """What it means that the job ended before the attempt finished.

        Args:
            redactor: hides secrets in the last words of the job's process.
        """
        timeout_s = self.task.options.timeout_s if self.timeout_s is None else self.timeout_s
        death = job.death or "its process ended without a word"
        if self.stopping:
            return Outcome.CANCELLED, Failure(kind="Cancelled", message=self.stop_reason)
        forced = self.start is not None and self.force_at is None
        if timeout_s is not None and (job.exceeded == "time" or forced):
            why = timeout_failure(round(timeout_s, 1))
            return Outcome.TIMED_OUT, self.explained(Outcome.TIMED_OUT, why) or why
        kind = "OutOfMemory" if job.exceeded == "memory" else "ProcessDied"
        return Outcome.CRASHED, failure(kind, death, redactor=redactor)


def work_of(task: Task) -> NotebookWork | FunctionWork:
    """The picklable form of a task's source."""
    if not isinstance(task.source, NotebookSource):
        return FunctionWork(function=task.source.function)
    from pynb_dag_runner.notebooks.source import read_notebook

    source = task.source
    notebook = read_notebook(source.path)
    return NotebookWork(
        content=notebook.content,
        path=source.path,
        cwd=source.cwd or source.path.parent,
        language=notebook.language,
        kernel=source.kernel,
    )


def imports_of(dag: Dag) -> Imports:
    """How the modules of a pipeline's functions are found where its tasks run."""
    functions = (task.source.function for task in dag.tasks if not isinstance(task.source, NotebookSource))
    plain = (inspect.unwrap(getattr(function, "func", function)) for function in functions)
    return own_imports(str(getattr(function, "__module__", None) or "builtins") for function in plain)


def resources_of(task: Task) -> Resources:
    """What the task's attempts hold while they run."""
    options = task.options
    return Resources(
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus,
        memory=float(options.memory or 0),
        custom=dict(options.resources),
    )


def pictures_of(task: Task | None, base_dir: Path) -> tuple[Path, Path] | None:
    """Where the pictures lie that a notebook shows: what their paths start from, and what they must not leave.

    Args:
        task: None: the pipeline has it no more.
    """
    if task is None or not isinstance(task.source, NotebookSource):
        return None
    directory = task.source.path.parent
    return directory, base_dir if directory.is_relative_to(base_dir) else directory
