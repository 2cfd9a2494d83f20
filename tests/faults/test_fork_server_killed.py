"""Whoever a forked process depends on is killed: it goes, too, and a run goes on without."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from pynb_dag_runner import Outcome, Pipeline, RunStatus
from pynb_dag_runner.model.run_settings import ExecutorName
from pynb_dag_runner.processes.fork_server.client import ServerPlace
from tests.end_to_end.cli_process import PROGRAM, environment
from tests.faults.kernels import attempt_of, fork_server, kernel, run_notebooks, start_of
from tests.living import environment_of, living

GONE_WITHIN_S = 60.0
MARK = "TEST_OF_FORKS"

STUCK = """
    import ctypes, os, sys
    mutex, c = ctypes.create_string_buffer(128), ctypes.PyDLL(None)
    with open({pipe!r}, "w") as told:
        told.write(open(f"/proc/{{os.getppid()}}/cmdline").read())
    c.pthread_mutex_lock(mutex)
    c.pthread_mutex_lock(mutex)  # for ever, in C code that holds the interpreter's lock
"""
KILL_SERVER = """
    import os, signal
    if os.environ["PYNB_DAG_RUNNER_ATTEMPT"] == "1":
        assert "fork_server" in open(f"/proc/{os.getppid()}/cmdline").read()
        os.kill(os.getppid(), signal.SIGKILL)
        while True:
            signal.pause()
"""
KILL_HOST = """
    import os, signal
    if os.environ["PYNB_DAG_RUNNER_ATTEMPT"] == "1":
        os.kill(int(os.environ["JPY_PARENT_PID"]), signal.SIGKILL)
        while True:
            signal.pause()
"""
KILL_WORKERS = """
    import os, psutil, signal
    mark = os.environ["PYNB_DAG_RUNNER_ENGINE"]
    if os.environ["PYNB_DAG_RUNNER_ATTEMPT"] == "1":
        for process in psutil.process_iter(["name", "cmdline", "environ"]):  # None: it has ended, or is another user's
            name, command = process.info["name"] or "", process.info["cmdline"] or [""]
            if name.startswith("ray::") and "Agent" not in command[0]:
                if (process.info["environ"] or {}).get("PYNB_DAG_RUNNER_ENGINE") == mark:
                    process.kill()
        while True:
            signal.pause()
"""


def marked(mark: str) -> list[psutil.Process]:
    others = (process for process in psutil.process_iter() if process.pid != os.getpid())
    return [process for process in others if mark in environment_of(process).values()]


@pytest.mark.parametrize("executor", ["process", "ray"])
@pytest.mark.parametrize("kind", ["notebook", "function"])
def test_nothing_lives_on_when_the_driver_is_killed(tmp_path: Path, executor: str, kind: str) -> None:
    pipe, mark = tmp_path / "pipe", str(tmp_path)
    os.mkfifo(pipe)
    stuck = dedent(STUCK.format(pipe=str(pipe)))
    (tmp_path / "stuck.py").write_text(f"# %%\n{stuck}")
    body = (
        "    p.notebook('stuck.py')" if kind == "notebook" else f"    p.function(lambda: exec({stuck!r}), name='stuck')"
    )
    head = "from pynb_dag_runner import Pipeline\np = Pipeline('p', preload=['json'])\nif True:\n"
    (tmp_path / "pipeline.py").write_text(f"{head}{body}\n")
    command = [str(PROGRAM), "run", "pipeline.py", "--executor", executor, "--no-progress"]
    driver = subprocess.Popen(command, cwd=tmp_path, env=environment({MARK: mark}), stderr=subprocess.DEVNULL)
    with pipe.open() as told:
        assert "fork_server" in told.read()
    left = marked(mark)
    driver.kill()
    driver.wait()
    assert len(left) > 3
    assert living(left, timeout_s=GONE_WITHIN_S) == []
    assert marked(mark) == []


@pytest.mark.parametrize("executor", ["process", "ray", "inline"])
def test_a_run_goes_on_without_its_fork_server(tmp_path: Path, executor: ExecutorName) -> None:
    cells = {"kills": KILL_SERVER, "next": "1"}
    result = run_notebooks(tmp_path, cells, executor=executor, processors=1, retries=1)
    assert result.status is RunStatus.SUCCEEDED
    assert [attempt.outcome for attempt in result.tasks["kills"].attempts] == [Outcome.CRASHED, Outcome.SUCCEEDED]
    first, _ = attempt_of(result, "kills")
    assert first["error"]["message"].startswith("the kernel died in cell 1: signal SIGKILL")
    assert start_of(result, "kills", 1) == ("forked", [], "")
    for how, _preloaded, remarks in (start_of(result, "kills", 2), start_of(result, "next")):
        assert how == "started"
        assert remarks.startswith("the fork server did not answer: ")


@pytest.mark.parametrize("preload", [(), ("json",)])
def test_kernels_go_with_the_server_whatever_they_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preload: tuple[str, ...]
) -> None:
    """Nobody looks after them: the system ends them."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stuck = "import ctypes\nctypes.PyDLL(None).sleep(600)"  # holds the interpreter's lock

    async def kill_server(place: ServerPlace) -> None:
        async with kernel(tmp_path, place) as one:
            server = psutil.Process(one.manager.provisioner.pid).parent()
            assert one.how is not None
            assert server is not None
            assert one.how.preloaded == preload
            killed = server.parents()[0] if preload else server  # that of preloaded kernels is a child of the other one
            family = {killed, server, *server.children()}
            one.client.execute(stuck)
            killed.kill()
            assert living(family, timeout_s=GONE_WITHIN_S) == []

    with fork_server(*preload) as place:
        asyncio.run(kill_server(place))


