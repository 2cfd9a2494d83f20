"""Runs and experiments that someone has deleted in MLflow: said, and taken out of the bin if that is wanted."""

from pathlib import Path

import pytest

from mlflow_bridge import UploadError, UploadOutcome
from mlflow_bridge.store import open_store
from mlflow_bridge.store.target import resolve_target
from mlflow_bridge.uploads.one_run import upload_folder
from pynb_dag_runner.model.outcomes import Outcome
from tests.bridge.mlflow_contents import Contents
from tests.bridge.run_folders import Attempt, Task, make_run

RETRIED = Task(name="a", attempts=(Attempt(outcome=Outcome.FAILED), Attempt(start_s=11)))
TREE = {"": None, "a": "", "a/1": "a", "b": ""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "runs", RETRIED, Task(name="b"))


@pytest.mark.parametrize("deleted", [("",), ("a",), ("a/1", "b"), ("", "a", "a/1", "b")], ids=str)
def test_what_was_deleted_comes_back_if_that_is_wanted(
    folder: Path, uri: str, experiment: str, deleted: tuple[str, ...]
) -> None:
    store = open_store(resolve_target(uri))
    upload_folder(folder, store, experiment=experiment)
    contents = Contents(uri, experiment)
    before = {key: run.info.run_id for key, run in contents.by_key().items()}
    for key in deleted:
        contents.client.delete_run(before[key])
    result = upload_folder(folder, store, experiment=experiment, restore=True)
    assert result.outcome is UploadOutcome.RESTORED
    assert {key: run.info.run_id for key, run in contents.by_key().items()} == before
    assert upload_folder(folder, store, experiment=experiment, restore=True).outcome is UploadOutcome.UNCHANGED


def test_a_deleted_task_run_is_said_and_stays_deleted(folder: Path, uri: str, experiment: str) -> None:
    store = open_store(resolve_target(uri))
    upload_folder(folder, store, experiment=experiment)
    contents = Contents(uri, experiment)
    contents.client.delete_run(contents.by_key()["b"].info.run_id)
    result = upload_folder(folder, store, experiment=experiment)
    assert result.outcome is UploadOutcome.UNCHANGED
    assert result.warnings == ("some of its task runs were deleted in MLflow; --restore takes them out of the bin",)
    assert set(contents.by_key()) == {"", "a", "a/1"}


def test_a_deleted_experiment_comes_back_if_that_is_wanted(folder: Path, uri: str, experiment: str) -> None:
    store = open_store(resolve_target(uri))
    upload_folder(folder, store, experiment=experiment)
    contents = Contents(uri, experiment)
    contents.client.delete_experiment(contents.experiment_id)
    with pytest.raises(UploadError, match="was deleted in MLflow; restore it with --restore"):
        upload_folder(folder, store, experiment=experiment)
    # MLflow has deleted its runs with it, and restores them with it.
    upload_folder(folder, store, experiment=experiment, restore=True)
    assert contents.tree() == TREE
    assert upload_folder(folder, store, experiment=experiment).outcome is UploadOutcome.UNCHANGED
