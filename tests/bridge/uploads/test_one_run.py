"""Uploads to real stores: a sqlite file and a server process."""

import logging
import os
from pathlib import Path

import pytest

from mlflow_bridge import UploadError, UploadOutcome, upload, upload_many
from pynb_dag_runner.model.outcomes import Outcome, RunStatus
from pynb_dag_runner.run_folder.records import Error
from tests.bridge.mlflow_contents import Contents
from tests.bridge.run_folders import SKIPPED, START_MS, VALUE_ERROR, Attempt, Task, make_run

TIMED_OUT = Attempt(outcome=Outcome.TIMED_OUT, seconds=2, error=Error(kind="Timeout", message="took 2 s"))
INGEST = Task(name="ingest", attempts=(TIMED_OUT, Attempt(start_s=3, seconds=4)))
TRAIN = Task(name="train", attempts=(Attempt(outcome=Outcome.FAILED, start_s=8, seconds=1, error=VALUE_ERROR),))
COMPLETE = "complete"


def failed_run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "runs", INGEST, TRAIN, SKIPPED, status=RunStatus.FAILED)


def test_a_run_becomes_nested_runs(uri: str, experiment: str, tmp_path: Path) -> None:
    result = upload(failed_run(tmp_path), uri, experiment)
    contents = Contents(uri, experiment)
    assert result.outcome is UploadOutcome.UPLOADED
    assert contents.by_key()[""].info.run_id == result.mlflow_run_id
    assert contents.tree() == {"": None, "ingest": "", "ingest/1": "ingest", "train": "", "report": ""}


def test_runs_have_their_statuses(uri: str, experiment: str, tmp_path: Path) -> None:
    upload(failed_run(tmp_path), uri, experiment)
    assert Contents(uri, experiment).statuses() == {
        "": ("FAILED", COMPLETE),
        "ingest": ("FINISHED", COMPLETE),
        "ingest/1": ("KILLED", COMPLETE),
        "train": ("FAILED", COMPLETE),
        "report": ("KILLED", COMPLETE),
    }


def test_runs_have_their_names_and_original_times(uri: str, experiment: str, tmp_path: Path) -> None:
    upload(failed_run(tmp_path), uri, experiment)
    runs = Contents(uri, experiment).runs()
    times = {r.info.run_name: (r.info.start_time - START_MS, r.info.end_time - START_MS) for r in runs}
    assert times == {
        "20260102T030405Z-9f3c": (0, 60_000),
        "ingest": (0, 7_000),
        "ingest (attempt 1)": (0, 2_000),
        "train": (8_000, 9_000),
        "report": (30_000, 30_000),
    }


def test_metrics_keep_every_step_also_what_is_no_number(uri: str, experiment: str, tmp_path: Path) -> None:
    metrics = [("loss", 0.5, 0), ("loss", 0.25, 1), ("größe@1", float("nan"), 0), ("loss", -1.0, -3)]
    upload(make_run(tmp_path / "runs", Task(attempts=(Attempt(metrics=metrics),))), uri, experiment)
    contents = Contents(uri, experiment)
    run = contents.by_key()["train"]
    assert sorted(contents.history(run, "loss"), key=lambda p: p[1]) == [
        (-1.0, -3, START_MS),
        (0.5, 0, START_MS),
        (0.25, 1, START_MS),
    ]
    assert str(contents.history(run, "größe_1")[0][0]) == "nan"


def test_more_metrics_params_and_tags_than_one_request_holds(uri: str, experiment: str, tmp_path: Path) -> None:
    attempt = Attempt(
        metrics=[("loss", 1.0 / (n + 1), n) for n in range(1500)],
        params={f"p{n}": "x" for n in range(230)},
        tags={f"t{n}": "x" for n in range(230)},
    )
    upload(make_run(tmp_path / "runs", Task(attempts=(attempt,))), uri, experiment)
    run = Contents(uri, experiment).by_key()["train"]
    assert run.data.metrics["loss"] == 1.0 / 1500
    assert len([key for key in run.data.params if key.startswith("p")]) == 230
    assert len([key for key in run.data.tags if key.startswith("t")]) == 230


def test_files_arrive_whole_also_those_with_odd_names(uri: str, experiment: str, tmp_path: Path) -> None:
    odd = "a b;c&d+e=f:g,h'i\"j(k)[l]{m}!$@^~ü数.txt"
    artifacts = {odd: b"odd", "a#b.txt": b"1", "a?b.txt": b"2", "a%20b.txt": b"3", "empty.bin": b"", "d/e/f.csv": b"x"}
    attempt = Attempt(artifacts=artifacts, html="<p>evaluated</p>")
    upload(make_run(tmp_path / "runs", Task(attempts=(attempt,))), uri, experiment)
    contents = Contents(uri, experiment)
    run = contents.by_key()["train"]
    names = contents.artifacts(run)
    assert {"notebook.html", "notebook.ipynb", "output.log", f"artifacts/{odd}", "artifacts/d/e/f.csv"} <= set(names)
    assert len([name for name in names if name.startswith("artifacts/")]) == len(artifacts)
    assert contents.content(run, f"artifacts/{odd}", tmp_path) == b"odd"
    assert contents.content(run, "notebook.html", tmp_path) == b"<p>evaluated</p>"


