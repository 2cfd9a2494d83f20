"""Where plan, executor, work and run folder meet: a run from its folder, new or opened again, to its report."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pynb_dag_runner import events, reports
from pynb_dag_runner.define import checks
from pynb_dag_runner.errors import PipelineError, RunInterruptedError
from pynb_dag_runner.execute import provenance
from pynb_dag_runner.execute.attempts import resources_of
from pynb_dag_runner.execute.loop import Listener, RunLoop
from pynb_dag_runner.execute.prestart import WarmProcesses
from pynb_dag_runner.execute.project_files import project_of
from pynb_dag_runner.execute.reopening import Preparation
from pynb_dag_runner.execute.resume_state import Earlier
from pynb_dag_runner.execute.run_records import given_records, planned_tasks, redactor_for, secret_variables
from pynb_dag_runner.execute.signals import Interrupts
from pynb_dag_runner.executors import StartExecutor, executor_factory
from pynb_dag_runner.executors.base import EngineLost, Executor
from pynb_dag_runner.model.graph import Dag
from pynb_dag_runner.model.outcomes import Outcome, RunStatus
from pynb_dag_runner.model.recorded_values import recorded
from pynb_dag_runner.processes.private_directory import MARK_VARIABLE
from pynb_dag_runner.run_folder import Run, TaskRun, paths, read_run
from pynb_dag_runner.run_folder.lock import FolderLock
from pynb_dag_runner.run_folder.records import DriverRecord, RunRecord, SettingsRecord, TargetRecord
from pynb_dag_runner.run_folder.writer import RunWriter, make_run_folder
from pynb_dag_runner.secrets.files import sweep
from pynb_dag_runner.secrets.marking import out_of_environment
from pynb_dag_runner.secrets.masking import Redactor

_MAY_HAVE_DIED = (Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.CANCELLED)
"""Attempts that did not always come to take secrets out of their files themselves; nothing writes to these any more."""


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


@dataclass(frozen=True)
class _Engine:
    """An executor that has started, and what the user should know of it."""

    executor: Executor
    notes: tuple[str, ...]
    closing: "_Closing"


class _Closing:
    """Closes an engine once: beside something else if :meth:`begin` was called, else when it is called."""

    def __init__(self, engine: Executor) -> None:
        self._close = engine.close
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="closing")
        self._begun: Future[None] | None = None

    def begin(self) -> None:
        """Go on while the engine is closed: a Ray takes a third of a second."""
        self._begun = self._thread.submit(self._close)

    def __call__(self) -> None:
        """Wait for the end of what was begun, or close it now."""
        if self._begun is None:
            self._close()
        else:
            self._begun.result()
        self._thread.shutdown()


def _now() -> datetime:
    return datetime.now(UTC)


def run_dag(
    dag: Dag,
    *,
    output_dir: Path,
    executor: StartExecutor,
    settings: SettingsRecord,
    base_dir: Path,
    target: TargetRecord | None = None,
    listeners: Sequence[Listener] = (),
    clock: Callable[[], datetime] = _now,
    warm: WarmProcesses | None = None,
) -> RunResult:
    """Run a pipeline to its end, whatever its tasks do.

    Args:
        output_dir: the run folder is made below it.
        executor: starts the engine; it is closed here.
        settings: how to run; kept for a resume. The executor's are for the record.
        base_dir: directory of the pipeline's file; sources are recorded relative to it, and git is asked there.
        target: where the pipeline was loaded from, for a resume.
        listeners: called with each event after it is recorded.
        clock: gives the current time with a time zone.
        warm: processes for this run, if they have been started; the caller closes them. None: they are started here.

    Raises:
        OutputDirectoryError: no run folder can be made.
        ExecutorError: the engine can't start.
        PipelineError: a task asks for more than the engine can ever give.
        RunInterruptedError: the engine is gone.
    """
    redactor = redactor_for(dag)
    folder, run_id = make_run_folder(Path(os.path.abspath(output_dir)), dag.name, clock())
    with _told(folder, listeners, clock, redactor), ExitStack() as stack:
        discard = stack.enter_context(ExitStack())
        discard.callback(_remove_empty, folder)
        stack.enter_context(FolderLock(folder))
        interrupts = stack.enter_context(Interrupts())
        stack.enter_context(out_of_environment(secret_variables(dag)))
        warm = warm or stack.enter_context(WarmProcesses.for_run(dag, settings))
        _say_that_it_starts(settings, listeners, clock)
        engine, driver = _start_engine(executor, settings, dag, base_dir, warm, stack)
        interrupts.raise_again()
        record = RunRecord(
            run_id=run_id,
            pipeline=dag.name,
            description=redactor.text(dag.description),
            status=RunStatus.RUNNING,
            start=clock(),
            parameters=redactor.values(recorded(dag.parameters)),
            given=given_records(dag.given, dag.parameters, redactor),
            target=target,
            settings=settings,
            tasks=planned_tasks(dag, base_dir),
            driver=driver,
            git=provenance.git_record(base_dir),
            ci=redactor.values(provenance.ci_variables(os.environ)),
            versions=provenance.library_versions(),
        )
        writer = RunWriter(folder, record)
        discard.pop_all()  # from here on there is something worth keeping
        _drive(dag, record, engine, warm, writer, interrupts, stack, base_dir, listeners, clock, redactor)
    return _result(folder, listeners, clock, redactor, interrupts)


def resume_dag(
    preparation: Preparation,
    *,
    executor: StartExecutor,
    settings: SettingsRecord,
    base_dir: Path,
    target: TargetRecord | None = None,
    listeners: Sequence[Listener] = (),
    clock: Callable[[], datetime] = _now,
) -> RunResult:
    """Go on with a run in its own folder, which the caller has :func:`~pynb_dag_runner.execute.reopening.reopened`.

    If the run had succeeded and all of it still counts, nothing is changed. The arguments and errors are those of
    :func:`run_dag`; until the engine has started, nothing is changed either.
    """
    folder, dag = preparation.run.folder, preparation.dag
    redactor = redactor_for(dag)
    if preparation.resumption.nothing_to_do:
        return _result_of(preparation.run)
    with _told(folder, listeners, clock, redactor), ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        stack.enter_context(out_of_environment(secret_variables(dag)))
        if preparation.resumption.again:
            warm = stack.enter_context(WarmProcesses.for_run(dag, settings))
        else:
            executor, warm = (
                executor_factory("inline"),
                stack.enter_context(WarmProcesses(hosts=False, notebooks=False)),
            )
        _say_that_it_starts(settings, listeners, clock)
        engine, driver = _start_engine(executor, settings, dag, base_dir, warm, stack)
        interrupts.raise_again()
        record = preparation.record(
            now=max(clock(), preparation.run.end or preparation.run.start),
            settings=settings,
            target=target,
            driver=driver,
            git=provenance.git_record(base_dir),
            ci=redactor.values(provenance.ci_variables(os.environ)),
            versions=provenance.library_versions(),
        )
        writer, earlier = RunWriter(folder, record), preparation.earlier(html=settings.html)
        _drive(dag, record, engine, warm, writer, interrupts, stack, base_dir, listeners, clock, redactor, earlier)
    return _result(folder, listeners, clock, redactor, interrupts, earlier.untouched)


def _say_that_it_starts(settings: SettingsRecord, listeners: Sequence[Listener], clock: Callable[[], datetime]) -> None:
    """A Ray takes seconds to start, or to be reached; anything else is there at once."""
    if settings.executor != "ray":
        return
    is_joined = settings.ray_address is not None
    message = f"joining the Ray cluster at {settings.ray_address}" if is_joined else "starting Ray"
    for listener in listeners:
        listener(events.EngineStarting(time=clock(), message=message))


def _start_engine(
    executor: StartExecutor,
    settings: SettingsRecord,
    dag: Dag,
    base_dir: Path,
    warm: WarmProcesses,
    stack: ExitStack,
) -> tuple[_Engine, DriverRecord]:
    """Start it, to be closed by ``stack``, and see whether it can ever give what is asked for."""
    mark_before = os.environ.get(MARK_VARIABLE)
    engine = executor(warm.new_host, warm.directory)
    closing = _Closing(engine)
    stack.callback(closing)
    lacking = checks.capacity_problems({task.name: resources_of(task) for task in dag.tasks}, engine.capacity())
    if lacking and not settings.wait_for_nodes:
        raise PipelineError(dag.name, lacking)
    waits = [f"{problem}; it waits until the cluster has such a node" for problem in lacking]
    notes = (*checks.notes(dag.tasks), *waits, *engine.share(partial(project_of, dag, base_dir)))
    mark = os.environ.get(MARK_VARIABLE)
    driver = provenance.driver_record(settings.executor, mark if mark != mark_before else None)
    return _Engine(engine, notes, closing), driver


def _drive(
    dag: Dag,
    record: RunRecord,
    engine: _Engine,
    warm: WarmProcesses,
    writer: RunWriter,
    interrupts: Interrupts,
    stack: ExitStack,
    base_dir: Path,
    listeners: Sequence[Listener],
    clock: Callable[[], datetime],
    redactor: Redactor,
    earlier: Earlier | None = None,
) -> None:
    stack.callback(writer.close)
    interrupts.count_from_now()
    loop = RunLoop(
        dag,
        record,
        engine.executor,
        writer,
        listeners,
        clock,
        interrupts,
        warm.pages,
        base_dir,
        earlier=earlier,
        notes=engine.notes,
        redactor=redactor,
        fork_server=warm.kernels,
    )
    try:
        loop.run_tasks()
    except EngineLost as lost:
        writer.end(record.model_copy(update={"status": RunStatus.INTERRUPTED}))
        raise RunInterruptedError(writer.folder, str(lost)) from lost
    engine.closing.begin()
    loop.end()


@contextlib.contextmanager
def _told(
    folder: Path, listeners: Sequence[Listener], clock: Callable[[], datetime], redactor: Redactor
) -> Iterator[None]:
    """A run that is stopped has its report, too, once nothing writes to its folder any more."""
    try:
        yield
    except RunInterruptedError:
        _finished(folder, listeners, clock, redactor)
        raise


def _result(
    folder: Path,
    listeners: Sequence[Listener],
    clock: Callable[[], datetime],
    redactor: Redactor,
    interrupts: Interrupts,
    untouched: Mapping[str, TaskRun] | None = None,
) -> RunResult:
    return _result_of(_finished(folder, listeners, clock, redactor, untouched), interrupts.first)


def _finished(
    folder: Path,
    listeners: Sequence[Listener],
    clock: Callable[[], datetime],
    redactor: Redactor,
    untouched: Mapping[str, TaskRun] | None = None,
) -> Run:
    """The run as its folder tells it, without secrets where a worker could not take them out, and with its report."""
    run = read_run(folder, known=untouched)
    for task in run.tasks:
        for attempt in task.attempts:
            if attempt.outcome is None or attempt.outcome in _MAY_HAVE_DIED:
                with contextlib.suppress(OSError):  # said when it died
                    sweep(folder / attempt.folder, redactor)
    _report(run, listeners, clock)
    return run


def _result_of(run: Run, interrupted_by: signal.Signals | None = None) -> RunResult:
    return RunResult(
        run_id=run.id, status=run.status, folder=run.folder, tasks=run.by_name, interrupted_by=interrupted_by
    )


def _report(run: Run, listeners: Sequence[Listener], clock: Callable[[], datetime]) -> None:
    """Draw the report; a run whose report can't be drawn has run all the same."""
    try:
        reports.write_reports(run)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the drawing, the run itself is recorded
        message = f"no report was written: {type(error).__name__}: {error}"
        for listener in listeners:
            listener(events.Warned(time=clock(), message=message))


def _remove_empty(folder: Path) -> None:
    """Take back a run folder that nothing was written to."""
    with contextlib.suppress(OSError):
        (folder / paths.LOCK).unlink()
    for directory in (folder / paths.TASKS, folder):
        with contextlib.suppress(OSError):
            directory.rmdir()
