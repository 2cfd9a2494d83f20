"""What a task logged with MLflow's own calls, beside what joins its own run: other runs, datasets, models, traces.

All of it is sent before the task's run is marked as complete, so that an upload that was cut off goes on with it.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from mlflow_bridge.errors import StoreError, TooLargeError, UnknownCallError
from mlflow_bridge.limits import artifact_name, cut
from mlflow_bridge.mapping.native import MLMODEL, Replay, mlmodel_text, replayed
from mlflow_bridge.mapping.notes import defused
from mlflow_bridge.mapping.task_traces import new_ids, with_ids
from mlflow_bridge.model.captured_values import CapturedDataset
from mlflow_bridge.model.values import ArtifactFile, MappedModel, StoredModel, StoredRun
from mlflow_bridge.source.folder_files import open_inside
from mlflow_bridge.tags import KEY, NOTE, attempt_key, task_key
from mlflow_bridge.uploads.deduplicate import chosen, deleted_by_user, is_complete
from mlflow_bridge.uploads.run_content import Upload, create, fill, send_file
from pynb_dag_runner.run_folder import AttemptRun, TaskRun, read_attempt_details

_NOTE = "A run that the task began by itself, with MLflow's own calls."
_MAX_FAILED = 3
"""So many traces of an attempt that fail are no accident: for each, a server that does not answer is waited for."""
_SAID = 300
"""Characters of names in a warning."""
_MAX_MLMODEL_BYTES = 5_000_000
"""A larger one is sent as it is: it is none of MLflow's."""


def read_replay(upload: Upload, task: TaskRun, attempt: AttemptRun | None) -> Replay:
    """All that an attempt logged, by whatever calls; empty if there was none.

    Raises:
        pynb_dag_runner.errors.RunFolderError: one of the runner's own files is damaged.
    """
    if attempt is None:
        return Replay()
    details = read_attempt_details(upload.run, attempt)
    return replayed(upload.run, task, attempt, details, upload.captures.read(upload.run.folder, attempt))


def send_native(
    upload: Upload, known: Mapping[tuple[str, str], list[StoredRun]], stored: StoredRun, replay: Replay
) -> None:
    """Send what does not join the attempt's own run.

    Args:
        known: runs of earlier uploads by key and id of the run that they are nested in.
        stored: the attempt's own run.
    """
    upload.warnings.extend(replay.warnings)
    _send_inputs_and_models(upload, stored, replay.inputs, replay.models)
    sent: dict[str | None, StoredRun | None] = {None: stored}
    for one in replay.runs:
        parent = sent.get(one.parent_key)
        before = known.get((one.mapped.key, parent.id), []) if parent else []
        if parent is None or deleted_by_user(before):
            sent[one.mapped.key] = None
            continue
        there = chosen(before)
        run = there or create(upload, one.mapped, parent)
        sent[one.mapped.key] = run
        if not (there and is_complete(there)):
            _send_inputs_and_models(upload, run, one.inputs, one.models)
            fill(upload, run, one.mapped, {}, defused(one.mapped.tags.get(NOTE, _NOTE)))
    send_traces(upload, replay, {key: run.id for key, run in sent.items() if run})


def _send_inputs_and_models(
    upload: Upload, run: StoredRun, inputs: Sequence[CapturedDataset], models: Sequence[MappedModel]
) -> None:
    if inputs:
        upload.store.models.log_inputs(run.id, inputs)
    for model in models:
        try:
            stored = upload.store.models.find(upload.experiment.id, model.key)
        except UnknownCallError:
            names = cut(", ".join(one.name for one in models), _SAID)
            upload.warnings.append(
                f"{upload.store.target.shown} has no logged models (MLflow 3 has); left out: {names}"
            )
            return
        if stored is None:
            stored = upload.store.models.create(upload.experiment.id, run.id, model)
        if not stored.complete:
            _send_model_files(upload, run, stored, model)
            upload.store.models.finish(run.id, stored, model)


