"""Sending a run folder to MLflow: repeatable, and to be gone on with after it was cut off.

Every MLflow run carries a key in a tag, and another tag that is written last. A run that has both is not touched
again, so that what people change in MLflow stays; one that has only the key is completed. A run folder that was resumed
has a greater revision: what is new in it is added.
"""

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow_bridge.errors import StoreError, UploadError
from mlflow_bridge.mapping.links import run_link
from mlflow_bridge.mapping.notes import INDEX, Places, pipeline_index, pipeline_note
from mlflow_bridge.mapping.runs import map_pipeline
from mlflow_bridge.mapping.saved_view import view_page, view_tags
from mlflow_bridge.mapping.timeline import trace_of
from mlflow_bridge.model.values import Batch, Experiment, StoredRun, UploadOutcome, UploadResult
from mlflow_bridge.store.protocol import TrackingStore
from mlflow_bridge.tags import KEY, PARENT, RUN_ID, SUPERSEDED, UPLOAD, UPLOADER, note_tags, pipeline_key, task_key
from mlflow_bridge.uploads.deduplicate import chosen, is_complete, is_superseded, orphans, revision, superseded
from mlflow_bridge.uploads.experiments import (
    check_experiment,
    existing_parent,
    experiment_for,
    experiment_name,
    restorable,
    restore_deleted,
)
from mlflow_bridge.uploads.listener import SILENT, Listener
from mlflow_bridge.uploads.native_runs import send_traces_again
from mlflow_bridge.uploads.run_content import Upload, create, fill, send_text
from mlflow_bridge.uploads.task_runs import known_runs, promoted_metrics, send_tasks
from mlflow_bridge.uploads.uploader import has_ended, new_uploader
from pynb_dag_runner.model.outcomes import RunStatus
from pynb_dag_runner.run_folder import Run, read_run
from pynb_dag_runner.run_folder.lock import locked_directory

_RUN_ID = re.compile(r"[\w.-]{1,100}", re.ASCII)


def upload_folder(
    folder: Path,
    store: TrackingStore,
    *,
    experiment: str | None = None,
    restore: bool = False,
    listener: Listener = SILENT,
) -> UploadResult:
    """Upload one run folder.

    Args:
        folder: a run folder whose run has ended.
        experiment: name of the MLflow experiment; by default the pipeline's name.
        restore: take what someone has deleted in MLflow out of its bin.

    Raises:
        UploadError: it could not be uploaded, or not completely.
        pynb_dag_runner.errors.RunFolderError: it is no run folder, or a damaged one.
    """
    run = readable_run(folder)
    with locked_directory(run.folder, listener.waiting):
        uploader = new_uploader()
        lost: set[str] = set()
        while True:
            try:
                return _upload(run, store, experiment, uploader, restore=restore, listener=listener)
            except StoreError:
                # What this upload was writing to may have lost against another one's: then there is a new state to
                # go on from. Any other error comes again, with nothing more lost meanwhile.
                before, lost = lost, _lost(run, store, experiment, uploader)
                if not lost - before:
                    raise


def _upload(
    run: Run, store: TrackingStore, experiment: str | None, uploader: str, *, restore: bool, listener: Listener
) -> UploadResult:
    target, restored = experiment_for(run, store, experiment, restore=restore)
    restored = (_restore(run, store, target) if restore else False) or restored
    known = existing_parent(run, store, target)
    outcome = UploadOutcome.RESTORED if restored else _outcome(run, known)
    if outcome is UploadOutcome.UNCHANGED:
        assert known is not None
        return _result(run, store, target, known, outcome, _remarks(run, store, target, known))
    with tempfile.TemporaryDirectory(prefix="pynb-dag-runner-upload-") as directory:
        upload = Upload(run=run, store=store, experiment=target, directory=Path(directory), uploader=uploader)
        sent = _send_pipeline(upload, known, listener)
    return _result(run, store, sent.experiment, sent.parent, outcome, sent.warnings)


def _lost(run: Run, store: TrackingStore, experiment: str | None, uploader: str) -> set[str]:
    """Ids of the runs that uploads have put into the bin in favour of others; none if the store can't even be asked.

    What this uploader has made below such a run since goes there, too.
    """
    try:
        there = store.experiment(experiment_name(run, experiment))
        runs = _all_runs(run, store, there) if there else []
        for orphan in orphans(runs, uploader):
            _put_away(store, orphan)
    except StoreError:
        return set()
    return {one.id for one in runs if one.deleted and is_superseded(one)}


def _put_away(store: TrackingStore, run: StoredRun) -> None:
    store.log_batch(run.id, Batch(tags=((UPLOAD, SUPERSEDED),)))
    store.delete_run(run.id)


def preview(
    folder: Path, store: TrackingStore | None, *, experiment: str | None = None, restore: bool = False
) -> UploadOutcome:
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
    if restore:
        there = replace(there, deleted=False)
        if restorable(_all_runs(run, store, there)):
            return UploadOutcome.RESTORED
    return _outcome(run, existing_parent(run, store, check_experiment(there, store)))


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


def _outcome(run: Run, known: StoredRun | None) -> UploadOutcome:
    """What is to be done with a run whose parent run in MLflow is ``known``."""
    if known is None:
        return UploadOutcome.UPLOADED
    if not is_complete(known):
        return UploadOutcome.COMPLETED
    return UploadOutcome.UPDATED if revision(known) < len(run.record.resumes) else UploadOutcome.UNCHANGED


def _restore(run: Run, store: TrackingStore, experiment: Experiment) -> bool:
    runs = _all_runs(run, store, experiment)
    return restore_deleted(store, runs) != runs