def test_the_parent_has_report_index_and_a_note(uri: str, experiment: str, tmp_path: Path) -> None:
    upload(failed_run(tmp_path), uri, experiment)
    contents = Contents(uri, experiment)
    by_key = contents.by_key()
    assert contents.artifacts(by_key[""]) == ["index.md", "report.html", "run.json", "summary.md"]
    link = f"/runs/{by_key['ingest'].info.run_id}/artifacts/notebook.html?workflowType=machine_learning"
    assert link in by_key[""].data.tags["mlflow.note.content"]
    assert link in contents.content(by_key[""], "index.md", tmp_path).decode()


def test_uploading_again_and_again_changes_nothing(uri: str, experiment: str, tmp_path: Path) -> None:
    folder = failed_run(tmp_path)
    first = upload(folder, uri, experiment)
    before = [run.to_dictionary() for run in Contents(uri, experiment).runs()]
    for _ in range(9):
        again = upload(folder, uri, experiment)
        assert again.outcome is UploadOutcome.UNCHANGED
        assert again.mlflow_run_id == first.mlflow_run_id
    assert [run.to_dictionary() for run in Contents(uri, experiment).runs()] == before


def test_what_someone_changed_in_MLflow_stays(uri: str, experiment: str, tmp_path: Path) -> None:
    folder = failed_run(tmp_path)
    result = upload(folder, uri, experiment)
    contents = Contents(uri, experiment)
    contents.client.set_tag(result.mlflow_run_id, "mlflow.note.content", "my own words")
    upload(folder, uri, experiment)
    assert contents.by_key()[""].data.tags["mlflow.note.content"] == "my own words"


def test_the_experiment_is_the_pipeline_with_its_description(uri: str, experiment: str, tmp_path: Path) -> None:
    upload(make_run(tmp_path / "runs", Task(), pipeline=f"p {experiment}", description="Trains."), uri)
    found = Contents(uri, "").client.get_experiment_by_name(f"p {experiment}")
    assert found is not None
    assert found.tags["mlflow.note.content"] == "Trains."


def test_a_result_from_a_server_has_an_address(server_uri: str, experiment: str, tmp_path: Path) -> None:
    result = upload(failed_run(tmp_path), f"{server_uri}/", experiment)
    mode = "?workflowType=machine_learning"
    assert result.url == f"{server_uri}/#/experiments/{result.experiment_id}/runs/{result.mlflow_run_id}{mode}"


def test_artifacts_of_a_sqlite_store_lie_beside_it(sqlite_uri: str, tmp_path: Path) -> None:
    result = upload(failed_run(tmp_path), sqlite_uri)
    run = Contents(sqlite_uri, "digits").by_key()[""]
    assert run.info.artifact_uri == str(tmp_path / "store" / "mlruns" / "digits" / result.mlflow_run_id / "artifacts")


def test_a_store_in_a_directory_with_an_odd_name(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/a b#c/new/mlflow.db"
    upload(failed_run(tmp_path), uri, "a/b: c#d?e%20f")
    contents = Contents(uri, "a/b: c#d?e%20f")
    assert contents.artifacts(contents.by_key()["train"]) == ["notebook.html", "notebook.ipynb", "output.log"]


def test_a_task_costs_three_requests_and_one_for_each_file(
    server_uri: str, experiment: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    upload(make_run(tmp_path / "first", Task(), run_id="first"), server_uri, experiment)
    with caplog.at_level(logging.DEBUG, logger="urllib3.connectionpool"):
        upload(make_run(tmp_path / "second", *(Task(name=f"t{n}") for n in range(5))), server_uri, experiment)
    lines = [record.getMessage() for record in caplog.records if "HTTP/1.1" in record.getMessage()]
    # First contact, experiment, parent searched and made, trace and its spans, 4 files of the parent, its end and data,
    # last search.
    around = 1 + 1 + 2 + 2 + 4 + 2 + 1
    assert len(lines) == around + 5 * (3 + 3), "\n".join(lines)


def test_an_upload_leaves_the_environment_as_it_was(
    tmp_path: Path, sqlite_uri: str, server_uri: str, experiment: str
) -> None:
    """Also if it fails. The settings are MLflow's own, also of what the user does with it afterwards."""
    folder = make_run(tmp_path / "runs", Task(name="a"))
    before = dict(os.environ)
    assert upload(folder, server_uri, experiment).tasks == 1
    (one,) = upload_many([folder], sqlite_uri)
    assert one.folder == folder
    with pytest.raises(UploadError, match="name"):
        upload(folder, sqlite_uri, "x" * 600)
    assert dict(os.environ) == before


def test_a_file_of_holes_is_not_copied_into_the_store(tmp_path: Path) -> None:
    folder = failed_run(tmp_path)
    log = next(folder.glob("tasks/train/attempt-1/output.log"))
    os.truncate(log, 60 << 30)
    store = tmp_path / "store"
    store.mkdir()
    result = upload(folder, f"sqlite:///{store}/mlflow.db")
    (warning,) = result.warnings
    assert warning.startswith(f"{log} was left out: it claims 64,424,509,440 bytes, of which ")
    assert result.outcome is UploadOutcome.UPLOADED
    assert sum(path.stat().st_size for path in store.rglob("*")) < 1 << 30
