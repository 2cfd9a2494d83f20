"""Sending a run folder to MLflow: repeatable, and to be gone on with after it was cut off.

Every MLflow run carries a key in a tag, and another tag that is written last. A run that has both is never touched
again, so that what people change in MLflow stays; one that has only the key is completed.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlflow_bridge import mapping
from mlflow_bridge.converging import chosen, is_complete, nothing_to_send, superseded
from mlflow_bridge.description import INDEX, Places, attempt_note, pipeline_index, pipeline_note, task_note
from mlflow_bridge.errors import StoreError, UploadError
from mlflow_bridge.folder_files import named, open_inside
from mlflow_bridge.limits import MAX_EXPERIMENT_NAME_CHARACTERS, MAX_EXPERIMENT_TAG_CHARACTERS, batches, cut
from mlflow_bridge.links import run_link
from mlflow_bridge.locks import directory_lock
from mlflow_bridge.mapping import COMPLETE, KEY, NOTE, PARENT, RUN_ID, UPLOAD
from mlflow_bridge.store import TrackingStore
from mlflow_bridge.values import Batch, Experiment, MappedRun, StoredRun, UploadOutcome, UploadResult
from pynb_dag_runner.outcome import RunStatus
from pynb_dag_runner.run_folder import AttemptDetails, AttemptRun, Run, TaskRun, read_attempt_details, read_run

_RUN_ID = re.compile(r"[\w.-]{1,100}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Listener:
    """What an upload tells while it goes on.

    Attributes:
        task_done: called with the number of tasks that are there and the number of all; from the uploading thread.
        waiting: called if another upload of the same folder has to be waited for.
    """

    task_done: Callable[[int, int], None] = lambda done, total: None
    waiting: Callable[[], None] = lambda: None


_SILENT = Listener()


def upload_folder(
    folder: Path, store: TrackingStore, *, experiment: str | None = None, listener: Listener = _SILENT
) -> UploadResult:
    """Upload one run folder.

    Args:
        folder: a run folder whose run has ended.
        experiment: name of the MLflow experiment; by default the pipeline's name.

    Raises:
        UploadError: it could not be uploaded, or not completely.
        pynb_dag_runner.errors.RunFolderError: it is no run folder, or a damaged one.
    """
    run = readable_run(folder)
    with directory_lock(run.folder, listener.waiting):
        target = _experiment_for(run, store, experiment)
        known = existing_parent(run, store, target)
        if known is not None and is_complete(known):
            return _result(run, store, target, known, UploadOutcome.UNCHANGED)
        outcome = UploadOutcome.UPLOADED if known is None else UploadOutcome.COMPLETED
        with tempfile.TemporaryDirectory(prefix="pynb-dag-runner-upload-") as directory:
            upload = _Upload(run=run, store=store, experiment=target, directory=Path(directory))
            sent = _send_pipeline(upload, known, listener)
        return _result(run, store, target, sent.parent, outcome, sent.warnings)


def preview(folder: Path, store: TrackingStore | None, *, experiment: str | None = None) -> UploadOutcome:
    """What :func:`upload_folder` would do; changes nothing.

    Args:
        store: None stands for one that does not exist yet.

    Raises:
        As :func:`upload_folder`.
    """
    run = readable_run(folder)
    name = experiment_name(run, experiment)
    there = store.experiment(name) if store else None
    if store is None or there is None:
        return UploadOutcome.UPLOADED
    known = existing_parent(run, store, check_experiment(there, store))
    if known is None:
        return UploadOutcome.UPLOADED
    return UploadOutcome.UNCHANGED if is_complete(known) else UploadOutcome.COMPLETED


def readable_run(folder: Path) -> Run:
    """Read a run folder that can be uploaded.

    Raises:
        UploadError: its run has not ended, or its id could not stand in a search.
    """
    run = read_run(folder)
    if run.status is RunStatus.RUNNING:
        raise UploadError(f"{run.folder}: the run is still going on; upload it when it has ended")
    if not _RUN_ID.fullmatch(run.id):
        raise UploadError(f"{run.folder / 'run.json'}: run_id: got {run.id!r}, expected letters, digits, - and _")
    return run


def experiment_name(run: Run, wanted: str | None) -> str:
    """The experiment of a run: the pipeline's name, unless the user wants another.

    Raises:
        UploadError: MLflow would refuse the name.
    """
    name = wanted or run.pipeline
    if len(name) > MAX_EXPERIMENT_NAME_CHARACTERS or not name.strip():
        raise UploadError(
            f"the experiment's name {name[:40]!r} has {len(name)} characters; MLflow takes 1 to "
            f"{MAX_EXPERIMENT_NAME_CHARACTERS}"
        )
    return name


def check_experiment(experiment: Experiment, store: TrackingStore) -> Experiment:
    """An experiment that runs and files can be added to.

    Raises:
        UploadError: it was deleted, or it keeps its files behind a server and this is no server.
    """
    if experiment.deleted:
        raise UploadError(
            f"the experiment {experiment.name!r} was deleted in MLflow; restore it there, "
            f"remove it for good with `mlflow gc`, or choose another one with --experiment"
        )
    if store.target.database and experiment.artifact_location.startswith("mlflow-artifacts:"):
        raise UploadError(
            f"the experiment {experiment.name!r} was made by an MLflow server, which alone can write its artifacts "
            f"({experiment.artifact_location}); upload to that server (--tracking-uri http://…), "
            f"or choose another experiment with --experiment"
        )
    return experiment


def existing_parent(run: Run, store: TrackingStore, experiment: Experiment) -> StoredRun | None:
    """The parent run that an earlier upload made; None if there is none.

    Raises:
        UploadError: someone has deleted it in MLflow.
    """
    found = list(store.search(experiment.id, KEY, mapping.pipeline_key(run)))
    active = chosen(found)
    if found and active is None:
        raise UploadError(
            f"the run {run.id} was deleted in MLflow (experiment {experiment.name!r}); "
            "restore it there, or remove it for good with `mlflow gc`, and upload again"
        )
    return active


def _experiment_for(run: Run, store: TrackingStore, wanted: str | None) -> Experiment:
    name = experiment_name(run, wanted)
    tags = {"mlflow.experimentKind": "custom_model_development"}
    if run.record.description and not wanted:
        tags[NOTE] = cut(run.record.description, MAX_EXPERIMENT_TAG_CHARACTERS)
    return check_experiment(store.experiment(name) or store.create_experiment(name, tags), store)


@dataclass(frozen=True, kw_only=True)
class _Upload:
    """What does not change during one upload. ``directory``: private, for links with the names of artifacts."""

    run: Run
    store: TrackingStore
    experiment: Experiment
    directory: Path


@dataclass(frozen=True, kw_only=True)
class _Sent:
    parent: StoredRun
    warnings: tuple[str, ...] = ()


_Known = Mapping[tuple[str, str], list[StoredRun]]
"""Runs of an earlier upload by key and id of the run that they are nested in."""


def _send_pipeline(upload: _Upload, known: StoredRun | None, listener: Listener) -> _Sent:
    """Parent, tasks, then what is written on the parent last."""
    mapped = mapping.map_pipeline(upload.run)
    parent = known or _create(upload, mapped, None)
    earlier = _known_runs(upload) if known else {}
    tasks = _send_tasks(upload, parent, earlier, listener)
    deleted = sorted(name for name, run in tasks.items() if run is None)
    places = _places(upload, parent, {name: run.id for name, run in tasks.items() if run})
    _fill(upload, parent, mapped, {INDEX: pipeline_index(upload.run, places)}, pipeline_note(upload.run, places))
    warnings = [f"task runs deleted in MLflow stay deleted: {', '.join(deleted)}"] if deleted else []
    return _Sent(parent=_converge(upload, parent, places), warnings=tuple(warnings))


def _places(upload: _Upload, parent: StoredRun, tasks: Mapping[str, str]) -> Places:
    return Places(experiment_id=upload.experiment.id, run_id=parent.id, tasks=tasks)


def _known_runs(upload: _Upload) -> _Known:
    known: dict[tuple[str, str], list[StoredRun]] = {}
    for run in upload.store.search(upload.experiment.id, RUN_ID, upload.run.id):
        known.setdefault((run.tags.get(KEY, ""), run.tags.get(PARENT, "")), []).append(run)
    return known


def _send_tasks(upload: _Upload, parent: StoredRun, known: _Known, listener: Listener) -> dict[str, StoredRun | None]:
    """The run of each task, in plan order; None for one that someone has deleted in MLflow."""
    tasks = upload.run.tasks
    sent: dict[str, StoredRun | None] = {task.name: None for task in tasks}
    with ThreadPoolExecutor(upload.store.threads, thread_name_prefix="upload") as pool:
        futures = {pool.submit(_send_task, upload, parent, known, task): task.name for task in tasks}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                sent[futures[future]] = future.result()
                listener.task_done(done, len(tasks))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return sent


def _send_task(upload: _Upload, parent: StoredRun, known: _Known, task: TaskRun) -> StoredRun | None:
    """A task's run with the runs of its earlier attempts; None if someone has deleted it."""
    run = upload.run
    before = known.get((mapping.task_key(run, task), parent.id), [])
    stored = chosen(before)
    if nothing_to_send(before):
        return stored
    details = read_attempt_details(run, task.last_attempt) if task.last_attempt else AttemptDetails()
    mapped = mapping.map_task(run, task, details)
    stored = stored or _create(upload, mapped, parent)
    places = _places(upload, parent, {task.name: stored.id})
    for attempt in task.attempts[:-1]:
        _send_attempt(upload, stored, known, (task, attempt), places)
    _fill(upload, stored, mapped, {}, task_note(run, task, places, stored.id, details.tags.get(NOTE)))
    return stored