def _send_model_files(upload: Upload, run: StoredRun, stored: StoredModel, model: MappedModel) -> None:
    with tempfile.TemporaryDirectory(dir=upload.directory) as directory:
        for file in model.files:
            if file.target != MLMODEL or not _send_mlmodel(upload, run, stored, file, Path(directory, MLMODEL)):
                send_file(upload, stored.artifact_uri, file, Path(directory))


def _send_mlmodel(upload: Upload, run: StoredRun, stored: StoredModel, file: ArtifactFile, path: Path) -> bool:
    """A model's description with its new ids; False if it is none of MLflow's."""
    with open_inside(upload.run.folder, file.source) as descriptor:
        if os.fstat(descriptor).st_size > _MAX_MLMODEL_BYTES:
            return False
        with open(descriptor, "rb", closefd=False) as opened:
            text = opened.read().decode("utf-8", "replace")
    written = mlmodel_text(text, model_id=stored.id, run_id=run.id, artifact_uri=stored.artifact_uri)
    path.write_text(written, encoding="utf-8")
    upload.store.log_artifact(stored.artifact_uri, path, "")
    return True


def send_traces(upload: Upload, replay: Replay, run_ids: Mapping[str | None, str]) -> None:
    """Send the traces of an attempt. A run without one that is refused is complete all the same.

    Args:
        run_ids: MLflow's, by the keys of runs; None stands for the attempt's own. Traces of other runs are not sent.
    """
    wanted = [one for one in replay.traces if one.parent_key in run_ids]
    if not wanted:
        return
    ids = new_ids(wanted, upload.experiment.id) | _model_ids(upload, replay)
    sent, failed, refused = 0, 0, list[StoreError]()
    for one in wanted:
        trace = with_ids(one.trace, ids, run_ids[one.parent_key])
        try:
            artifact_uri = upload.store.log_task_trace(upload.experiment.id, trace)
        except StoreError as error:
            refused.append(error)
            failed += not isinstance(error, TooLargeError)
            if failed == _MAX_FAILED:
                break
        else:
            _send_attachments(upload, artifact_uri, trace.files)
            sent += 1
    if refused:
        count = f"{len(wanted) - sent} of the {len(wanted)} traces that the task {wanted[0].task} recorded"
        upload.warnings.append(f"{count} were left out: {refused[0]}")


def send_traces_again(upload: Upload, runs: Sequence[StoredRun]) -> None:
    """Hang the traces of tasks at these runs: another upload may have hung them at some that have just gone."""
    by_key: dict[str, list[StoredRun]] = {}
    for run in runs:
        by_key.setdefault(run.tags.get(KEY, ""), []).append(run)
    ids = {key: best.id for key, same in by_key.items() if (best := chosen(same))}
    for task in upload.run.tasks:
        for attempt in task.attempts:
            if not upload.captures.read(upload.run.folder, attempt).traces:
                continue
            replay = read_replay(upload, task, attempt)
            last = attempt is task.last_attempt
            own = task_key(upload.run, task) if last else attempt_key(upload.run, task, attempt)
            keys: dict[str | None, str] = {None: own} | {one.mapped.key: one.mapped.key for one in replay.runs}
            send_traces(upload, replay, {parent: ids[key] for parent, key in keys.items() if key in ids})


def _model_ids(upload: Upload, replay: Replay) -> dict[str, str]:
    """MLflow's new ids of the models that traces may name, by those of the capture."""
    models = [*replay.models, *(model for run in replay.runs for model in run.models)]
    found = ((model.captured_id, upload.store.models.find(upload.experiment.id, model.key)) for model in models)
    try:
        return {old: stored.id for old, stored in found if stored}
    except UnknownCallError:  # it has none
        return {}


def _send_attachments(upload: Upload, artifact_uri: str, files: Sequence[tuple[Path, str]]) -> None:
    with tempfile.TemporaryDirectory(dir=upload.directory) as directory:
        for source, name in files:
            file = ArtifactFile(source=source, target=artifact_name(PurePosixPath(name)))
            send_file(upload, artifact_uri, file, Path(directory))
