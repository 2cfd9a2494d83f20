"""Ray's own servers are killed under a run: it says so in one sentence, burns no retries, and can be resumed."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from pynb_dag_runner import RunStatus, find_runs, read_run
from pynb_dag_runner.executors.on_ray import servers
from pynb_dag_runner.executors.on_ray.servers import Lifeline
from pynb_dag_runner.processes.private_directory import MARK_VARIABLE
from pynb_dag_runner.processes.process_table import with_mark
from tests.end_to_end.cli_process import PROGRAM, environment, pynb, write
from tests.living import command_of, name_of

BOUND_S = 200.0
PIPELINE = dedent("""
    import time
    from pathlib import Path
    from pynb_dag_runner import Pipeline, pipeline

    HERE = Path(__file__).parent

    def note(name):
        with open(HERE / "ran.txt", "a") as file:
            file.write(name + "\\n")

    def first():
        note("first")
        return {1, 2}

    def wait(known):
        note("wait")
        while not (HERE / "go").exists():
            time.sleep(0.05)
        return sorted(known)

    @pipeline
    def waiting(p: Pipeline):
        p.function(wait, parameters={"known": p.function(first).output("return")}, retries=3)
""")


SMALL = dedent("""
    from pynb_dag_runner import Pipeline, pipeline

    def one():
        return 1

    @pipeline
    def small(p: Pipeline):
        p.function(one)
""")


def started(project: Path) -> "subprocess.Popen[str]":
    command = [str(PROGRAM), "run", "pipeline.py", "--executor", "ray", "--num-cpus", "1", "--no-progress"]
    return subprocess.Popen(
        command, cwd=project, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def server_of(driver: "subprocess.Popen[str]", name: str) -> psutil.Process | None:
    return next((child for child in psutil.Process(driver.pid).children() if name_of(child) == name), None)


def kill(driver: "subprocess.Popen[str]", name: str) -> None:
    """Once it is there."""
    wait_for(lambda: server_of(driver, name))
    server = server_of(driver, name)
    assert server is not None
    server.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("server", ["gcs_server", "raylet"])
def test_a_run_that_loses_a_server_is_interrupted_and_resumed(tmp_path: Path, server: str) -> None:
    project = write(tmp_path, {"pipeline.py": PIPELINE})
    driver = started(project)
    wait_for(lambda: (project / "ran.txt").exists() and "wait" in (project / "ran.txt").read_text())
    kill(driver, server)
    out, err = driver.communicate(timeout=BOUND_S)
    (folder,) = find_runs(project / "runs")
    assert (driver.returncode, out) == (1, "")
    assert err.count("\n") == 1, err
    assert f"Ray's {server} ended (signal SIGKILL" in err
    assert f"pynb-dag-runner resume {folder}" in err
    run = read_run(folder)
    assert run.status is RunStatus.INTERRUPTED
    assert run.report is not None
    assert [len(run.by_name[name].attempts) for name in ("first", "wait")] == [1, 1]
    (project / "go").touch()
    done = pynb("resume", folder, "--executor", "process", "--no-progress", cwd=project)
    assert done.returncode == 0, done.stderr
    assert read_run(folder).by_name["wait"].outputs == {"return": [1, 2]}
    assert (project / "ran.txt").read_text().split() == ["first", "wait", "wait"]


@pytest.mark.parametrize("server", ["gcs_server", "raylet"])
def test_a_server_that_dies_while_ray_starts(tmp_path: Path, server: str) -> None:
    project = write(tmp_path, {"pipeline.py": PIPELINE})
    driver = started(project)
    kill(driver, server)
    out, err = driver.communicate(timeout=BOUND_S)
    assert out == ""
    if driver.returncode == 1 and "Failed to register worker to Raylet" in err:
        return  # on a busy machine it died as Ray's core was connecting, which ends the process: no code of ours runs
    assert driver.returncode == 2, err
    assert err.startswith(f"error: Ray can't start: its {server} ended (signal SIGKILL")
    assert err.count("\n") == 1, err
    assert list((project / "runs").rglob("*Z-*")) == []


def test_a_cluster_that_hangs_up_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_AGAIN_S", 0.0)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    lifeline = Lifeline(f"127.0.0.1:{port}")
    assert lifeline.dead() is None
    connection, _ = listener.accept()
    connection.sendall(b"greeting")
    assert lifeline.dead() is None
    connection.close()
    assert lifeline.dead() is None  # it hung up on one who says nothing, and takes the next call
    listener.accept()[0].close()
    listener.close()
    wait_for(lambda: lifeline.dead() is None and lifeline._away_since is not None)
    with socket.create_server(("127.0.0.1", port)) as again:
        wait_for(lambda: lifeline.dead() is None and lifeline._away_since is None)
        again.accept()[0].close()
    monkeypatch.setattr(servers, "_AWAY_BOUND_S", 0.0)
    wait_for(lambda: lifeline.dead() is not None)
    assert f"127.0.0.1:{port} has not answered" in str(lifeline.dead())
    lifeline.close()


def test_nothing_is_left_of_a_lifeline() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lifeline = Lifeline(f"127.0.0.1:{listener.getsockname()[1]}")
        assert lifeline.dead() is None
        lifeline.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_outlives_driver_and_watchdog_is_ended_by_the_next_run(tmp_path: Path) -> None:
    """Ray's agents do: they have their node's server for a parent, and nobody has asked the system to end them."""
    project = write(tmp_path, {"pipeline.py": PIPELINE, "small.py": SMALL})
    driver = started(project)
    wait_for(lambda: (project / "ran.txt").exists() and "wait" in (project / "ran.txt").read_text())
    (folder,) = find_runs(project / "runs")
    mark = f"{MARK_VARIABLE}={read_run(folder).record.driver.engine}"
    (watchdog,) = [process for process in psutil.process_iter() if mark in command_of(process)]
    watchdog.kill()
    driver.kill()
    driver.communicate(timeout=BOUND_S)
    assert with_mark(mark)
    done = pynb("run", "small.py", "--executor", "process", "--no-progress", cwd=project)
    assert done.returncode == 0, done.stderr
    assert with_mark(mark) == []