def _send_attempt(
    upload: _Upload, parent: StoredRun, known: _Known, which: tuple[TaskRun, AttemptRun], places: Places
) -> None:
    """The run of an attempt that was not the last one."""
    task, attempt = which
    before = known.get((mapping.attempt_key(upload.run, task, attempt), parent.id), [])
    if nothing_to_send(before):
        return
    details = read_attempt_details(upload.run, attempt)
    mapped = mapping.map_attempt(upload.run, task, attempt, details)
    stored = chosen(before) or _create(upload, mapped, parent)
    _fill(upload, stored, mapped, {}, attempt_note(attempt, places, stored.id, details.tags.get(NOTE)))


def _create(upload: _Upload, mapped: MappedRun, parent: StoredRun | None) -> StoredRun:
    tags = {**mapped.tags, PARENT: parent.id} if parent else mapped.tags
    return upload.store.create_run(upload.experiment.id, mapped.name, mapped.start_ms, tags)


def _fill(upload: _Upload, stored: StoredRun, mapped: MappedRun, texts: Mapping[str, str], note: str) -> None:
    """Everything of a run that is not said when it is made; the tag that makes it complete comes last."""
    store = upload.store
    with tempfile.TemporaryDirectory(dir=upload.directory) as directory:
        for file in mapped.files:
            target = PurePosixPath(file.target)
            with _path_of(upload.run.folder, file.source, Path(directory), target.name) as path:
                store.log_artifact(stored, path, _parent(target))
        for name, text in {**mapped.texts, **texts}.items():
            path = Path(directory, name)
            path.write_text(text, encoding="utf-8")
            store.log_artifact(stored, path, "")
    store.end_run(stored.id, mapped.status, mapped.end_ms)
    tags = {NOTE: note, UPLOAD: COMPLETE}
    for batch in batches(mapped.params, mapped.metrics, tags):
        store.log_batch(stored.id, batch)


