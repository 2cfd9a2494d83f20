"""Do the single steps of a run, from its folder to its report. Each step uses what the steps before it have made.

A step that is a context manager has something to undo: that is done when the run is over, whatever came of it, in the
opposite order. The order of the steps stands in :mod:`pynb_dag_runner.execute.runner`.
"""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from pynb_dag_runner import events, reports
from pynb_dag_runner.define import checks
from pynb_dag_runner.errors import PipelineError, RunInterruptedError
from pynb_dag_runner.execute import provenance
from pynb_dag_runner.execute.attempts import resources_of
from pynb_dag_runner.execute.context import RunContext
from pynb_dag_runner.execute.journal import Journal
from pynb_dag_runner.execute.loop import RunLoop
from pynb_dag_runner.execute.prestart import WarmProcesses
from pynb_dag_runner.execute.project_files import project_of
from pynb_dag_runner.execute.request import RunInProgress
from pynb_dag_runner.execute.run_records import given_records, planned_tasks, secret_variables
from pynb_dag_runner.execute.signals import Interrupts
from pynb_dag_runner.executors import executor_factory
from pynb_dag_runner.executors.base import EngineLost
from pynb_dag_runner.model.outcomes import Outcome, RunStatus
from pynb_dag_runner.model.recorded_values import recorded
from pynb_dag_runner.processes.private_directory import MARK_VARIABLE
from pynb_dag_runner.reports.pages.queue import PageProblem
from pynb_dag_runner.run_folder import paths, read_run
from pynb_dag_runner.run_folder.lock import FolderLock
from pynb_dag_runner.run_folder.records import RunRecord
from pynb_dag_runner.run_folder.writer import RunWriter, make_run_folder
from pynb_dag_runner.secrets.files import sweep
from pynb_dag_runner.secrets.marking import out_of_environment

CANCEL_PATIENCE_S = 2.0
"""For how long a user who has cancelled the run, or its pages, waits for the next page."""
_MAY_HAVE_DIED = (Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.CANCELLED)
"""Attempts that did not always come to take secrets out of their files themselves; nothing writes to these any more."""


@contextmanager
def make_folder(run: RunInProgress) -> Iterator[None]:
    """Make the run folder. Undone: a folder to which nothing was written is removed.

    Raises:
        OutputDirectoryError: no run folder can be made.
    """
    request = run.request
    run.folder, _ = make_run_folder(Path(os.path.abspath(request.output_dir)), request.dag.name, request.clock.now())
    try:
        yield
    finally:
        if not run.is_recorded:
            _remove_empty(run.folder)


def lock_folder(run: RunInProgress) -> AbstractContextManager[object]:
    """Keep others from working on the run folder. Undone: it is free again."""
    return FolderLock(run.folder)


def find_folder(run: RunInProgress) -> None:
    """Take the folder of the run that is resumed; the caller holds its lock."""
    assert run.request.resumed is not None, "a new run makes its folder"
    run.folder = run.request.resumed.run.folder


@contextmanager
def report_in_the_end(run: RunInProgress) -> Iterator[None]:
    """When nothing writes to the run folder any more: sweep secrets out of it, and draw the report.

    So it is for a run that is stopped since its engine is gone, too.
    """
    try:
        yield
    except RunInterruptedError:
        _report(run)
        raise
    _report(run)


@contextmanager
def take_signals(run: RunInProgress) -> Iterator[None]:
    """Take Ctrl-C, SIGTERM and SIGHUP: before the record is written they raise. Undone: they are given back."""
    with Interrupts() as run.interrupts:
        yield


def hide_variables(run: RunInProgress) -> AbstractContextManager[object]:
    """Take variables that secrets came from out of the environment. Undone: they are put back."""
    return out_of_environment(secret_variables(run.request.dag))


