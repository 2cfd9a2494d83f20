"""Describe exceptions of a task as failures: kind, message and traceback."""

import traceback

from pynb_dag_runner.model.outcomes import Failure
from pynb_dag_runner.model.quantities import more_memory_than_declared
from pynb_dag_runner.model.text import cut_middle, plain
from pynb_dag_runner.secrets.masking import NO_SECRETS, Redactor

MAX_MESSAGE_CHARACTERS = 2_000
MAX_TRACEBACK_CHARACTERS = 100_000


class AttemptTimedOut(BaseException):
    """Raised in the task at its timeout; not an ``Exception``, so that the task's own handlers let it pass."""


def failure(kind: str, message: str, trace: str = "", *, redactor: Redactor = NO_SECRETS) -> Failure:
    """Make a failure: colours removed, secrets masked, then the middle of long texts cut out.

    Args:
        redactor: hides secrets, before a cut could leave half of one. Of a failure that is made of words of ours and
            of numbers alone there is nothing to hide.
    """

    def bounded(text: str, limit: int) -> str:
        return cut_middle(redactor.text(plain(text)), limit)

    return Failure(
        kind=redactor.text(plain(kind)),
        message=bounded(message, MAX_MESSAGE_CHARACTERS),
        traceback=bounded(trace, MAX_TRACEBACK_CHARACTERS),
    )


def failure_of(error: BaseException, *, skip_frames: int = 0, redactor: Redactor = NO_SECRETS) -> Failure:
    """The failure that an exception stands for.

    Args:
        skip_frames: outermost frames that belong to the runner, not to the task.
        redactor: hides secrets.
    """
    trace = error.__traceback__
    for _ in range(skip_frames):
        trace = trace.tb_next if trace is not None else None
    try:
        message = str(error)
        text = "".join(traceback.format_exception(type(error), error, trace))
    except Exception as broken:  # noqa: BLE001 - a user's __str__ or __repr__ may raise anything
        message = f"(its text can't be had: {type(broken).__name__})"
        text = "".join(traceback.format_tb(trace)) + type(error).__name__
    return failure(type(error).__name__, message, text, redactor=redactor)


def timeout_failure(timeout_s: float, where: str = "") -> Failure:
    """The failure of an attempt that was ended at its timeout."""
    return failure("Timeout", f"timed out {where}{' ' if where else ''}after {timeout_s:g} s")


def memory_failure(used_bytes: int, declared_bytes: int, where: str) -> Failure:
    """The failure of a notebook that was ended since it used more memory than it declared."""
    why = more_memory_than_declared(used_bytes, declared_bytes)
    return failure("OutOfMemory", f"{where}: the notebook {why}")