@contextmanager
def _path_of(folder: Path, source: Path, directory: Path, name: str) -> Iterator[Path]:
    with open_inside(folder, source) as descriptor, named(descriptor, directory, name) as path:
        yield path


def _parent(target: PurePosixPath) -> str:
    return "" if target.parent == PurePosixPath() else str(target.parent)


def _converge(upload: _Upload, parent: StoredRun, places: Places) -> StoredRun:
    """One set of runs, also if another host has uploaded a copy of the folder at the same time."""
    store = upload.store
    runs = list(store.search(upload.experiment.id, RUN_ID, upload.run.id))
    lost = superseded(runs, mapping.pipeline_key(upload.run))
    for run in lost:
        store.delete_run(run.id)
    if not lost:
        return parent
    left = [run for run in runs if run.id not in {gone.id for gone in lost} and not run.deleted]
    winner = chosen(run for run in left if run.tags.get(KEY) == mapping.pipeline_key(upload.run))
    if winner is None:
        raise StoreError(f"the run {upload.run.id} was deleted in MLflow while it was uploaded; upload it again")
    # The links on the winner may lead to runs that have just gone.
    by_key = {run.tags.get(KEY): run.id for run in left if run.tags.get(PARENT) == winner.id}
    ids = {task.name: by_key.get(mapping.task_key(upload.run, task)) for task in upload.run.tasks}
    places = _places(upload, winner, {name: run_id for name, run_id in ids.items() if run_id})
    _send_text(upload, winner, INDEX, pipeline_index(upload.run, places))
    store.log_batch(winner.id, Batch(tags=((NOTE, pipeline_note(upload.run, places)),)))
    return winner


def _send_text(upload: _Upload, run: StoredRun, name: str, text: str) -> None:
    path = upload.directory / name
    path.write_text(text, encoding="utf-8")
    upload.store.log_artifact(run, path, "")


def _result(
    run: Run,
    store: TrackingStore,
    experiment: Experiment,
    parent: StoredRun,
    outcome: UploadOutcome,
    warnings: Iterable[str] = (),
) -> UploadResult:
    return UploadResult(
        folder=run.folder,
        run_id=run.id,
        outcome=outcome,
        tracking_uri=store.target.shown,
        experiment_id=experiment.id,
        mlflow_run_id=parent.id,
        url=store.target.url(run_link(experiment.id, parent.id)),
        tasks=len(run.tasks),
        warnings=tuple(warnings),
    )
