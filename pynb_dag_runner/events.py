"""What listeners of a run hear, in the order in which it happens.

All times are UTC with a time zone; durations are seconds.
"""

from dataclasses import dataclass

from pydantic import AwareDatetime

from pynb_dag_runner.outcome import Failure, Outcome, RunStatus, TaskStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStarted:
    """The run folder exists; no task has started.

    ``tasks`` are the names of all tasks of the run, in plan order.
    """

    time: AwareDatetime
    pipeline: str
    run_id: str
    tasks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptStarted:
    """An attempt runs now (not: was queued). ``number`` counts from 1."""

    time: AwareDatetime
    task: str
    number: int
    host: str
    pid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptEnded:
    """An attempt ended; ``retry_at`` is set when another one follows.

    ``start`` is None for an attempt that ended before it ran (its worker could not start, or it was cancelled).
    """

    time: AwareDatetime
    task: str
    number: int
    outcome: Outcome
    start: AwareDatetime | None
    failure: Failure | None
    retry_at: AwareDatetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSettled:
    """A task has its final status. ``blocked_by`` names the task that made a SKIPPED one impossible."""

    time: AwareDatetime
    task: str
    status: TaskStatus
    blocked_by: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Warned:
    """Something the user should know that changes no outcome, such as an HTML page that could not be made."""

    time: AwareDatetime
    message: str
    task: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnded:
    """The last word of a run."""

    time: AwareDatetime
    status: RunStatus


Event = RunStarted | AttemptStarted | AttemptEnded | TaskSettled | Warned | RunEnded