@pytest.mark.parametrize("executor", ["process", "ray"])
def test_a_kernel_goes_with_its_host(tmp_path: Path, executor: ExecutorName) -> None:
    result = run_notebooks(tmp_path, {"kills": KILL_HOST, "next": "1"}, executor=executor, processors=1, retries=1)
    assert result.status is RunStatus.SUCCEEDED
    assert [attempt.outcome for attempt in result.tasks["kills"].attempts] == [Outcome.CRASHED, Outcome.SUCCEEDED]
    assert {start_of(result, "kills", 2)[0], start_of(result, "next")[0]} == {"forked"}
    assert marked(str(attempt_of(result, "kills")[1])) == []


def test_a_kernel_goes_with_the_ray_worker(tmp_path: Path) -> None:
    result = run_notebooks(tmp_path, {"kills": KILL_WORKERS, "next": "1"}, executor="ray", processors=1, retries=1)
    assert result.status is RunStatus.SUCCEEDED
    _, folder = attempt_of(result, "kills")
    failure = result.tasks["kills"].attempts[0].failure
    assert failure is not None
    assert "the Ray worker that it ran under died" in failure.message
    assert marked(str(folder)) == []


def kill_own_server(kept: str) -> int:
    """In a forked host: the server's end, once."""
    if not Path(kept).exists():
        Path(kept).touch()
        assert b"fork_server" in Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
        os.kill(os.getppid(), signal.SIGKILL)
        while True:
            signal.pause()
    return os.getppid()


@pytest.mark.parametrize("executor", ["process", "ray"])
def test_functions_go_on_without_the_server_of_their_hosts(tmp_path: Path, executor: ExecutorName) -> None:
    pipeline = Pipeline("functions", base_dir=tmp_path)
    first = pipeline.function(kill_own_server, name="kills", parameters={"kept": str(tmp_path / "x")}, retries=1)
    pipeline.function(kill_own_server, name="next", parameters={"kept": str(tmp_path / "x")}, after=[first])
    result = pipeline.run(executor=executor, num_cpus=1, progress=False, output_dir=tmp_path)
    assert result.status is RunStatus.SUCCEEDED
    attempts = result.tasks["kills"].attempts
    assert [attempt.outcome for attempt in attempts] == [Outcome.CRASHED, Outcome.SUCCEEDED]
    assert attempts[0].failure is not None
    assert attempts[0].failure.message.startswith("its process died: signal SIGKILL")
