"""``resume`` after the driver died, while another one works, and with files that were damaged."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pynb_dag_runner import RunStatus, TaskStatus, read_run
from pynb_dag_runner.run_folder import paths
from tests.end_to_end.cli_process import PROGRAM, environment
from tests.end_to_end.resumable import ALL, edit, only_run, ran, resume, run_once, statuses, write_project
from tests.factories import edit_json

BOUND_S = 200.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path)


def wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("executor", ["inline", "process", "ray"])
def test_a_killed_run_goes_on_and_runs_nothing_twice_that_had_finished(project: Path, executor: str) -> None:
    (project / "stuck-1").touch()
    command = [str(PROGRAM), "run", "pipeline.py", "--executor", executor]
    if executor != "inline":
        command += ["--num-cpus", "4"]
    driver = subprocess.Popen(
        command, cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wanted = {"load", "fit"} if executor == "inline" else {"load", "fit", "other", "mean"}

        def finished() -> bool:
            path = project / "ran.txt"
            there = set(path.read_text().split()) if path.exists() else set()
            records = [json.loads(record.read_text()) for record in project.glob("runs/*/*/tasks/*/*/attempt.json")]
            done = {record["task"] for record in records if record["outcome"]}
            return wanted <= there and wanted - {"fit"} <= done

        wait_for(finished)
    finally:
        driver.kill()
        driver.wait()
    before = only_run(project)
    assert before.status is RunStatus.INTERRUPTED
    done = resume(before.folder)
    assert done.returncode == 0, done.stderr
    assert ran(project) == ALL | {"fit": 2}
    after = read_run(before.folder)
    assert after.status is RunStatus.SUCCEEDED
    first, second = after.by_name["fit"].attempts
    assert (first.outcome, first.failure and first.failure.kind) == ("CRASHED", "DriverDied")
    assert second.outcome == "SUCCEEDED"
    assert after.by_name["load"].status is TaskStatus.REUSED


def test_a_second_resume_is_refused_while_the_first_goes_on(project: Path) -> None:
    (project / "broken").touch()
    folder = run_once(project)
    (project / "broken").unlink()
    (project / "stuck-2").touch()
    ran(project)
    first = subprocess.Popen(
        [str(PROGRAM), "resume", str(folder)],
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: "fit" in (project / "ran.txt").read_text())
        second = resume(folder)
        dry = resume(folder, "--dry-run")
        (project / "stuck-2").unlink()
        assert first.wait(BOUND_S) == 0
    finally:
        first.kill()
        first.wait()
    said = f"process {first.pid} on host '{os.uname().nodename}' works on this run"
    for refused in (second, dry):
        assert (refused.returncode, refused.stdout) == (2, "")
        assert said in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert ran(project) == {"fit": 1, "report": 1}


def test_a_run_that_goes_on_can_not_be_resumed(project: Path) -> None:
    (project / "stuck-1").touch()
    driver = subprocess.Popen(
        [str(PROGRAM), "run", "pipeline.py", "--executor", "inline"],
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: (project / "ran.txt").exists() and "fit" in (project / "ran.txt").read_text())
        refused = resume(only_run(project).folder)
        assert refused.returncode == 2
        assert f"process {driver.pid} on host" in refused.stderr
        driver.send_signal(signal.SIGINT)
        assert driver.wait(BOUND_S) == 130
    finally:
        driver.kill()
        driver.wait()
    (project / "stuck-1").unlink()
    ran(project)
    folder = only_run(project).folder
    assert statuses(folder)["fit"] == "CANCELLED"
    assert resume(folder).returncode == 0
    assert ran(project) == {"fit": 1, "report": 1}


def test_a_run_whose_driver_on_another_host_is_alive_is_refused(project: Path) -> None:
    folder = run_once(project)
    record = json.loads((folder / paths.RUN).read_text())
    edit_json(folder / paths.RUN, status="RUNNING", end=None, driver=record["driver"] | {"host": "elsewhere", "pid": 7})
    (folder / paths.EVENTS).touch()
    refused = resume(folder)
    assert refused.returncode == 2
    assert "process 7 on host 'elsewhere' works on this run" in refused.stderr
    os.utime(folder / paths.EVENTS, (0, 0))
    assert resume(folder).returncode == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "its return value is not in the run folder any more"),
        (lambda path: path.write_bytes(b"\x80\x04nonsense"), "its return value can't be unpickled: "),
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), "its return value can't be unpickled: "),
    ],
)
def test_a_return_value_that_is_lost_is_made_again(project: Path, damage: Callable[[Path], None], said: str) -> None:
    (project / "broken").touch()
    folder = run_once(project)
    (project / "broken").unlink()
    ran(project)
    damage(folder / "tasks" / "load" / "attempt-1" / paths.RETURN_PICKLE)
    done = resume(folder)
    assert done.returncode == 0, done.stderr
    assert f"  load: {said}" in done.stderr
    assert ran(project) == {"load": 1, "fit": 1, "report": 1}


def test_a_lost_return_value_that_nobody_needs_does_not_matter(project: Path) -> None:
    folder = run_once(project)
    ran(project)
    (folder / "tasks" / "load" / "attempt-1" / paths.RETURN_PICKLE).unlink()
    edit(project / "mean.py", "rows / 2", "rows / 4")
    assert resume(folder).returncode == 0
    assert ran(project) == {"mean": 1, "report": 1}


def test_a_torn_last_line_of_events_is_no_trouble(project: Path) -> None:
    (project / "broken").touch()
    folder = run_once(project)
    (project / "broken").unlink()
    with open(folder / paths.EVENTS, "ab") as file:
        file.write(b'{"event":"task_set')
    assert resume(folder).returncode == 0
    assert read_run(folder).status is RunStatus.SUCCEEDED
    assert all(json.loads(line) for line in (folder / paths.EVENTS).read_text().splitlines())
