"""Many runs: below directories and in archives, several at once, with bad ones, interrupted, and without a store."""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from itertools import count
from pathlib import Path

import pytest

import mlflow_bridge
from mlflow_bridge import UploadFailure, UploadOutcome, UploadResult, upload, upload_many
from mlflow_bridge.source.discovery import find_sources
from mlflow_bridge.store import open_store
from mlflow_bridge.store.target import resolve_target
from mlflow_bridge.uploads.batch import jobs_for
from pynb_dag_runner.errors import RunFolderError, UsageError
from pynb_dag_runner.model.outcomes import RunStatus
from tests.bridge.many_runs import (
    NONE,
    SMALL,
    counted_searches,
    damaged_folder,
    document,
    invoke,
    make_runs,
    zipped,
)
from tests.bridge.mlflow_contents import Contents
from tests.bridge.run_folders import make_run
from tests.bridge.targets.faulty_proxy import Fault, Seen, faulty_proxy


def test_run_folders_and_archives_are_found_at_any_depth(tmp_path: Path) -> None:
    top = tmp_path / "ci"
    deep = make_run(top / "b/c/d/e", SMALL)
    (deep / "artifacts").mkdir()
    (deep / "artifacts/run.json").write_text("{}")
    shallow = make_run(top, SMALL, pipeline="a")
    archives = [top / name for name in ("one.ZIP", "two.tar.gz", "z.tgz")]
    for archive in [*archives, top / "notes.txt", top / "other.gz"]:
        archive.write_bytes(b"")
    (top / "link").symlink_to(shallow)
    (top / "loop").symlink_to(top)
    assert find_sources([top]) == [*archives, shallow, deep]
    assert find_sources([deep, top, shallow]) == [deep, *archives, shallow]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_can_not_be_read_is_a_failure(sqlite_uri: str, tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", 1)
    closed = tmp_path / "runs/closed"
    closed.mkdir(mode=0)
    result = invoke("--tracking-uri", sqlite_uri, tmp_path / "runs")
    closed.chmod(0o700)
    assert result.exit_code == 1
    assert f"failed: {closed}: it can't be looked into: Permission denied" in result.stderr


def test_a_directory_without_any_run_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    uri = f"sqlite:///{tmp_path}/new.db"
    result = invoke("--tracking-uri", uri, *make_runs(tmp_path / "runs", 1), tmp_path / "empty")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Error: {tmp_path}/empty: there is no run folder in it, at any depth (no run.json)" in result.stderr
    assert not (tmp_path / "new.db").exists()


def test_many_runs_with_bad_ones_among_them(sqlite_uri: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    folders = make_runs(runs, 12)
    damaged = damaged_folder(runs)
    running = make_run(runs, SMALL, run_id="running", status=RunStatus.RUNNING, alive=True)
    first = invoke("--tracking-uri", sqlite_uri, runs)
    assert first.exit_code == 1
    by_name = {run.info.run_name: run.info.run_id for run in Contents(sqlite_uri, "digits").runs()}
    assert first.stdout == "".join(f"runs:/{by_name[folder.name]}\n" for folder in folders)
    assert "14 runs: 12 uploaded, 2 failed\n" in first.stderr
    assert f"failed: {damaged}/run.json: it is no JSON" in first.stderr
    assert f"failed: {running}: the run is still going on" in first.stderr
    make_run(runs, SMALL, run_id="z-newest")
    second = invoke("--tracking-uri", sqlite_uri, runs)
    assert second.stdout.startswith(first.stdout)
    assert "15 runs: 1 uploaded, 12 unchanged, 2 failed\n" in second.stderr
    assert second.stderr.count("uploaded: ") == 1
    assert "unchanged: " not in second.stderr


def test_the_json_document_names_every_run(sqlite_uri: str, tmp_path: Path) -> None:
    folder, *_ = make_runs(tmp_path / "runs", 2)
    damaged = damaged_folder(tmp_path / "runs")
    found = document("--tracking-uri", sqlite_uri, tmp_path / "runs")
    uploads = found.pop("uploads")
    assert isinstance(uploads, list)
    assert found == {
        "tracking_uri": sqlite_uri,
        "dry_run": False,
        "interrupted": False,
        "summary": {**NONE, "uploaded": 2, "failed": 1},
    }
    bad, good, _ = sorted(uploads, key=lambda upload: str(upload["folder"]))
    assert (good["folder"], good["outcome"], good["run_id"], good["tasks"]) == (str(folder), "uploaded", "run-000", 1)
    assert (bad["folder"], bad["outcome"], bad["tried"]) == (str(damaged), "failed", True)
    assert set(good) == {
        *("folder", "outcome", "run_id", "uri", "experiment_id", "mlflow_run_id", "tasks", "warnings"),
    }
    assert set(bad) == {"folder", "outcome", "error", "tried"}


def test_unchanged_runs_are_not_asked_for_one_by_one(
    sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path / "runs", 9)
    make_runs(tmp_path / "runs", 1, pipeline="other")
    upload_many(tmp_path / "runs", sqlite_uri)
    with counted_searches(monkeypatch) as calls:
        assert {one.outcome for one in results(upload_many(tmp_path / "runs", sqlite_uri))} == {"unchanged"}
    assert len(calls) == 2 * 4  # four kinds of runs in two experiments


def results(done: tuple[UploadResult | UploadFailure, ...]) -> list[UploadResult]:
    assert not [one for one in done if isinstance(one, UploadFailure)]
    return [one for one in done if isinstance(one, UploadResult)]


def test_what_the_list_of_runs_does_not_show_as_complete_goes_the_usual_way(sqlite_uri: str, tmp_path: Path) -> None:
    """One run each: cut off, resumed, deleted, with a deleted task; and one of them in the state of before a resume."""
    folders = make_runs(tmp_path / "runs", 8)
    before = {one.run_id: one for one in results(upload_many(tmp_path / "runs", sqlite_uri))}
    contents = Contents(sqlite_uri, "digits")
    contents.client.set_tag(before["run-000"].mlflow_run_id, "pynb_dag_runner.upload", "not yet")
    add_resume(folders[1])
    contents.client.delete_run(before["run-002"].mlflow_run_id)
    (task,) = [run for run in contents.runs() if run.data.tags["pynb_dag_runner.key"] == "run-003/train"]
    contents.client.delete_run(task.info.run_id)
    contents.client.set_tag(before["run-004"].mlflow_run_id, "pynb_dag_runner.revision", "7")
    planned = document("--dry-run", "--tracking-uri", sqlite_uri, tmp_path / "runs")
    assert planned["summary"] == {**NONE, "completed": 1, "updated": 1, "unchanged": 5, "failed": 1}
    found = invoke("--tracking-uri", sqlite_uri, tmp_path / "runs")
    assert "8 runs: 1 completed, 1 updated, 5 unchanged, 1 failed\n" in found.stderr
    assert "run-002: the run run-002 was deleted in MLflow (experiment 'digits'); restore it with --res" in found.stderr
    assert "warning: run-003: some of its task runs were deleted in MLflow; --restore takes" in found.stderr
    assert "warning: run-004: MLflow has a later state of this run" in found.stderr
    planned = document("--dry-run", "--restore", "--tracking-uri", sqlite_uri, tmp_path / "runs")
    assert planned["summary"] == {**NONE, "restored": 2, "unchanged": 6}
    restored = invoke("--restore", "--tracking-uri", sqlite_uri, tmp_path / "runs")
    assert restored.exit_code == 0
    assert "8 runs: 2 restored, 6 unchanged\n" in restored.stderr


def add_resume(folder: Path) -> None:
    """As a resume that found nothing to do would leave it, were it to write one down."""
    path = folder / "run.json"
    record = json.loads(path.read_text())
    times = {"start": record["end"], "previous_end": record["end"]}
    record["resumes"] = [{**times, "previous_status": record["status"], "driver": record["driver"]}]
    path.write_text(json.dumps(record))


def test_a_dry_run_says_of_each_run_what_would_be_done(sqlite_uri: str, tmp_path: Path) -> None:
    folders = make_runs(tmp_path / "runs", 2)
    upload(folders[0], sqlite_uri)
    Contents(sqlite_uri, "digits").client.delete_experiment(Contents(sqlite_uri, "digits").experiment_id)
    result = invoke("--dry-run", "--restore", "--tracking-uri", sqlite_uri, folders[0])
    assert result.stderr == f"{folders[0]}: was deleted in MLflow, or some of it; it would be restored\n"
    assert upload(folders[0], sqlite_uri, restore=True).outcome is UploadOutcome.RESTORED
    result = invoke("--dry-run", "--tracking-uri", sqlite_uri, tmp_path / "runs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"{folders[1]}: would be uploaded\n2 runs, dry run: 1 uploaded, 1 unchanged\n" in result.stderr


def test_archives_as_CI_systems_keep_them(sqlite_uri: str, tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", 2)
    make_runs(tmp_path / "more/runs", 3)
    folder = tmp_path / "archives"
    folder.mkdir()
    first = zipped(tmp_path / "runs", folder / "first.zip")
    with tarfile.open(folder / "second.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "more/runs", "runs")
    found = document("--tracking-uri", sqlite_uri, folder)
    assert found["summary"] == {**NONE, "uploaded": 3, "unchanged": 2}
    places = [upload["folder"] for upload in found["uploads"]]  # type: ignore[attr-defined]
    assert places[:2] == [f"{first}/runs/digits/run-000", f"{first}/runs/digits/run-001"]
    assert places[4] == f"{folder}/second.tar.gz/runs/digits/run-002"
    assert len(Contents(sqlite_uri, "digits").runs()) == 6


def test_archives_that_are_none_are_one_sentence_each(sqlite_uri: str, tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", 2)
    broken = zipped(tmp_path / "runs", tmp_path / "broken.zip")
    broken.write_bytes(broken.read_bytes()[:-100])
    none = tmp_path / "notes.txt"
    none.write_text("nothing")
    empty = zipped(tmp_path / "runs/digits/run-000/tasks", tmp_path / "empty.zip")
    mixed = tmp_path / "mixed"
    make_runs(mixed, 1)
    damaged_folder(mixed, "run-999")
    inside = zipped(mixed, tmp_path / "mixed.zip")
    result = invoke("--tracking-uri", sqlite_uri, broken, none, empty, inside)
    assert result.exit_code == 1
    assert "5 runs: 1 uploaded, 4 failed\n" in result.stderr
    failures = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert failures[0].startswith(f"failed: {broken}: the archive is damaged: ")
    assert failures[1].startswith(f"failed: {none}: it is no archive of a known kind; expected a run folder or a zip")
    assert failures[2] == f"failed: {empty}: there is no run folder in it: no run.json"
    assert failures[3].startswith(f"failed: {inside}/mixed/digits/run-999/run.json: it is no JSON")


def test_nothing_that_was_extracted_is_left(sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_runs(tmp_path / "runs", 2)
    archive = zipped(tmp_path / "runs", tmp_path / "runs.zip")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    upload_many(archive, sqlite_uri)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_from_Python_one_run_is_one_result(sqlite_uri: str, tmp_path: Path) -> None:
    make_runs(tmp_path / "one", 1)
    archive = zipped(tmp_path / "one", tmp_path / "one.zip")
    assert upload(tmp_path / "one", sqlite_uri).outcome is UploadOutcome.UPLOADED
    again = upload(archive, sqlite_uri)
    assert (again.outcome, again.folder) == (UploadOutcome.UNCHANGED, archive / "one/digits/run-000")
    make_runs(tmp_path / "two", 2)
    for several in (tmp_path / "two", zipped(tmp_path / "two", tmp_path / "two.zip")):
        with pytest.raises(UsageError, match="there are several runs in it, expected one; upload_many uploads them"):
            upload(several, sqlite_uri)
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="there is no run folder in it"):
        upload(tmp_path / "none", sqlite_uri)
    with pytest.raises(RunFolderError, match="it is no JSON"):
        upload(damaged_folder(tmp_path / "bad"), sqlite_uri)


def test_from_Python_failures_are_values(sqlite_uri: str, tmp_path: Path) -> None:
    (good,) = make_runs(tmp_path / "runs", 1)
    bad = damaged_folder(tmp_path / "runs")
    failure, result = upload_many([bad, str(good)], sqlite_uri)
    assert isinstance(failure, UploadFailure)
    assert isinstance(result, UploadResult)
    assert (failure.folder, failure.tried, result.folder) == (bad, True, good)
    with pytest.raises(ValueError, match="jobs: got 0, expected 1 or more"):
        upload_many(good, sqlite_uri, jobs=0)


def test_the_public_names_of_the_bridge() -> None:
    assert all(hasattr(mlflow_bridge, name) for name in mlflow_bridge.__all__)


def test_several_at_once_on_a_server(server_uri: str, experiment: str, tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", 2)
    archives = tmp_path / "archives"
    archives.mkdir()
    for number in range(4):  # each holds the same runs: nothing may be sent twice
        zipped(tmp_path / "runs/digits", archives / f"{number}.zip")
    options = ("--tracking-uri", server_uri, "--experiment", experiment, "--jobs", "4")
    found = document(*options, archives)
    assert found["summary"] == {**NONE, "uploaded": 2, "unchanged": 6}
    assert len(Contents(server_uri, experiment).runs()) == 4
    make_runs(tmp_path / "more", 8)
    assert "8 runs: 6 uploaded, 2 unchanged\n" in invoke(*options, tmp_path / "more").stderr
    again = invoke(*options, tmp_path / "more")
    assert again.stderr == "8 runs: 8 unchanged\n"
    address = rf"{server_uri}/#/experiments/\d+/runs/\w+\?workflowType=machine_learning\n"
    assert re.fullmatch(f"({address}){{8}}", again.stdout)


def test_jobs_share_eight_requests(sqlite_uri: str, server_uri: str, tmp_path: Path) -> None:
    def of(uri: str, wanted: int | None, *sources: Path) -> tuple[int, int]:
        store = open_store(resolve_target(uri))
        return jobs_for(store, wanted, sources), store.threads

    folders, archive = [tmp_path] * 100, tmp_path / "runs.zip"
    assert [of(server_uri, wanted, *folders) for wanted in (1, 2, 3, 4, 8, 99)] == [
        *((1, 4), (2, 4), (3, 2), (4, 2), (8, 1), (8, 1)),
    ]
    assert of(server_uri, None, tmp_path) == (1, 4)
    assert of(server_uri, None, archive) == (4, 2)
    assert of(sqlite_uri, 8, *folders) == (1, 1)


def test_jobs_on_a_file_says_why_it_is_one(sqlite_uri: str, tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", 2)
    result = invoke("--jobs", "4", "--tracking-uri", sqlite_uri, tmp_path / "runs")
    assert "--jobs: one run at a time, since sqlite knows one writer; a server takes several\n" in result.stderr
    assert result.exit_code == 0


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_store_that_is_gone_ends_it_with_one_sentence(
    jobs: str, server_uri: str, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    make_runs(tmp_path / "runs", 12)
    zipped(tmp_path / "runs", tmp_path / "z.zip")
    with faulty_proxy(server_uri) as proxy:
        options = ("--tracking-uri", proxy.uri, "--experiment", experiment, "--jobs", jobs)
        made = count(1)

        def plan(seen: Seen) -> Fault | None:
            if seen.path.endswith("/runs/create") and next(made) > 14:
                proxy.plan = lambda _: Fault()
            return None

        proxy.plan = plan
        result = invoke("--json", *options, tmp_path / "runs", tmp_path / "z.zip")
        proxy.plan = lambda _: None
        found = json.loads(result.stdout)
        summary = found["summary"]
        assert result.exit_code == 1, result.stderr
        assert summary["uploaded"] >= 1, result.stderr
        assert summary["failed"] >= 2
        # An archive that was begun is named once more for what is left of it.
        assert len(found["uploads"]) == sum(summary.values()) in range(13, 13 + 6)
        assert re.search(
            rf"Error: can't reach an MLflow server at {proxy.uri}: .*; {summary['not_tried']} not tried; upload again",
            result.stderr,
        )
        assert found["uploads"][-1] == {
            "folder": f"{tmp_path}/z.zip",
            "outcome": "failed",
            "error": found["uploads"][-1]["error"],
            "tried": False,
        }
        assert document(*options, tmp_path / "runs")["summary"]["failed"] == 0  # type: ignore[index]
    assert len(Contents(server_uri, experiment).runs()) == 24


def test_runs_that_a_server_refuses_do_not_end_it(
    server_uri: str, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is answered, so that the store is not gone."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    make_runs(tmp_path / "runs", 6)
    with faulty_proxy(server_uri, lambda seen: Fault(status=403) if "runs/create" in seen.path else None) as proxy:
        found = document("--tracking-uri", proxy.uri, "--experiment", experiment, tmp_path / "runs")
    assert found["summary"] == {**NONE, "failed": 6}


@pytest.mark.parametrize("kind", ["sqlite", "server"])
def test_after_Ctrl_C_the_same_command_goes_on(
    kind: str, request: pytest.FixtureRequest, experiment: str, tmp_path: Path
) -> None:
    uri = request.getfixturevalue(f"{kind}_uri")
    make_runs(tmp_path / "runs", 30)
    options = ["--tracking-uri", uri, "--experiment", experiment, "--jobs", "2", str(tmp_path / "runs")]
    command = [str(Path(sys.executable).with_name("pynb-dag-runner")), "upload", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, told = process.communicate(timeout=240)
    assert process.returncode == 130
    said = re.search(r"interrupted \((\d+) done of at least 30\); the same command again goes on where this", told)
    assert said
    done = int(said[1])
    # The signal may come between the line on stdout and that on stderr.
    assert 1 <= len((first + rest).splitlines()) <= done + 1 < 30
    assert "Traceback" not in told
    summary = document(*options)["summary"]
    assert isinstance(summary, dict)
    assert summary["failed"] == 0
    assert summary["unchanged"] >= done
    assert len(Contents(uri, experiment).runs()) == 60