def _all_runs(run: Run, store: TrackingStore, experiment: Experiment) -> list[StoredRun]:
    """All that uploads have made of a run. What its tasks logged to the same experiment themselves has no key."""
    return [one for one in store.search(experiment.id, RUN_ID, run.id) if KEY in one.tags]


def _remarks(run: Run, store: TrackingStore, experiment: Experiment, parent: StoredRun) -> list[str]:
    """What a user should know of a run to which nothing is sent."""
    remarks = []
    if revision(parent) > len(run.record.resumes):
        remarks.append("MLflow has a later state of this run: it was resumed, and this is a copy from before")
    # Most runs have nothing in the bin: this is a short answer, whatever the number of tasks.
    binned = store.search(experiment.id, RUN_ID, run.id, deleted_only=True)
    if any(KEY in one.tags and not is_superseded(one) for one in binned):
        remarks.append("some of its task runs were deleted in MLflow; --restore takes them out of the bin")
    return remarks


@dataclass(frozen=True, kw_only=True)
class _Sent:
    parent: StoredRun
    experiment: Experiment
    warnings: tuple[str, ...] = ()


def _send_pipeline(upload: Upload, found: StoredRun | None, listener: Listener) -> _Sent:
    """Parent, tasks, then what is written on the parent last."""
    mapped = map_pipeline(upload.run, revision(found) if found else None, promoted_metrics(upload))
    parent = found or create(upload, mapped, None)
    earlier = _all_runs(upload.run, upload.store, upload.experiment) if found else []
    tasks = send_tasks(upload, parent, known_runs(earlier), listener)
    deleted = sorted(name for name, run in tasks.items() if run is None)
    places = _places(upload, parent, {name: run.id for name, run in tasks.items() if run})
    experiment = _send_view(upload)
    _send_trace(upload, parent)
    fill(upload, parent, mapped, {INDEX: pipeline_index(upload.run, places)}, pipeline_note(upload.run, places))
    winner = _converge(upload, parent, _dead_uploaders(upload, earlier))
    warnings = list(upload.warnings)
    if deleted:
        warnings.append(f"task runs deleted in MLflow stay deleted (--restore brings them back): {', '.join(deleted)}")
    return _Sent(parent=winner, experiment=experiment, warnings=tuple(warnings))


def _send_trace(upload: Upload, parent: StoredRun) -> None:
    """The timeline. A run without it is complete all the same."""
    try:
        upload.store.log_trace(upload.experiment.id, parent.id, trace_of(upload.run, upload.experiment.id))
    except StoreError as error:
        upload.warnings.append(f"MLflow has no timeline (trace) of this run: {error}")


def _send_view(upload: Upload) -> Experiment:
    """The experiment, with the saved view unless that could not be written, or a user has removed it."""
    tags = view_tags(upload.run, upload.experiment.tags)
    try:
        upload.store.tag_experiment(upload.experiment.id, tags)
    except StoreError as error:
        upload.warnings.append(f"the experiment has no saved view of its pipeline runs: {error}")
        return upload.experiment
    return replace(upload.experiment, tags={**upload.experiment.tags, **tags})


def _places(upload: Upload, parent: StoredRun, tasks: Mapping[str, str]) -> Places:
    return Places(experiment_id=upload.experiment.id, run_id=parent.id, tasks=tasks)


def _dead_uploaders(upload: Upload, earlier: Iterable[StoredRun]) -> set[str]:
    """Those whose incomplete runs nobody will complete: a lost answer may have made us send a request twice."""
    others = {run.tags[UPLOADER] for run in earlier if UPLOADER in run.tags}
    return {upload.uploader} | {uploader for uploader in others if has_ended(uploader)}


def _converge(upload: Upload, parent: StoredRun, abandoned: set[str]) -> StoredRun:
    """One set of runs, also if another host has uploaded a copy of the folder at the same time."""
    store = upload.store
    runs = _all_runs(upload.run, store, upload.experiment)
    lost = superseded(runs, pipeline_key(upload.run), abandoned.__contains__)
    for run in lost:
        try:
            _put_away(store, run)
        except StoreError:
            if not _is_in_bin(upload, run):  # by another upload that has come this far
                raise
    gone = {run.id for run in lost}
    left = [run for run in runs if run.id not in gone and not run.deleted]
    winner = chosen(run for run in left if run.tags.get(KEY) == pipeline_key(upload.run))
    if winner is None:
        raise StoreError(f"the run {upload.run.id} was deleted in MLflow while it was uploaded; upload it again")
    if lost:
        _link_again(upload, winner, left)
    return winner


def _is_in_bin(upload: Upload, run: StoredRun) -> bool:
    now = (one for one in _all_runs(upload.run, upload.store, upload.experiment) if one.id == run.id)
    return any(one.deleted for one in now)


def _link_again(upload: Upload, parent: StoredRun, left: Sequence[StoredRun]) -> None:
    """The links on the parent may lead to runs that have just gone, and traces may hang there."""
    by_key = {run.tags.get(KEY): run.id for run in left if run.tags.get(PARENT) == parent.id}
    ids = {task.name: by_key.get(task_key(upload.run, task)) for task in upload.run.tasks}
    places = _places(upload, parent, {name: run_id for name, run_id in ids.items() if run_id})
    send_text(upload, parent, INDEX, pipeline_index(upload.run, places))
    note = note_tags(pipeline_note(upload.run, places))
    upload.store.log_batch(parent.id, Batch(tags=tuple(note.items())))
    _send_trace(upload, parent)
    send_traces_again(upload, left)


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
        view_url=store.target.url(view_page(experiment)),
        tasks=len(run.tasks),
        warnings=tuple(warnings),
    )
