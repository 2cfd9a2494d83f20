"""The events of a run, as listeners receive them, in the order in which they happen.

All times are UTC with a time zone; durations are seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pynb_dag_runner.model.declarations import StoredInteger
from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.model.stored_types import AttemptNumber, StoredTime


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStarted:
    """The run folder exists; no task has started.

    ``tasks`` are the names of all tasks of the run, in plan order.
    """

    time: StoredTime
    pipeline: str
    run_id: str
    tasks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptStarted:
    """An attempt runs now (not: was queued). ``number`` counts from 1."""

    time: StoredTime
    task: str
    number: AttemptNumber
    host: str
    pid: StoredInteger


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptWaits:
    """An attempt has its place, and waits for something before it starts: listeners hear it, no record tells of it.

    Attributes:
        reason: such as ``importing pandas (preload)``.
    """

    time: StoredTime
    task: str
    number: AttemptNumber
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptEnded:
    """An attempt ended; ``retry_at`` is set when another one follows.

    ``start`` is None for an attempt that ended before it ran (its worker could not start, or it was cancelled).
    """

    time: StoredTime
    task: str
    number: AttemptNumber
    outcome: Outcome
    start: StoredTime | None
    failure: Failure | None
    retry_at: StoredTime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSettled:
    """A task has its final status. ``blocked_by`` names the task that made a SKIPPED one impossible."""

    time: StoredTime
    task: str
    status: TaskStatus
    blocked_by: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Warned:
    """Something the user should know that changes no outcome, such as an HTML page that could not be made."""

    time: StoredTime
    message: str
    task: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunAgain:
    """A task of a resumed run that is not taken over. ``reason`` is a phrase, such as ``its notebook changed``."""

    task: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResumed:
    """A run goes on in its own folder, after its driver died or it ended without success.

    Attributes:
        host, pid: of the new driver.
        tasks: names of all tasks of the run from now on, in plan order.
        parameters: names of pipeline parameters that have another value than before.
        again: tasks that run again, and why; all others are taken over.
        dropped: tasks that the pipeline has no more.
    """

    time: StoredTime
    pipeline: str
    run_id: str
    host: str
    pid: StoredInteger
    tasks: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    again: tuple[RunAgain, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnded:
    """The last word of a run."""

    time: StoredTime
    status: RunStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStarting:
    """Nothing runs yet: the engine takes seconds. ``message`` says it, such as ``starting Ray``."""

    time: StoredTime
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PagesBeingMade:
    """All tasks have ended; ``left`` of ``total`` HTML pages of notebooks are still to be made."""

    time: StoredTime
    left: int
    total: int


RecordedEvent = RunStarted | RunResumed | AttemptStarted | AttemptEnded | TaskSettled | Warned | RunEnded
"""What ``events.jsonl`` holds."""

Event = RecordedEvent | AttemptWaits | EngineStarting | PagesBeingMade
"""What listeners hear; the last three say what is waited for, and are not recorded."""

Listener = Callable[[Event], None]
"""Called with each event after it is recorded."""
