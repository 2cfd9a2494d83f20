"""Many uploads: several at once, one after the other handed on; a bad folder does not end them, a lost store does."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from mlflow_bridge.errors import StoreError, TooLargeError, UploadError
from mlflow_bridge.model.values import UploadFailure, UploadOutcome, UploadPlan, UploadResult
from mlflow_bridge.source.discovery import find_sources
from mlflow_bridge.store.protocol import TrackingStore
from mlflow_bridge.uploads.known_runs import KnownRuns
from mlflow_bridge.uploads.listener import SILENT, Listener
from mlflow_bridge.uploads.one_run import preview, readable_run, upload_folder
from pynb_dag_runner.errors import RunFolderError, UsageError
from pynb_dag_runner.model.outcomes import RunStatus
from pynb_dag_runner.run_folder import read_run_record
from pynb_dag_runner.run_folder.archives import OpenedRun, opened

DEFAULT_JOBS = 4
"""Measured (benchmarks/upload/many.py): of 1, 2, 4 and 8 the fastest for small run folders on a server."""
MAX_REQUESTS = 8
"""At once. MLflow's servers get no faster beyond, and fail with 16."""
_LOST_AFTER = 2
"""So many runs in a row that MLflow refused, or did not answer to: then it is asked something harmless."""

Done = UploadResult | UploadPlan | UploadFailure


