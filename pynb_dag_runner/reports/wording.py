"""How states, and notes on kernels, are said: one place, so that page, pictures, summary and console agree."""

from pynb_dag_runner.model.outcomes import Outcome, RunStatus, TaskStatus
from pynb_dag_runner.model.text import listed
from pynb_dag_runner.run_folder.run import AttemptRun, Run, TaskRun

State = TaskStatus | RunStatus | Outcome
"""What a report can say of a run, a task or an attempt. They share their words; a task or an attempt whose driver died
while it ran is ``RunStatus.INTERRUPTED``."""

MAX_NAMES_IN_SENTENCE = 3


def state_of_task(run: Run, task: TaskRun) -> State:
    """A task's status; INTERRUPTED if it was running when the driver died."""
    last = task.last_attempt
    if run.status is RunStatus.INTERRUPTED and not task.status.is_final and last and last.outcome is None:
        return RunStatus.INTERRUPTED
    return task.status


def state_of_attempt(run: Run, attempt: AttemptRun) -> State:
    """An attempt's outcome; RUNNING or INTERRUPTED while it has none."""
    if attempt.outcome is not None:
        return attempt.outcome
    return TaskStatus.RUNNING if run.status is RunStatus.RUNNING else RunStatus.INTERRUPTED


def state_word(state: State) -> str:
    """A state in plain words, such as ``timed out``."""
    return state.value.lower().replace("_", " ")


def kernel_notes(run: Run) -> list[str]:
    """Why kernels did not come about in the fastest way, or what notebooks missed by that: a sentence for each reason.

    Of each task the last attempt counts.
    """
    tasks: dict[str, list[str]] = {}
    for task in run.tasks:
        start = task.last_attempt.kernel_start if task.last_attempt else None
        for remark in start.remarks if start else ():
            tasks.setdefault(remark, []).append(task.name)
    return [f"kernel of {listed(names, MAX_NAMES_IN_SENTENCE)}: {remark}" for remark, names in tasks.items()]
