"""Folders that were uploaded, resumed and uploaded again: what is new is added, what a user has edited stays."""

import shutil
from pathlib import Path

import pytest

from mlflow_bridge import StoreError, UploadOutcome, upload
from mlflow_bridge.store import MlflowStore
from mlflow_bridge.tags import NOTE
from mlflow_bridge.uploads.one_run import preview, upload_folder
from pynb_dag_runner import Pipeline, tracking
from pynb_dag_runner.model.outcomes import RunStatus
from tests.bridge.mlflow_contents import Contents
from tests.bridge.uploads.test_repeated import cut_off_at, number_of_calls, watched

ONE_SET = {"": None, "load": "", "load/1": "load", "fit": "", "other": "", "tune": "", "tune/1": "tune"}


def load(source: Path, size: int) -> int:
    """Fails until ``source`` is there."""
    tracking.log_metric("tries", 1.0)
    tracking.set_tag("mode", "fast")
    return size + len(source.read_text())


def other() -> int:
    tracking.log_metric("fixed", 7.0)
    return 1


def tune(source: Path) -> None:
    tracking.log_param("found", str(source.exists()))
    source.read_text()


def make_pipeline(directory: Path, size: int = 1) -> Pipeline:
    """``fit`` needs ``load``, which needs a file, and so does ``tune``."""
    pipeline = Pipeline("resumed", parameters={"size": size, "depth": 3}, base_dir=directory)
    source = directory / "source.txt"
    loaded = pipeline.function(load, parameters={"source": source, "size": size})
    pipeline.function(lambda value: value, name="fit", parameters={"value": loaded.output()})
    pipeline.function(other)
    pipeline.function(tune, parameters={"source": source})
    return pipeline


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A run folder of which two tasks failed and one was skipped."""
    result = make_pipeline(tmp_path).run(executor="inline", progress=False, output_dir=tmp_path / "runs")
    assert result.status is RunStatus.FAILED
    return result.folder


def resume(folder: Path, directory: Path, size: int = 1) -> None:
    (directory / "source.txt").write_text("rows")
    result = make_pipeline(directory, size).resume(folder, executor="inline", progress=False)
    assert result.status is RunStatus.SUCCEEDED


def assert_resumed_set(contents: Contents) -> None:
    assert contents.tree() == ONE_SET
    marks = {"load/1": "FAILED", "tune/1": "FAILED"}
    assert contents.statuses() == {key: (marks.get(key, "FINISHED"), "complete") for key in ONE_SET}


def test_after_a_resume_the_new_attempts_are_added(failed: Path, uri: str, experiment: str, tmp_path: Path) -> None:
    first = upload(failed, uri, experiment)
    contents = Contents(uri, experiment)
    before = contents.by_key()
    assert contents.tree() == {"": None, "load": "", "fit": "", "other": "", "tune": ""}
    resume(failed, tmp_path)
    second = upload(failed, uri, experiment)
    assert second.outcome is UploadOutcome.UPDATED
    assert second.mlflow_run_id == first.mlflow_run_id
    assert_resumed_set(contents)
    after = contents.by_key()
    assert after["load/1"].info.run_id == before["load"].info.run_id
    assert after["load/1"].info.run_name == "load (attempt 1)"
    assert after["other"].info.run_id == before["other"].info.run_id
    assert after["load"].data.metrics["attempts"] == 2.0
    assert after["tune"].data.params["found"] == "True"
    assert after[""].data.metrics["tasks/failed"] == 0.0
    assert after[""].data.tags["pynb_dag_runner.status"] == "SUCCEEDED"
    assert after["fit"].info.run_id in after[""].data.tags[NOTE]
    assert after["fit"].info.start_time > before["fit"].info.start_time
    assert upload(failed, uri, experiment).outcome is UploadOutcome.UNCHANGED


def test_an_update_that_was_cut_off_anywhere_is_completed(
    failed: Path, sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(failed, earlier)
    resume(failed, tmp_path)
    upload_folder(earlier, sqlite_store, experiment="counted")
    calls = number_of_calls(sqlite_store, failed)
    assert calls > 20
    for last in range(calls):
        experiment = f"cut off at {last}"
        upload_folder(earlier, sqlite_store, experiment=experiment)
        with pytest.raises(StoreError):
            upload_folder(failed, watched(sqlite_store, cut_off_at(last)), experiment=experiment)
        upload_folder(failed, sqlite_store, experiment=experiment)
        assert_resumed_set(Contents(sqlite_uri, experiment))


def test_an_upload_cut_off_before_the_resume_is_completed_with_what_came_after(
    failed: Path, sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(failed, earlier)
    resume(failed, tmp_path, size=2)
    calls = number_of_calls(sqlite_store, earlier)
    for last in range(3, calls, 3):
        experiment = f"cut off at {last}"
        with pytest.raises(StoreError):
            upload_folder(earlier, watched(sqlite_store, cut_off_at(last)), experiment=experiment)
        upload_folder(failed, sqlite_store, experiment=experiment)
        assert_resumed_set(Contents(sqlite_uri, experiment))


def test_what_was_edited_in_MLflow_stays(failed: Path, sqlite_uri: str, tmp_path: Path) -> None:
    upload(failed, sqlite_uri)
    contents = Contents(sqlite_uri, "resumed")
    runs = {key: run.info.run_id for key, run in contents.by_key().items()}
    contents.client.set_tag(runs["load"], "mode", "slow")
    contents.client.set_tag(runs["load"], "mine", "kept")
    contents.client.set_tag(runs["fit"], NOTE, "my own words")
    contents.client.set_tag(runs[""], "reviewed", "yes")
    contents.client.set_tag(runs[""], NOTE, "my summary")
    contents.client.update_run(runs[""], name="the good one")
    resume(failed, tmp_path)
    assert upload(failed, sqlite_uri).outcome is UploadOutcome.UPDATED
    after = contents.by_key()
    assert (after["load"].data.tags["mode"], after["load"].data.tags["mine"]) == ("slow", "kept")
    assert after["fit"].data.tags[NOTE] == "my own words"
    assert (after[""].data.tags["reviewed"], after[""].data.tags[NOTE]) == ("yes", "my summary")
    assert after[""].info.run_name == "the good one"
    assert "mine" not in after["tune"].data.tags


def test_parameters_that_a_resume_changed_stand_beside_the_old_ones(
    failed: Path, sqlite_uri: str, tmp_path: Path
) -> None:
    upload(failed, sqlite_uri)
    resume(failed, tmp_path, size=2)
    upload(failed, sqlite_uri)
    by_key = Contents(sqlite_uri, "resumed").by_key()
    assert by_key[""].data.params == {"size": "1", "depth": "3", "resume-1.size": "2"}
    assert (by_key["load"].data.params["size"], by_key["load/1"].data.params["size"]) == ("2", "1")


def test_a_copy_from_before_the_resume_changes_nothing(
    failed: Path, sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(failed, earlier)
    resume(failed, tmp_path)
    upload_folder(failed, sqlite_store)
    result = upload_folder(earlier, sqlite_store)
    assert result.outcome is UploadOutcome.UNCHANGED
    assert "MLflow has a later state of this run" in result.warnings[0]
    assert_resumed_set(Contents(sqlite_uri, "resumed"))


def test_a_preview_tells_an_update(failed: Path, sqlite_store: MlflowStore, tmp_path: Path) -> None:
    upload_folder(failed, sqlite_store)
    assert preview(failed, sqlite_store) is UploadOutcome.UNCHANGED
    resume(failed, tmp_path)
    assert preview(failed, sqlite_store) is UploadOutcome.UPDATED
