"""``run --upload`` and ``resume --upload``: through the installed command, with real stores and servers."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_bridge.cli.after_run import prepare
from tests.bridge.mlflow_contents import Contents
from tests.bridge.targets.faulty_proxy import Fault, faulty_proxy
from tests.end_to_end.cli_process import PROGRAM, environment, pynb, write

PIPELINE = """
    import os, time
    from pynb_dag_runner import Pipeline

    def work():
        assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
        if os.path.exists("wait"):
            open("started", "w").close()
            time.sleep(60)
        assert not os.path.exists("fail"), "as wished"
        if os.path.exists("elsewhere"):
            os.chdir("elsewhere")

    pipeline = Pipeline("small")
    pipeline.function(work)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path / "project", {"pipeline.py": PIPELINE.replace("\n    ", "\n")})


def run(
    project: Path, *options: object, command: str = "run", target: object = "pipeline.py", env: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    engine = ("--executor", "inline", "--no-progress")
    return pynb(command, target, *engine, "--upload", *options, cwd=project, env=env)


def only_folder(project: Path) -> Path:
    (folder,) = (project / "runs/small").iterdir()
    return folder


def test_a_run_is_uploaded_when_it_has_ended(project: Path, sqlite_uri: str) -> None:
    """Also if a task leaves the directory, and the user has a module that is called as one that an upload needs."""
    (project / "elsewhere").mkdir()
    (project / "sqlalchemy.py").write_text("raise SystemExit('a module of the user')\n")
    ended = run(project, "--tracking-uri", "sqlite:///../store/mlflow.db", "--experiment", "mine")
    assert (ended.returncode, ended.stdout) == (0, f"{only_folder(project)}\n")
    assert f"uploaded: {only_folder(project).name} (1 task) in {sqlite_uri}\n" in ended.stderr
    assert Contents(sqlite_uri, "mine").tree() == {"": None, "work": ""}


def test_a_failed_run_is_uploaded_and_fails_and_so_is_what_resumes_it(project: Path, sqlite_uri: str) -> None:
    (project / "fail").touch()
    failed = run(project, "--json", env={"MLFLOW_TRACKING_URI": sqlite_uri})
    document = json.loads(failed.stdout)
    assert (failed.returncode, document["status"]) == (1, "FAILED")
    assert (document["upload"]["outcome"], document["upload"]["tasks"]) == ("uploaded", 1)
    assert Contents(sqlite_uri, "small").statuses()[""] == ("FAILED", "complete")
    (project / "fail").unlink()
    resumed = run(project, "--tracking-uri", sqlite_uri, command="resume", target=only_folder(project))
    assert (resumed.returncode, resumed.stdout) == (0, f"{only_folder(project)}\n")
    assert f"updated: {only_folder(project).name} " in resumed.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tracking-uri", "mlruns"], "error: --upload: the tracking URI 'mlruns' can't be uploaded to; expected"),
        (["--tracking-uri", "http://127.0.0.1:{port}"], "error: --upload: can't reach an MLflow server at http://127"),
    ],
)
def test_a_place_that_can_not_be_uploaded_to_is_said_before_the_run(
    project: Path, options: list[str], message: str
) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        ended = run(project, *(option.format(port=port) for option in options))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(message)
    assert "; nothing has run\n" in ended.stderr
    assert not (project / "runs").exists()


@pytest.mark.parametrize("option", ["--tracking-uri", "--experiment"])
def test_options_of_an_upload_need_one(project: Path, option: str) -> None:
    ended = pynb("run", "pipeline.py", option, "x", cwd=project)
    assert ended.returncode == 2
    assert f"{option} says where --upload uploads to; there is no --upload" in ended.stderr


def test_without_the_bridge_it_is_said_before_the_run(project: Path, tmp_path: Path) -> None:
    """A Python that knows no entry points of ours, and one without MLflow."""
    code = (
        "import importlib.metadata as metadata, sys\n"
        "metadata.entry_points = lambda **_: metadata.EntryPoints()\n"
        "from pynb_dag_runner.cli import main\n"
        "sys.exit(main(['run', 'pipeline.py', '--upload']))"
    )
    ended = python(code, project)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: --upload: nothing that uploads is installed")
    write(tmp_path / "none", {"sitecustomize.py": "import sys\nsys.modules['mlflow'] = None\n"})
    hidden = run(project, env={"PYTHONPATH": str(tmp_path / "none")})
    assert (hidden.returncode, hidden.stdout) == (2, "")
    assert "MLflow is not installed; install it with: pip install 'pynb-dag-runner[upload]'" in hidden.stderr
    assert not (project / "runs").exists()


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM.with_name("python")), "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=240, check=False)


def test_a_failed_upload_leaves_exit_code_and_folder_and_says_how_to_repeat_it(
    project: Path, server_uri: str, experiment: str
) -> None:
    with faulty_proxy(server_uri, lambda seen: Fault(status=403) if "runs/create" in seen.path else None) as proxy:
        options = ("--tracking-uri", proxy.uri.replace("//", "//ada:secret@"), "--experiment", experiment)
        ended = run(project, "--json", *options)
        document = json.loads(ended.stdout)
        assert (ended.returncode, document["status"]) == (0, "SUCCEEDED")
        assert document["upload"]["outcome"] == "failed"
        assert "refuses this: no permission" in document["upload"]["error"]
        folder = only_folder(project)
        command = f"pynb-dag-runner upload {folder} --tracking-uri {proxy.uri} --experiment '{experiment}'"
        assert (
            f"To upload it: {command.replace(chr(39), '') if experiment.isidentifier() else command}\n" in ended.stderr
        )
        assert "secret" not in ended.stderr
        assert ended.stderr.count("refuses this: no permission") == 1
        proxy.plan = lambda _: None
        again = pynb("upload", folder, *options, cwd=project)
    assert again.returncode == 0
    assert Contents(server_uri, experiment).tree() == {"": None, "work": ""}


def test_an_interrupted_run_is_not_uploaded(project: Path, sqlite_uri: str) -> None:
    (project / "wait").touch()
    command = [str(PROGRAM), "run", "pipeline.py", "--executor", "process", "--upload", "--tracking-uri", sqlite_uri]
    with subprocess.Popen(
        command, cwd=project, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 200
        while not (project / "started").exists():
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=240)
    assert process.returncode == 130
    repeat = f"pynb-dag-runner upload {only_folder(project)} --tracking-uri {sqlite_uri}\n"
    assert f"not uploaded, since the run was interrupted; to upload it: {repeat}" in told
    assert Contents(sqlite_uri, "Default").runs() == []


def test_a_dry_run_uploads_nothing(project: Path, tmp_path: Path) -> None:
    ended = run(project, "--dry-run", "--tracking-uri", f"sqlite:///{tmp_path}/new.db")
    assert ended.returncode == 0
    assert not (tmp_path / "new.db").exists()


def test_the_driver_stays_without_MLflow(sqlite_uri: str) -> None:
    """The check is made by another process: this one, and its tasks, get none of the variables that it sets."""
    before = dict(os.environ)
    prepare(sqlite_uri, None)
    assert dict(os.environ) == before
