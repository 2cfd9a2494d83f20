"""What a run needs that a Python program starts: checked settings, a console, and that no interruption is swallowed."""

import asyncio
import functools
import sys
from collections.abc import Callable, Mapping
from typing import ParamSpec

from pynb_dag_runner.errors import UsageError
from pynb_dag_runner.execute.runner import RunResult
from pynb_dag_runner.execute.signals import deliver_again, signal_of
from pynb_dag_runner.executors import ExecutorName
from pynb_dag_runner.model.graph import Dag
from pynb_dag_runner.model.outcomes import RunStatus
from pynb_dag_runner.reports.console import RunConsole
from pynb_dag_runner.run_folder.records import SettingsRecord

_Arguments = ParamSpec("_Arguments")


def passes_interruptions_on(run: Callable[_Arguments, RunResult]) -> Callable[_Arguments, RunResult]:
    """Make a function that runs a pipeline let its program have the signals that the run had taken.

    The run has been ended in order by then. Without this a program would not notice, and begin its next run.
    """

    @functools.wraps(run)
    def passing_on(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> RunResult:
        try:
            result = run(*arguments, **options)
        except KeyboardInterrupt as error:  # before there was a run
            if (number := signal_of(error)) is not None:
                deliver_again(number)
            raise
        try:
            if result.interrupted_by is not None:
                deliver_again(result.interrupted_by)
            elif result.status is RunStatus.CANCELLED:  # an inline task was given the Ctrl-C itself
                raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            # No class of our own: only by KeyboardInterrupt itself does Python end as a program that Ctrl-C ended does.
            error.result = result  # type: ignore[attr-defined]
            error.add_note(f"The run was ended in order; its folder is {result.folder}")
            raise
        return result

    return passing_on


def settings_of(
    executor: ExecutorName,
    num_cpus: int | None,
    ray_address: str | None,
    fail_fast: bool,
    timeout_s: float | None,
    wait_for_nodes: bool,
    html: bool,
) -> SettingsRecord:
    """How to run, checked.

    Raises:
        UsageError: the time limit is none.
    """
    if timeout_s is not None and not 0 < timeout_s < float("inf"):
        raise UsageError(f"timeout_s, the run's time limit: got {timeout_s!r}, expected a number of seconds above 0")
    return SettingsRecord(
        executor=executor,
        num_cpus=num_cpus,
        ray_address=ray_address,
        fail_fast=fail_fast,
        timeout_s=timeout_s,
        wait_for_nodes=wait_for_nodes,
        html=html,
    )


def console_for(
    dag: Dag, executor: ExecutorName, progress: bool, attempts_before: Mapping[str, int] | None = None
) -> RunConsole:
    """The listener that shows the run on standard error.

    Raises:
        UsageError: notebooks can't run here with this executor.
    """
    if executor == "inline" and _in_event_loop() and any(task.kind == "notebook" for task in dag.tasks):
        raise UsageError(
            "executor 'inline' can't run notebooks where an event loop is running, as in Jupyter; use another"
        )
    before = attempts_before or {}
    return RunConsole(
        sys.stderr,
        max_attempts={task.name: before.get(task.name, 0) + task.options.retries + 1 for task in dag.tasks},
        live=progress and executor != "inline" and sys.stderr is not None and sys.stderr.isatty(),
        silent=not progress,
    )


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
