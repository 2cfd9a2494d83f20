"""Where MLflow calls of a task go: the user's store, another machine, and with which secrets."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlflow_bridge.source.captured_database import read_captured
from pynb_dag_runner import Pipeline, Secret, read_run
from pynb_dag_runner.processes.private_directory import SCRATCH_VARIABLE
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.file_parts import Arrivals
from pynb_dag_runner.secrets.masking import MASK
from pynb_dag_runner.worker.attempt import run_attempt
from pynb_dag_runner.worker.messages import AttemptSpec, FilePart, FunctionWork
from tests.bridge.captures import attempt_at
from tests.bridge.mlflow_contents import Contents
from tests.faults.leaks import SECRET, SIMPLE, assert_nowhere


def log_to_the_users_store() -> None:
    import mlflow

    mlflow.log_metric("live", 1)
    raise ValueError("on purpose")


def test_a_tracking_uri_of_the_user_is_kept_and_runs_say_where_they_come_from(
    sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    with mlflow.start_run(run_name="the user's own") as own:
        p = Pipeline("live", base_dir=tmp_path)
        p.function(log_to_the_users_store)
        result = p.run(executor="inline", progress=False, output_dir=tmp_path / "runs")
        assert mlflow.active_run() is not None
        mlflow.log_metric("mine", 1)
    assert not list(tmp_path.rglob("mlflow"))
    runs = Contents(sqlite_uri, "Default").runs()
    [made] = [run for run in runs if run.info.run_id != own.info.run_id]
    assert (made.info.status, made.data.metrics) == ("FAILED", {"live": 1})
    assert {name: value for name, value in made.data.tags.items() if name.startswith("pynb_dag_runner.")} == {
        "pynb_dag_runner.run_id": result.folder.name,
        "pynb_dag_runner.task": "log_to_the_users_store",
        "pynb_dag_runner.attempt": "1",
    }
    assert os.environ["MLFLOW_TRACKING_URI"] == sqlite_uri


def log_secrets(plain: str, other: str) -> None:
    import mlflow

    mlflow.log_param("key", f"it is {plain}")
    mlflow.log_metric(f"of {other}", 1)
    mlflow.set_tag("long", "x" * 3000 + other + "y" * 3000)
    mlflow.set_tag("gone", other)
    mlflow.delete_tag("gone")
    mlflow.log_text(plain, f"{other}.txt")


def test_secrets_are_taken_out_of_the_database_and_it_can_still_be_read(tmp_path: Path) -> None:
    p = Pipeline("hiding", base_dir=tmp_path)
    p.function(log_secrets, name="hide", parameters={"plain": Secret(SECRET), "other": Secret(SIMPLE)})
    result = p.run(executor="process", num_cpus=1, progress=False, output_dir=tmp_path / "runs")
    assert result.tasks["hide"].failure is None
    assert_nowhere(result.folder, SECRET, SIMPLE)
    run = read_run(result.folder)
    [main] = read_captured(run.folder, run.by_name["hide"].attempts[0]).runs
    assert main.params == {"key": f"it is {MASK}"}
    assert [point.key for point in main.metrics] == [f"of {MASK}"]
    assert main.tags["long"] == "x" * 3000 + MASK + "y" * 3000
    assert [name for _, name in main.files] == [f"{MASK}.txt"]


def log_a_file() -> None:
    import mlflow

    mlflow.log_text("from far away", "far.txt")


def test_what_a_task_logged_on_another_machine_is_read_where_it_has_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    spec = AttemptSpec(
        run_id="run",
        task="task",
        number=1,
        folder=paths.attempt_folder(run_folder, "task", 1),
        run_folder_inode=run_folder.stat().st_ino + 1,
        scratch="pdr-a-test",
        work=FunctionWork(function=log_a_file),
        queued=datetime.now(UTC),
    )
    arrivals = Arrivals()
    for message in run_attempt(spec):
        if isinstance(message, FilePart):
            arrivals.take(spec.folder, message.path, message.data, last=message.last)
    arrivals.close()
    assert list((tmp_path / "scratch").iterdir()) == []
    [run] = read_captured(run_folder, attempt_at(spec.folder.relative_to(run_folder))).runs
    [(path, name)] = run.files
    assert (name, (run_folder / path).read_text()) == ("far.txt", "from far away")


def test_two_processes_of_a_task_may_be_the_first_at_the_same_time(tmp_path: Path) -> None:
    (tmp_path / "attempt").mkdir()
    code = "import mlflow; mlflow.log_metric('one', 1)"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"pynb-dag-runner://{tmp_path / 'attempt'}"}
    # A cache that nobody can write: each makes its own tables.
    environment["XDG_CACHE_HOME"] = "/dev/null"
    environment["TMPDIR"] = str(tmp_path)
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(3)]
    assert [process.wait(240) for process in processes] == [0, 0, 0]
    with closing(sqlite3.connect(tmp_path / "attempt/mlflow/mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (3,)
    assert [path.name for path in (tmp_path / "attempt/mlflow").iterdir()] == ["mlflow.db"]
