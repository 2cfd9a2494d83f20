"""Archives with many runs, as CI systems make them; and what is told of many runs while they are uploaded."""

import json
import os
import pty
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.bridge.many_runs import NONE, counted_searches, document, invoke, make_runs, zipped
from tests.bridge.mlflow_contents import Contents


def test_of_an_archive_with_many_runs_unchanged_ones_are_counted_only(
    sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path / "runs", 8)
    archive = zipped(tmp_path / "runs", tmp_path / "runs.zip")
    assert "8 runs: 8 uploaded\n" in invoke("--tracking-uri", sqlite_uri, archive).stderr
    with counted_searches(monkeypatch) as calls:
        assert invoke("--tracking-uri", sqlite_uri, archive).stderr.startswith("8 runs: 8 unchanged\nTo look at it:")
    assert len(calls) == 4  # the four kinds of runs in one experiment


def test_what_is_there_is_known_from_run_json_alone(sqlite_uri: str, tmp_path: Path) -> None:
    """Of a thousand large runs, all else would be read for nothing."""
    folders = make_runs(tmp_path / "runs", 7)
    invoke("--tracking-uri", sqlite_uri, *folders)
    for folder in folders:
        (folder / "events.jsonl").write_text("damaged\n")
    assert document("--tracking-uri", sqlite_uri, *folders)["summary"] == {**NONE, "unchanged": 7}
    # It is read as soon as something has to be sent.
    found = document("--tracking-uri", sqlite_uri, "--experiment", "other", *folders)
    assert found["summary"] == {**NONE, "failed": 7}


@pytest.mark.parametrize("top", ["", "digits/run-000/"])
def test_an_artifact_of_GitHub(top: str, sqlite_uri: str, tmp_path: Path) -> None:
    """A zip without folders' own entries and without hidden files, the path common to all files left out."""
    (folder,) = make_runs(tmp_path / "runs", 1)
    (folder / ".lock").touch()
    archive = tmp_path / "artifact.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
            file.write(path, f"{top}{path.relative_to(folder)}")
    uploads = document("--tracking-uri", sqlite_uri, archive)["uploads"]
    assert isinstance(uploads, list)
    (one,) = uploads
    assert (one["outcome"], Path(one["folder"])) == ("uploaded", archive / top)
    assert Contents(sqlite_uri, "digits").tree() == {"": None, "train": ""}


def test_an_archive_in_an_archive_has_to_be_extracted(sqlite_uri: str, tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", 1)
    (tmp_path / "given").mkdir()
    with tarfile.open(tmp_path / "given/runs.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "runs", "runs")
    artifact = zipped(tmp_path / "given", tmp_path / "artifact.zip")
    result = invoke("--tracking-uri", sqlite_uri, artifact)
    assert result.exit_code == 1
    assert result.stderr == (
        f"failed: {artifact}: there is no run folder in it: no run.json; "
        "extract it first, since there is an archive in it: given/runs.tar.gz\n"
    )


def test_an_archive_that_would_fill_the_disk_is_one_failure(
    sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pynb_dag_runner.run_folder.archives.FREE_BYTES", 10**6)
    folders = make_runs(tmp_path / "runs", 2)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(folders[0] / "run.json", "run/run.json")
        file.writestr("run/zeros", bytes(5 * 10**6))
    result = invoke("--tracking-uri", sqlite_uri, bomb, *folders)
    assert "3 runs: 2 uploaded, 1 failed\n" in result.stderr
    assert f"failed: {bomb}: unpacked it has more than " in result.stderr


def test_JSON_of_a_store_that_does_not_answer_names_what_was_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folders = make_runs(tmp_path / "runs", 2)
    result = invoke("--json", "--tracking-uri", "http://127.0.0.1:9", tmp_path / "runs")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: can't reach an MLflow server at http://127.0.0.1:9")
    assert found["summary"] == {**NONE, "not_tried": 2}
    assert [(upload["folder"], upload["tried"]) for upload in found["uploads"]] == [
        (str(folder), False) for folder in folders
    ]
    assert found["uploads"][0]["error"].startswith("not tried: can't reach an MLflow server")


def test_a_terminal_shows_how_far_it_is_in_one_line(sqlite_uri: str, tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", 3)
    archive = zipped(tmp_path / "runs", tmp_path / "runs.zip")
    command = [str(Path(sys.executable).with_name("pynb-dag-runner")), "upload", "--tracking-uri", sqlite_uri]
    ours, its = pty.openpty()
    with subprocess.Popen([*command, str(archive)], stdout=subprocess.PIPE, stderr=its) as process:
        os.close(its)
        shown = _read_all(ours).replace("\r\n", "\n")
        os.close(ours)
        assert process.stdout
        assert len(process.stdout.read().splitlines()) == 3
    assert process.returncode == 0
    progress = [re.sub(r"\n.*", "", line, flags=re.DOTALL) for line in shown.split("\r\033[Kuploading: ")[1:]]
    assert progress[0] == "0 of 3 done"
    assert "1 of 3 done; task 1 of 1" in "\n".join(progress)
    # Each line that stays begins on an empty one.
    assert re.search(r"\r\033\[K3 runs: 3 uploaded\n", shown)
    assert re.search(r"\r\033\[Kuploaded: run-001 ", shown)


def _read_all(terminal: int) -> str:
    data = b""
    try:
        while more := os.read(terminal, 65536):
            data += more
    except OSError:  # how Linux says that the other end is closed
        pass
    return data.decode()
