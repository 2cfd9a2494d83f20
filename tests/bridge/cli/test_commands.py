"""The commands, as entry points give them to the command line."""

import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
import psutil
import pytest
from click.testing import CliRunner, Result

from mlflow_bridge import TargetError
from mlflow_bridge.store.local_ui import free_port, serve
from mlflow_bridge.store.target import resolve_target
from pynb_dag_runner.model.outcomes import RunStatus
from tests.bridge.mlflow_contents import Contents
from tests.bridge.run_folders import RUN_ID, Task, make_run
from tests.living import living

COMMANDS = {point.name: point for point in importlib.metadata.entry_points(group="pynb_dag_runner.commands")}


def invoke(command: str, *arguments: str | Path) -> Result:
    loaded: click.Command = COMMANDS[command].load()
    return CliRunner().invoke(loaded, [str(argument) for argument in arguments])


def damaged_folder(output_dir: Path) -> Path:
    """A run folder whose record was cut off."""
    folder = make_run(output_dir, Task(), run_id="damaged")
    (folder / "run.json").write_text('{"run_id": "dam')
    return folder


def test_upload_prints_one_line_for_each_run_and_tells_people_the_rest(sqlite_uri: str, tmp_path: Path) -> None:
    first = make_run(tmp_path / "runs", Task(), run_id="first")
    second = make_run(tmp_path / "runs", Task(), run_id="second")
    result = invoke("upload", "--tracking-uri", sqlite_uri, first, second)
    ids = {run.info.run_name: run.info.run_id for run in Contents(sqlite_uri, "digits").runs()}
    assert result.exit_code == 0
    assert result.stdout == f"runs:/{ids['first']}\nruns:/{ids['second']}\n"
    assert f"uploaded: first (1 task) in {sqlite_uri}" in result.stderr
    assert f"To look at it: pynb-dag-runner ui --tracking-uri {sqlite_uri}" in result.stderr


def test_upload_to_a_server_prints_addresses(server_uri: str, experiment: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", Task())
    result = invoke("upload", "--tracking-uri", server_uri, "--experiment", experiment, folder)
    assert result.stdout.startswith(f"{server_uri}/#/experiments/")
    assert result.stdout.endswith("?workflowType=machine_learning\n")


def test_uploading_again_says_unchanged(sqlite_uri: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", Task())
    first = invoke("upload", "--tracking-uri", sqlite_uri, folder)
    second = invoke("upload", "--tracking-uri", sqlite_uri, folder)
    assert second.stdout == first.stdout
    assert f"unchanged: {RUN_ID}" in second.stderr


def test_json_is_one_document(sqlite_uri: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", Task())
    result = invoke("upload", "--json", "--tracking-uri", sqlite_uri, folder, damaged_folder(tmp_path / "runs"))
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["tracking_uri"] == sqlite_uri
    good, bad = document["uploads"]
    assert (good["outcome"], good["run_id"], good["folder"]) == ("uploaded", RUN_ID, str(folder))
    assert bad["outcome"] == "failed"
    assert "run.json: it is no JSON" in bad["error"]


def test_a_bad_folder_does_not_keep_others_from_being_uploaded(sqlite_uri: str, tmp_path: Path) -> None:
    running = make_run(tmp_path / "runs", Task(), run_id="running", status=RunStatus.RUNNING, alive=True)
    folder = make_run(tmp_path / "runs", Task())
    bad = damaged_folder(tmp_path / "runs")
    result = invoke("upload", "--tracking-uri", sqlite_uri, bad, running, folder)
    assert result.exit_code == 1
    assert result.stdout.count("\n") == 1
    assert f"failed: {bad}/run.json: it is no JSON" in result.stderr
    assert f"failed: {running}: the run is still going on" in result.stderr


def test_dry_run_changes_nothing(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", Task())
    result = invoke("upload", "--dry-run", "--tracking-uri", f"sqlite:///{tmp_path}/new.db", folder)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"{folder}: would be uploaded" in result.stderr
    assert not (tmp_path / "new.db").exists()


def test_dry_run_tells_what_is_there(sqlite_uri: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", Task())
    assert "would be uploaded" in invoke("upload", "--dry-run", "--tracking-uri", sqlite_uri, folder).stderr
    invoke("upload", "--tracking-uri", sqlite_uri, folder)
    assert "is there; nothing" in invoke("upload", "--dry-run", "--tracking-uri", sqlite_uri, folder).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'PATH...'"),
        (["no-such-folder"], "'no-such-folder' does not exist"),
        (["--tracking-uri", "mlruns", "."], "Error: the tracking URI 'mlruns' can't be uploaded to"),
        (["."], "Error: .: there is no run folder in it, at any depth (no run.json), and no archive of some"),
        (["--jobs", "0", "."], "'--jobs': 0 is not in the range x>=1"),
    ],
)
def test_bad_usage_is_exit_code_2(arguments: list[str], message: str) -> None:
    result = invoke("upload", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_store_that_does_not_answer_is_exit_code_1(tmp_path: Path) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = invoke("upload", "--tracking-uri", uri, make_run(tmp_path / "runs", Task()))
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: can't reach an MLflow server at {uri}: connection refused\n",
    )


def test_loading_the_commands_loads_neither_MLflow_nor_what_runs_tasks() -> None:
    code = (
        "import sys, mlflow_bridge, mlflow_bridge.cli.commands, mlflow_bridge.uploads.one_run\n"
        "heavy = {'mlflow', 'ray', 'papermill', 'nbconvert', 'sqlalchemy'}\n"
        "print(heavy & {name.split('.')[0] for name in sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_ui_of_a_server_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    result = invoke("ui", "--tracking-uri", "https://mlflow.example/prefix")
    assert result.stdout == "https://mlflow.example/prefix/#/experiments?workflowType=machine_learning\n"


def test_the_ui_needs_the_full_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(TargetError, match=r"pip install 'pynb-dag-runner\[mlflow\]'"):
        serve(resolve_target(f"sqlite:///{tmp_path}/x.db"), "127.0.0.1", 5000, say=print, answer=print)


def test_a_taken_port_is_passed_over() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) > port


def test_an_address_of_another_host_is_refused() -> None:
    with pytest.raises(TargetError, match=r"can't listen on 192\.0\.2\.1, ports 5000 to 5049"):
        free_port("192.0.2.1", 5000)


@contextmanager
def running_ui(uri: str, port: int) -> Iterator[subprocess.Popen[str]]:
    code = "from mlflow_bridge.cli.commands import ui; ui()"
    command = [sys.executable, "-c", code, "--tracking-uri", uri, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_ui_answers_at_the_address_that_it_prints_and_leaves_no_process(sqlite_uri: str, number: int) -> None:
    with running_ui(sqlite_uri, free_port("127.0.0.1", 16000)) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with urllib.request.urlopen(address.partition("#")[0]) as response:
            assert b"MLflow" in response.read()
        below = psutil.Process(process.pid).children(recursive=True)
        assert below
        os.kill(process.pid, number)
        assert process.wait() == 0
        assert living(below) == []


def test_a_ui_that_is_killed_leaves_no_process_either(sqlite_uri: str) -> None:
    with running_ui(sqlite_uri, free_port("127.0.0.1", 16000)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip()
        below = psutil.Process(process.pid).children(recursive=True)
        assert below
        process.kill()
        assert living(below, timeout_s=200) == []
