"""How attempts, tasks and runs end: the words that a run folder uses."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    """The task's own code raised."""
    TIMED_OUT = "TIMED_OUT"
    CRASHED = "CRASHED"
    """Its process died: a signal, ``os._exit``, out of memory."""
    CANCELLED = "CANCELLED"


class TaskStatus(StrEnum):
    """Where a task stands; after its last attempt the status is that attempt's outcome."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    CRASHED = "CRASHED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"
    """An upstream task did not succeed."""
    REUSED = "REUSED"
    """It succeeded before the run was resumed, and was taken over."""

    @property
    def is_success(self) -> bool:
        """Whether the task's outputs are there, made now or earlier."""
        return self in (TaskStatus.SUCCEEDED, TaskStatus.REUSED)

    @property
    def is_final(self) -> bool:
        """Whether the task will not change any more."""
        return self not in (TaskStatus.PENDING, TaskStatus.RUNNING)


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    """The run ended and some task did not succeed."""
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"
    """The driver died without a last word. Never written: a reader concludes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why an attempt did not succeed, as text: reading it needs none of the user's classes.

    Attributes:
        kind: the exception's class name, or ``Timeout``, ``ProcessDied``, ``OutOfMemory``, ``DriverDied``,
            ``Cancelled``, ``MissingOutput``.
        message: one or a few lines.
        traceback: as Python prints it, without colour; empty where there is none.
    """

    kind: str
    message: str
    traceback: str = ""