@contextmanager
def prestart_processes(run: RunInProgress) -> Iterator[None]:
    """Start what tasks need beside the engine, unless the caller has done so. Undone: it is ended."""
    request = run.request
    if request.processes is not None:
        run.processes = request.processes
        yield
        return
    with WarmProcesses.for_run(request.dag, request.settings) as run.processes:
        yield


@contextmanager
def prestart_what_is_needed(run: RunInProgress) -> Iterator[None]:
    """As :func:`prestart_processes`; where no task runs again, only pages may be missing, and no engine starts."""
    assert run.request.resumed is not None, "a new run needs all"
    if run.request.resumed.resumption.again:
        with WarmProcesses.for_run(run.request.dag, run.request.settings) as run.processes:
            yield
        return
    run.start_executor = executor_factory("inline")
    with WarmProcesses(hosts=False, notebooks=False) as run.processes:
        yield


def announce_engine(run: RunInProgress) -> None:
    """Say that a Ray starts, or is joined, which takes seconds; anything else is there at once."""
    settings = run.request.settings
    if settings.executor != "ray":
        return
    is_joined = settings.ray_address is not None
    message = f"joining the Ray cluster at {settings.ray_address}" if is_joined else "starting Ray"
    run.tell(events.EngineStarting(time=run.request.clock.now(), message=message))


@contextmanager
def start_engine(run: RunInProgress) -> Iterator[None]:
    """Start what runs the tasks. Undone: it is closed, unless that has begun.

    Raises:
        ExecutorError: the engine can't start.
    """
    mark_before = os.environ.get(MARK_VARIABLE)
    run.engine = run.start_executor(run.processes.new_host, run.processes.directory)
    try:
        mark = os.environ.get(MARK_VARIABLE)
        run.engine_mark = mark if mark != mark_before else None
        yield
    finally:
        if not run.is_engine_closing:
            run.engine.close()


def check_capacity(run: RunInProgress) -> None:
    """See whether the engine can ever give what tasks ask for, and note what else the user should know.

    Raises:
        PipelineError: a task asks for more than the engine can ever give.
    """
    dag = run.request.dag
    lacking = checks.capacity_problems({task.name: resources_of(task) for task in dag.tasks}, run.engine.capacity())
    if lacking and not run.request.settings.wait_for_nodes:
        raise PipelineError(dag.name, lacking)
    waits = [f"{problem}; it waits until the cluster has such a node" for problem in lacking]
    run.notes = (*checks.notes(dag.tasks), *waits)


def share_project(run: RunInProgress) -> None:
    """Give the project's files to an engine that needs them.

    Raises:
        UsageError: the project is too large.
    """
    run.notes += run.engine.share(partial(project_of, run.request.dag, run.request.base_dir))


def raise_swallowed_interrupt(run: RunInProgress) -> None:
    """Raise an interrupt again that a library has caught while it was imported.

    Raises:
        KeyboardInterrupt: there was one.
    """
    run.interrupts.raise_again()


def describe_run(run: RunInProgress) -> None:
    """Collect what ``run.json`` says of a new run."""
    request, dag = run.request, run.request.dag
    run.record = RunRecord(
        run_id=run.folder.name,
        pipeline=dag.name,
        description=run.redactor.text(dag.description),
        status=RunStatus.RUNNING,
        start=request.clock.now(),
        parameters=run.redactor.values(recorded(dag.parameters)),
        given=given_records(dag.given, dag.parameters, run.redactor),
        target=request.target,
        settings=request.settings,
        tasks=planned_tasks(dag, request.base_dir),
        driver=provenance.driver_record(request.settings.executor, run.engine_mark),
        git=provenance.git_record(request.base_dir),
        ci=run.redactor.values(provenance.ci_variables(os.environ)),
        versions=provenance.library_versions(),
    )


