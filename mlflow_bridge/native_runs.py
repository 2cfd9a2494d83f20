"""What a task logged with MLflow's own calls, beside what joins its own run: other runs, datasets, models.

All of it is sent before the task's run is marked as complete, so that an upload that was cut off goes on with it.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from mlflow_bridge.captured import read_captured
from mlflow_bridge.captured_values import CapturedDataset
from mlflow_bridge.converging import chosen, deleted_by_user, is_complete
from mlflow_bridge.folder_files import named, open_inside
from mlflow_bridge.keys import NOTE
from mlflow_bridge.replay import MLMODEL, Replay, mlmodel_text, replayed
from mlflow_bridge.sending import Upload, create, fill, unless_too_large
from mlflow_bridge.values import MappedModel, StoredModel, StoredRun
from pynb_dag_runner.run_folder import AttemptRun, TaskRun, read_attempt_details

_NOTE = "A run that the task began by itself, with MLflow's own calls."
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
    return replayed(upload.run, task, attempt, details, read_captured(upload.run.folder, attempt))


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
            fill(upload, run, one.mapped, {}, one.mapped.tags.get(NOTE, _NOTE))


def _send_inputs_and_models(
    upload: Upload, run: StoredRun, inputs: Sequence[CapturedDataset], models: Sequence[MappedModel]
) -> None:
    if inputs:
        upload.store.models.log_inputs(run.id, inputs)
    for model in models:
        stored = upload.store.models.find(upload.experiment.id, model.key)
        if stored is None:
            stored = upload.store.models.create(upload.experiment.id, run.id, model)
        if not stored.complete:
            _send_model_files(upload, run, stored, model)
            upload.store.models.finish(run.id, stored, model)


def _send_model_files(upload: Upload, run: StoredRun, stored: StoredModel, model: MappedModel) -> None:
    with tempfile.TemporaryDirectory(dir=upload.directory) as directory:
        for file in model.files:
            target = PurePosixPath(file.target)
            folder = "" if target.parent == PurePosixPath() else str(target.parent)
            with open_inside(upload.run.folder, file.source) as descriptor:
                if file.target == MLMODEL and os.fstat(descriptor).st_size <= _MAX_MLMODEL_BYTES:
                    path = Path(directory, MLMODEL)
                    _write_mlmodel(descriptor, path, run, stored)
                    upload.store.models.log_artifact(stored, path, folder)
                    continue
                shown = upload.run.folder / file.source
                with (
                    named(descriptor, Path(directory), target.name) as path,
                    unless_too_large(upload, path, shown),
                ):
                    upload.store.models.log_artifact(stored, path, folder)


def _write_mlmodel(descriptor: int, path: Path, run: StoredRun, stored: StoredModel) -> None:
    with open(descriptor, "rb", closefd=False) as file:
        text = file.read().decode("utf-8", "replace")
    written = mlmodel_text(text, model_id=stored.id, run_id=run.id, artifact_uri=stored.artifact_uri)
    path.write_text(written, encoding="utf-8")