def jobs_for(store: TrackingStore, wanted: int | None, sources: Sequence[Path | RunFolderError]) -> int:
    """How many runs are uploaded at once; sets how many requests each of them makes at once.

    A local file gets one: MLflow writes it with the interpreter's lock held most of the time, and sqlite knows one
    writer; two processes are no faster either.

    Args:
        wanted: by the user; None for the default.
        sources: as :func:`upload_each` takes them; nobody knows how many runs an archive holds.
    """
    if store.threads == 1:
        return 1
    most = len(sources) if all(_is_folder(source) for source in sources) else MAX_REQUESTS
    jobs = max(1, min(wanted or DEFAULT_JOBS, MAX_REQUESTS, most))
    store.threads = max(1, min(store.threads, MAX_REQUESTS // jobs))
    return jobs


def _is_folder(source: Path | RunFolderError) -> bool:
    return isinstance(source, RunFolderError) or source.is_dir()


@dataclass(frozen=True, kw_only=True)
class UploadOptions:
    """How to upload each run.

    Attributes:
        restore: take what was deleted out of MLflow's bin.
        dry_run: only find out what would be done.
    """

    restore: bool = False
    dry_run: bool = False


def upload_each(
    sources: Sequence[Path | RunFolderError],
    known_runs: KnownRuns | None,
    options: UploadOptions,
    *,
    jobs: int = 1,
    listener: Listener = SILENT,
) -> Iterator[Done]:
    """Upload run folders and archives of some; hands on what became of each run, in their order.

    If the store does not answer any more, what is left is handed on as failures that were not tried. Whoever stops to
    iterate (Ctrl-C, say) stops the uploads under way at their next task; uploading again goes on there.

    Args:
        sources: as :func:`mlflow_bridge.source.discovery.find_sources` gives them.
        known_runs: None stands for a store that does not exist, for a dry run.
        listener: is called from several threads if there are several jobs.
    """
    work = _Work(known_runs, options, listener)
    lost = _Lost(known_runs.store if known_runs else None)
    count = _Count(known_runs, listener, known=len(sources))
    with ExitStack() as extracted, _Pool(jobs, work.stop, listener.stopping) as pool:
        units = _units(sources, extracted, count)
        window: deque[_Unit] = deque()
        after = 0
        while not lost.reason:
            while len(window) < pool.ahead and (unit := next(units, None)):
                unit.begin(pool, work)
                window.append(unit)
            if not window:
                return
            first = window.popleft()
            ended = first.wait()
            first.close()
            after = first.number
            yield ended.done
            count.one_done()
            lost.count(ended.store_failed)
        work.stop.set()
        pool.cancel()
        for begun in window:
            after = begun.number
            yield begun.wait(lost.reason).done
        yield from none_tried(sources[after:], lost.reason)


def none_tried(sources: Sequence[Path | RunFolderError], reason: str) -> Iterator[UploadFailure]:
    """What becomes of sources if the store is not there. Archives, which nobody has opened, are named as such."""
    for source in sources:
        yield _not_tried(source.file if isinstance(source, RunFolderError) else source, reason)


@contextmanager
def opened_run(path: Path) -> Iterator["OneRun"]:
    """The only run at a path, in an archive, or below a directory.

    Raises:
        UsageError: there is no run, or there are several.
        RunFolderError: the archive, or the directory, can't be read.
    """
    source, *others = find_sources([path])
    if isinstance(source, RunFolderError):
        raise source
    with opened(source) as found:
        if others or len(found) > 1:
            raise UsageError(f"{path}: there are several runs in it, expected one; upload_many uploads them all")
        yield OneRun(opened=found[0])


@dataclass(frozen=True, kw_only=True)
class OneRun:
    """A run that can be read now."""

    opened: OpenedRun

    @property
    def folder(self) -> Path:
        """Where it can be read."""
        return self.opened.folder

    def named(self, result: UploadResult) -> UploadResult:
        """A result, with the run's place in its archive instead of the place where it lies for the moment."""
        return result if self.opened.shown == self.folder else replace(result, folder=self.opened.shown)


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """What became of a run, and whether it failed since MLflow refused or did not answer."""

    done: Done
    store_failed: bool = False


class _Unit:
    """One run that can be read now, or the reason why not. ``number``: so many sources are done with it."""

    def __init__(self, number: int, run: OpenedRun | RunFolderError, shown: Path, close: Callable[[], None]) -> None:
        self.number, self.shown, self.close = number, shown, close
        self._run = run
        self._result: Future[_Ended] = Future()

    def begin(self, pool: "_Pool", work: "_Work") -> None:
        if isinstance(self._run, RunFolderError):
            self._result.set_result(_Ended(done=UploadFailure(folder=self.shown, error=str(self._run))))
        else:
            self._result = pool.submit(work.one, self._run)

    def wait(self, reason: str = "") -> _Ended:
        """``reason``: why it may have been stopped."""
        try:
            return self._result.result()
        except CancelledError:
            return _Ended(done=_not_tried(self.shown, reason))


def _not_tried(path: Path, reason: str) -> UploadFailure:
    return UploadFailure(folder=path, error=f"not tried: {reason}", tried=False)


class _Count:
    """How many runs there are, as far as that is known, and how many are done."""

    def __init__(self, known_runs: KnownRuns | None, listener: Listener, known: int) -> None:
        self._known_runs, self._listener = known_runs, listener
        self._known, self._done = known, 0

    def more(self, number: int) -> None:
        """So many more than were known."""
        self._known += number
        if self._known_runs:
            self._known_runs.expect(number)
        self._listener.runs_done(self._done, self._known)

    def one_done(self) -> None:
        """One more is done."""
        self._done += 1
        self._listener.runs_done(self._done, self._known)


def _units(sources: Sequence[Path | RunFolderError], extracted: ExitStack, count: _Count) -> Iterator[_Unit]:
    """The runs of all sources. The last one of an archive removes, by ``close``, what was extracted."""
    for number, source in enumerate(sources, start=1):
        if isinstance(source, RunFolderError):
            yield _Unit(number, source, source.file, lambda: None)
            continue
        files = ExitStack()
        extracted.callback(files.close)
        try:
            runs = files.enter_context(opened(source))
        except RunFolderError as error:
            yield _Unit(number, error, source, files.close)
            continue
        if len(runs) > 1:
            count.more(len(runs) - 1)
        for run in runs[:-1]:
            yield _Unit(number - 1, run, run.shown, lambda: None)
        yield _Unit(number, runs[-1], runs[-1].shown, files.close)


class _Pool:
    """Threads; of one job, the thread that submits."""

    def __init__(self, jobs: int, stop: Event, stopping: Callable[[], None]) -> None:
        self.ahead = 2 * jobs if jobs > 1 else 1
        """So many runs are begun, or wait to be, before the first of them is handed on."""
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="run") if jobs > 1 else None
        self._stop, self._stopping = stop, stopping

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        if kind in (KeyboardInterrupt, GeneratorExit):
            self._stopping()
        if self._threads:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def cancel(self) -> None:
        """Begin nothing more."""
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def submit(self, call: Callable[[OpenedRun], _Ended], run: OpenedRun) -> "Future[_Ended]":
        if self._threads:
            return self._threads.submit(call, run)
        future: Future[_Ended] = Future()
        future.set_result(call(run))
        return future


class _Work:
    """What is done with one run."""

    def __init__(self, known_runs: KnownRuns | None, options: UploadOptions, listener: Listener) -> None:
        self.stop = Event()
        self._known_runs, self._options, self._listener = known_runs, options, listener

    def one(self, run: OpenedRun) -> _Ended:
        """Raises nothing for what is wrong with the run, or with the store.

        Raises:
            CancelledError: it was stopped.
        """
        self._go_on()
        try:
            done = self._done(run)
        except (UploadError, RunFolderError, OSError) as error:
            # Of a run in an archive, people know its place there, not where it lies for the moment.
            text = str(error).replace(str(run.folder), str(run.shown))
            refused = isinstance(error, StoreError) and not isinstance(error, TooLargeError)
            return _Ended(done=UploadFailure(folder=run.shown, error=text), store_failed=refused)
        return _Ended(done=done if run.shown == run.folder else replace(done, folder=run.shown))

    def _done(self, run: OpenedRun) -> Done:
        folder = Path(os.path.abspath(run.folder))
        record = read_run_record(folder)
        if self._known_runs is None or record.status is RunStatus.RUNNING:
            readable_run(folder)
        if self._known_runs is None:
            return UploadPlan(folder=folder, run_id=record.run_id, outcome=UploadOutcome.UPLOADED)
        with self._known_runs.alone(record.run_id):
            unchanged = self._known_runs.unchanged(folder, record)
            if self._options.dry_run:
                outcome = unchanged.outcome if unchanged else self._preview(folder, self._known_runs)
                return UploadPlan(folder=folder, run_id=record.run_id, outcome=outcome)
            return unchanged or upload_folder(
                folder,
                self._known_runs.store,
                experiment=self._known_runs.experiment,
                restore=self._options.restore,
                listener=replace(self._listener, task_done=self._task_done),
            )

    def _preview(self, folder: Path, known_runs: KnownRuns) -> UploadOutcome:
        return preview(folder, known_runs.store, experiment=known_runs.experiment, restore=self._options.restore)

    def _task_done(self, done: int, total: int) -> None:
        self._listener.task_done(done, total)
        self._go_on()

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise CancelledError


class _Lost:
    """Whether the store is gone: after some errors in a row it is asked whether it is there at all."""

    def __init__(self, store: TrackingStore | None) -> None:
        self.reason = ""
        self._store = store
        self._in_a_row = 0

    def count(self, store_failed: bool) -> None:
        """One more run is done; sets ``reason`` if that shows that the store is gone."""
        self._in_a_row = self._in_a_row + 1 if store_failed else 0
        if self._in_a_row < _LOST_AFTER or self._store is None:
            return
        self._in_a_row = 0
        try:
            self._store.experiment("Default")
        except StoreError as error:
            self.reason = str(error)
