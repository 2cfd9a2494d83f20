"""Run or resume a checked pipeline and show it: the one way, for Python programs and for the command line."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pynb_dag_runner.errors import UsageError
from pynb_dag_runner.execute.reopening import prepare, reopened
from pynb_dag_runner.execute.request import RunRequest
from pynb_dag_runner.execute.runner import RunResult, execute_run
from pynb_dag_runner.model.graph import Dag
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.reports.console import RunConsole
from pynb_dag_runner.run_folder import Run

AfterRun = Callable[[RunResult], dict[str, Any]]
"""Called when the run has ended and its summary was said; returns what there is to tell of it in JSON."""


@dataclass(frozen=True, kw_only=True)
class Display:
    """What a person sees of a run, on standard error.

    Attributes:
        progress: say how the run goes.
        summary: say how it ended; without progress, only if it did not succeed.
    """

    progress: bool = True
    summary: bool = True


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """A run that has ended.

    Attributes:
        duration_s: seconds that it took; None if nothing had to run.
        after: what was returned by the call that was made after the run.
    """

    result: RunResult
    duration_s: float | None
    after: dict[str, Any] = field(default_factory=dict)


def run_pipeline(request: RunRequest, display: Display, after_run: AfterRun | None = None) -> EndedRun:
    """Run a pipeline, or resume a run, and show it.

    Args:
        after_run: called when the run has ended, whatever its tasks did.

    Raises:
        UsageError: notebooks can't run here with this executor.

    Raises also what :func:`~pynb_dag_runner.execute.runner.execute_run` does.
    """
    resumption = request.resumed.resumption if request.resumed is not None else None
    console = _console(request, display)
    if request.resumed is not None and resumption is not None:
        console.say(resumption.sentences(request.resumed.run.id))
    with console:
        result = execute_run(replace(request, listeners=(console, *request.listeners)))
    if display.summary and not (resumption is not None and resumption.nothing_to_do):
        console.summarise(result.status, result.folder, list(result.tasks.values()))
    after = after_run(result) if after_run is not None else {}
    return EndedRun(result=result, duration_s=console.duration_s, after=after)


def selected(dag: Dag, settings: RunSettings) -> Dag:
    """The part of a pipeline that a run with these settings has.

    Raises:
        PipelineError: there is no such task, or one uses an output of a task that is not selected.
    """
    return dag.select(settings.tasks, with_upstream=settings.upstream) if settings.tasks else dag


@contextmanager
def resumable(
    run_dir: Path, request_for: Callable[[Run], RunRequest], *, to_write: bool = True
) -> Iterator[RunRequest]:
    """The request to resume a run, for as long as nobody else may do so.

    Args:
        request_for: says what to run now, from the run as it was.
        to_write: False: only look, change nothing; others are not held off.

    Raises:
        RunFolderError: it is no run folder, is damaged, or is not this user's.
        UsageError: another process works on the run, or it is one of another pipeline.
    """
    with reopened(run_dir, to_write=to_write) as run:
        request = request_for(run)
        yield replace(request, resumed=prepare(run, request.dag, request.base_dir))


def _console(request: RunRequest, display: Display) -> RunConsole:
    """The listener that speaks; a live view only on a terminal, and never across a debugger's prompt."""
    is_inline = request.settings.executor == "inline"
    if is_inline and _in_event_loop() and any(task.kind == "notebook" for task in request.dag.tasks):
        raise UsageError(
            "executor 'inline' can't run notebooks where an event loop is running, as in Jupyter; use another"
        )
    before = request.resumed.attempts_before if request.resumed is not None else {}
    return RunConsole(
        sys.stderr,
        max_attempts={task.name: before.get(task.name, 0) + task.options.retries + 1 for task in request.dag.tasks},
        live=not is_inline and sys.stderr is not None and sys.stderr.isatty(),
        silent=not display.progress,
    )


def _in_event_loop() -> bool:
    import asyncio  # here, since most runs need it not

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
