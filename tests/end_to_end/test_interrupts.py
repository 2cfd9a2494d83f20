"""Ctrl-C, SIGTERM and SIGKILL strike a run of the real command; what is left is looked at."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from pynb_dag_runner import Run, RunStatus, TaskStatus, find_runs, read_run
from tests.end_to_end.cli_process import PROGRAM
from tests.living import environment_of, living, name_of

BOUND_S = 200.0
"""For what may hang; a machine that is busy with other work takes its time."""

PIPELINE = """
    import time
    from pynb_dag_runner import Pipeline, pipeline

    def sleep_long():
        print("sleeping")
        time.sleep(600)

    @pipeline
    def interrupted(p: Pipeline):
        stuck = p.notebook("stuck.py")
        p.function(sleep_long)
        p.function(sleep_long, name="after", after=stuck)
"""
NOTEBOOK = """
    # %%
    print("one")
    # %%
    import subprocess, time
    subprocess.Popen(["setsid", "sleep", "600"])
    print("two", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(dedent(PIPELINE))
    (tmp_path / "stuck.py").write_text(dedent(NOTEBOOK).lstrip())
    return tmp_path


@pytest.fixture
def driver(project: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [str(PROGRAM), "run", "pipeline.py", "--num-cpus", "2"]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.05)


def wait_until_both_run(project: Path) -> None:
    def both_print() -> bool:
        logs = {path.parts[-3]: path.read_text() for path in project.glob("runs/*/*/tasks/*/attempt-1/output.log")}
        return "two" in logs.get("stuck", "") and "sleeping" in logs.get("sleep_long", "")

    wait_for(both_print)


def descendants(project: Path) -> list[psutil.Process]:
    """Processes that belong to the run: whatever was started below its driver works in or for the project."""
    found = []
    for process in psutil.process_iter():
        environment = environment_of(process)
        if environment.get("PYNB_DAG_RUNNER_ENGINE") and environment.get("PWD_OF_TEST") == str(project):
            found.append(process)
    return found


def the_run(project: Path) -> Run:
    (folder,) = find_runs(project / "runs")
    return read_run(folder)


@pytest.fixture(autouse=True)
def marked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD_OF_TEST", str(project))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_the_run_in_order(
    project: Path, driver: "subprocess.Popen[str]", number: signal.Signals
) -> None:
    wait_until_both_run(project)
    assert descendants(project)
    driver.send_signal(number)
    stdout, stderr = driver.communicate(timeout=BOUND_S)
    run = the_run(project)
    assert driver.returncode == 130, stderr
    assert stdout == f"{run.folder}\n"
    assert run.status is RunStatus.CANCELLED
    assert {task.name: task.status for task in run.tasks} == dict.fromkeys(
        ("stuck", "sleep_long", "after"), TaskStatus.CANCELLED
    )
    notebook = run.by_name["stuck"].attempts[0].notebook
    assert notebook is not None
    assert "two" in json.dumps(json.loads((run.folder / notebook).read_text()))
    assert run.report is not None
    assert descendants(project) == []


def test_a_second_signal_ends_it_at_once(project: Path, driver: "subprocess.Popen[str]") -> None:
    wait_until_both_run(project)
    driver.send_signal(signal.SIGINT)
    driver.send_signal(signal.SIGTERM)
    _, stderr = driver.communicate(timeout=BOUND_S)
    assert driver.returncode == 130, stderr
    assert the_run(project).status is RunStatus.CANCELLED
    assert descendants(project) == []


def test_a_killed_driver_leaves_a_readable_folder_and_no_process(project: Path) -> None:
    # No pipes: Ray's agents would notice that nobody reads theirs any more, and end by themselves.
    command = [str(PROGRAM), "run", "pipeline.py", "--num-cpus", "2"]
    driver = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_both_run(project)
    below = psutil.Process(driver.pid).children(recursive=True)
    assert any(process.name().startswith("ray::") for process in below)
    scratch = Path(descendants(project)[0].environ()["PYNB_DAG_RUNNER_SCRATCH"])
    driver.kill()
    driver.wait()
    run = the_run(project)
    assert run.status is RunStatus.INTERRUPTED
    assert run.by_name["stuck"].attempts[0].outcome is None
    assert run.by_name["after"].attempts == ()
    assert living(below, timeout_s=BOUND_S) == []
    wait_for(lambda: descendants(project) == [])
    wait_for(lambda: not scratch.exists())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_ray_starts_leaves_nothing(
    project: Path, driver: "subprocess.Popen[str]", number: signal.Signals
) -> None:
    wait_for(lambda: any(name_of(process) == "gcs_server" for process in descendants(project)))
    driver.send_signal(number)
    stdout, stderr = driver.communicate(timeout=BOUND_S)
    assert (driver.returncode, stdout) == (130, ""), stderr
    assert find_runs(project / "runs") == []
    assert list((project / "runs" / "interrupted").iterdir()) == []
    wait_for(lambda: descendants(project) == [])
