"""Take the steps of a run, new or resumed, in their order: from its folder to its report."""

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from pynb_dag_runner.execute import steps
from pynb_dag_runner.execute.request import RunInProgress, RunRequest
from pynb_dag_runner.model.outcomes import RunStatus
from pynb_dag_runner.run_folder import Run, TaskRun

Step = Callable[[RunInProgress], AbstractContextManager[object] | None]

NEW_RUN: tuple[Step, ...] = (
    steps.make_folder,  # undone: an empty folder is removed
    steps.lock_folder,  # undone: the folder is free again
    steps.report_in_the_end,  # undone: secrets are swept, the report is drawn
    steps.take_signals,  # undone: signals are given back
    steps.hide_variables,  # undone: variables are put back
    steps.prestart_processes,  # undone: processes are ended
    steps.announce_engine,
    steps.start_engine,  # undone: the engine is closed, if that has not begun
    steps.check_capacity,
    steps.share_project,
    steps.raise_swallowed_interrupt,
    steps.describe_run,
    steps.write_record,  # undone: files are closed
    steps.run_tasks,
    steps.close_engine_meanwhile,  # undone: the engine's end is waited for
    steps.finish_pages,
    steps.write_end,
)

RESUMED_RUN: tuple[Step, ...] = (
    steps.find_folder,
    steps.report_in_the_end,  # undone: secrets are swept, the report is drawn
    steps.take_signals,  # undone: signals are given back
    steps.hide_variables,  # undone: variables are put back
    steps.prestart_what_is_needed,  # undone: processes are ended
    steps.announce_engine,
    steps.start_engine,  # undone: the engine is closed, if that has not begun
    steps.check_capacity,
    steps.share_project,
    steps.raise_swallowed_interrupt,
    steps.describe_resume,
    steps.write_record,  # undone: files are closed
    steps.run_tasks,
    steps.close_engine_meanwhile,  # undone: the engine's end is waited for
    steps.finish_pages,
    steps.write_end,
)
"""Until its record is written, nothing in the folder of a resumed run changes."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended.

    Attributes:
        folder: absolute path of the run folder.
        tasks: by name, in plan order; ``tasks["x"].outputs`` are the values of its last attempt that JSON holds.
        interrupted_by: the signal that asked for its end while it ran; None if there was none.
    """

    run_id: str
    status: RunStatus
    folder: Path
    tasks: Mapping[str, TaskRun]
    interrupted_by: signal.Signals | None = None


def execute_run(request: RunRequest) -> RunResult:
    """Run a pipeline to its end, whatever its tasks do, or resume a run.

    If a run that is to be resumed had succeeded and all of it still counts, nothing is changed.

    Raises:
        OutputDirectoryError: no run folder can be made.
        ExecutorError: the engine can't start.
        PipelineError: a task asks for more than the engine can ever give.
        RunInterruptedError: the engine is gone.
        KeyboardInterrupt: before there was a record of the run.
    """
    if request.resumed is None:
        return take(NEW_RUN, request)
    if request.resumed.resumption.nothing_to_do:
        return _result_of(request.resumed.run)
    return take(RESUMED_RUN, request)


def take(all_steps: Sequence[Step], request: RunRequest) -> RunResult:
    """Take the steps in their order; what is to be undone is undone in the opposite order, whatever happens."""
    run = RunInProgress(request)
    with ExitStack() as stack:
        for step in all_steps:
            undone_later = step(run)
            if undone_later is not None:
                stack.enter_context(undone_later)
    return _result_of(run.finished, run.interrupts.first)


def _result_of(run: Run, interrupted_by: signal.Signals | None = None) -> RunResult:
    return RunResult(
        run_id=run.id, status=run.status, folder=run.folder, tasks=run.by_name, interrupted_by=interrupted_by
    )