def describe_resume(run: RunInProgress) -> None:
    """Collect what ``run.json`` says of a resumed run, and what there is from before."""
    request, resumed = run.request, run.request.resumed
    assert resumed is not None, "a new run has nothing from before"
    run.record = resumed.record(
        now=max(request.clock.now(), resumed.run.end or resumed.run.start),
        settings=request.settings,
        target=request.target,
        driver=provenance.driver_record(request.settings.executor, run.engine_mark),
        git=provenance.git_record(request.base_dir),
        ci=run.redactor.values(provenance.ci_variables(os.environ)),
        versions=provenance.library_versions(),
    )
    run.earlier = resumed.earlier(html=request.settings.html)


@contextmanager
def write_record(run: RunInProgress) -> Iterator[None]:
    """Write ``run.json``: from here on there is a run, which interrupts end in order. Undone: the files are closed."""
    request = run.request
    run.interrupts.count_from_now()
    writer = RunWriter(run.folder, run.record)
    run.is_recorded = True
    try:
        run.context = RunContext(
            dag=request.dag,
            folder=run.folder,
            record=run.record,
            base_dir=request.base_dir,
            clock=request.clock,
            listeners=request.listeners,
            redactor=run.redactor,
            earlier=run.earlier,
            notes=run.notes,
            fork_server=run.processes.kernels,
        )
        run.journal = Journal(run.context, writer)
        yield
    finally:
        writer.close()


def run_tasks(run: RunInProgress) -> None:
    """Run the tasks to their end.

    Raises:
        RunInterruptedError: the engine is gone.
    """
    try:
        run.tasks = RunLoop(run.context, run.engine, run.journal, run.processes.pages, run.interrupts).run_tasks()
    except EngineLost as lost:
        run.journal.writer.end(run.record.model_copy(update={"status": RunStatus.INTERRUPTED}))
        raise RunInterruptedError(run.folder, str(lost)) from lost


@contextmanager
def close_engine_meanwhile(run: RunInProgress) -> Iterator[None]:
    """Close the engine while pages are made: a Ray takes a third of a second. Undone: its end is waited for."""
    run.is_engine_closing = True
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="closing") as thread:
        closing = thread.submit(run.engine.close)
        try:
            yield
        finally:
            closing.result()


def finish_pages(run: RunInProgress) -> None:
    """Wait for the last pages of notebooks; not for long if the user cancels the run, or cancels them now."""

    def patience_s() -> float | None:
        run.journal.beat()
        return CANCEL_PATIENCE_S if run.tasks.cancelled or run.interrupts.count else None

    for said in run.processes.pages.finish(patience_s):
        if isinstance(said, PageProblem):
            run.journal.warn(said.sentence)
        else:
            now = run.context.clock.now()
            run.journal.tell(events.PagesBeingMade(time=now, left=said.left, total=said.total))


def write_end(run: RunInProgress) -> None:
    """Record how the run ended."""
    status, time = run.tasks.run_status, run.tasks.time
    run.journal.say(events.RunEnded(time=time, status=status))
    run.journal.writer.end(run.record.model_copy(update={"status": status, "end": time}))


def _report(run: RunInProgress) -> None:
    """Read the run back, sweep its files, draw the report; a run whose report can't be drawn has run all the same."""
    run.finished = read_run(run.folder, known=run.earlier.untouched)
    for task in run.finished.tasks:
        for attempt in task.attempts:
            if attempt.outcome is None or attempt.outcome in _MAY_HAVE_DIED:
                with contextlib.suppress(OSError):  # said when it died
                    sweep(run.folder / attempt.folder, run.redactor)
    try:
        reports.write_reports(run.finished)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the drawing, the run itself is recorded
        message = f"no report was written: {type(error).__name__}: {error}"
        run.tell(events.Warned(time=run.request.clock.now(), message=message))


def _remove_empty(folder: Path) -> None:
    """Take back a run folder that nothing was written to."""
    with contextlib.suppress(OSError):
        (folder / paths.LOCK).unlink()
    for directory in (folder / paths.TASKS, folder):
        with contextlib.suppress(OSError):
            directory.rmdir()
