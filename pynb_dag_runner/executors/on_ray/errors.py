"""What Ray's errors mean for a job."""

from pynb_dag_runner.executors.base import Job

_LOST = ("ObjectLostError", "OwnerDiedError", "ObjectReconstructionFailed", "ReferenceCountingAssertionError")
"""Ray's errors for a value that went with the node that held it."""
_DEATHS = {
    "OutOfMemoryError": "its worker was ended because the node ran out of memory",
    "NodeDiedError": "the node that it ran on died",
    "WorkerCrashedError": "the Ray worker that it ran under died",
    "TaskCancelledError": "it was cancelled",
    **dict.fromkeys(_LOST, "a value that it needs was lost with the node that held it"),
}


def death_of(error: BaseException) -> str:
    """How a job's process died, for people."""
    kind = type(error).__name__
    for name, words in _DEATHS.items():
        if name in kind:
            return words
    return f"Ray reports {kind}: {error}"


def lost_input(job: Job, error: BaseException) -> bool:
    """Whether a job that has not begun ended since a value that it needs was lost."""
    kind = type(error).__name__
    return bool(job.inputs) and any(name in kind for name in _LOST)
