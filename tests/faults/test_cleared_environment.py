"""Processes that tasks start with an empty environment, in a session of their own, without a parent: they end, too.

Each writes its pid into a file. A task that runs beside the others succeeds when all of these have gone, so they go
with their attempts and not with the run.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pynb_dag_runner import Outcome, Pipeline
from pynb_dag_runner.model.run_settings import ExecutorName
from pynb_dag_runner.processes.process_table import has_ended
from tests import odd_machine
from tests.slowness import slowness

BOUND_S = 200.0
DAEMON = """
import ctypes, os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE: nobody may read its environment
open(sys.argv[1] + ".new", "w").write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""


def leave(folder: Path, name: str) -> None:
    """Start one, and come back when it runs."""
    subprocess.run(["env", "-i", "setsid", "nohup", sys.executable, "-c", DAEMON, str(folder / name)], check=True)
    while not (folder / name).exists():
        time.sleep(0.01)


def end(folder: Path) -> None:
    leave(folder, "end")


def crash(folder: Path) -> None:
    leave(folder, "crash")
    os._exit(3)


def be_killed(folder: Path) -> None:
    leave(folder, "killed")
    os.kill(os.getpid(), signal.SIGKILL)


def time_out(folder: Path) -> None:
    leave(folder, "timeout")
    time.sleep(600)


def pids_in(folder: Path) -> dict[str, int]:
    return {path.name: int(path.read_text()) for path in folder.iterdir() if not path.suffix}


def wait_until_gone(folder: Path, names: list[str]) -> dict[str, bool]:
    """When all have come and gone; which of them are there."""
    give_up = time.monotonic() + BOUND_S
    while pids_in(folder).keys() < set(names) or not all(map(has_ended, pids_in(folder).values())):
        if time.monotonic() > give_up:
            break
        time.sleep(0.05)
    return {name: not has_ended(pid) for name, pid in pids_in(folder).items()}


CELL = f"""
# %% tags=["parameters"]
folder = name = ""

# %%
import os, sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.faults.test_cleared_environment import leave
leave(Path(folder), name)
dict(notebook=lambda: None, dead=lambda: os._exit(3), late=lambda: time.sleep(600))[name]()
"""


@pytest.mark.parametrize("executor", ["process", "ray", "inline"])
def test_they_end_with_their_attempt(tmp_path: Path, executor: ExecutorName) -> None:
    folder = tmp_path / "pids"
    folder.mkdir()
    (tmp_path / "leave.py").write_text(CELL)
    pipeline = Pipeline("leaving")
    given = {"folder": str(folder)}
    expected = {
        "end": Outcome.SUCCEEDED,
        "notebook": Outcome.SUCCEEDED,
        "dead": Outcome.CRASHED,
        "late": Outcome.TIMED_OUT,
    }
    pipeline.function(end, parameters={"folder": folder})
    for name in ("notebook", "dead", "late"):
        timeout_s = 5.0 * slowness() if name == "late" else None
        pipeline.notebook(tmp_path / "leave.py", name=name, parameters={**given, "name": name}, timeout_s=timeout_s)
    if executor != "inline":
        pipeline.function(crash, parameters={"folder": folder})
        pipeline.function(be_killed, name="killed", parameters={"folder": folder})
        pipeline.function(time_out, name="timeout", parameters={"folder": folder}, timeout_s=4.0 * slowness())
        expected |= {"crash": Outcome.CRASHED, "killed": Outcome.CRASHED, "timeout": Outcome.TIMED_OUT}
    pipeline.function(wait_until_gone, parameters={"folder": folder, "names": sorted(expected)}, num_cpus=0)
    result = pipeline.run(
        executor=executor, num_cpus=2 if executor != "inline" else None, progress=False, output_dir=tmp_path / "runs"
    )
    outcomes = {name: task.last_attempt.outcome for name, task in result.tasks.items() if task.last_attempt}
    assert outcomes == {**expected, "wait_until_gone": Outcome.SUCCEEDED}
    assert result.tasks["wait_until_gone"].outputs["return"] == dict.fromkeys(expected, False)


DRIVER = """
import sys
from pathlib import Path
from pynb_dag_runner import Pipeline
from tests.faults.test_cleared_environment import time_out
folder = Path(sys.argv[1])
pipeline = Pipeline("leaving")
pipeline.function(time_out, parameters={"folder": folder})
pipeline.run(executor=sys.argv[2], progress=False, output_dir=folder.parent / "runs")
"""


@pytest.mark.parametrize("executor", ["process", "ray"])
def test_a_killed_driver_takes_them_along(tmp_path: Path, executor: str) -> None:
    folder = tmp_path / "pids"
    folder.mkdir()
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(folder), executor])
    give_up = time.monotonic() + BOUND_S
    while not pids_in(folder):
        assert driver.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    assert wait_until_gone(folder, ["timeout"]) == {"timeout": False}


FORK = """
import os, subprocess, sys
from pynb_dag_runner.processes import marks
from pynb_dag_runner.processes.process_table import end_marked
marks.set_number(marks.new_member(0))
left = subprocess.Popen(["env", "-i", "sleep", "600"])
fork = os.fork()
if fork == 0:
    end_marked("NOBODY=has", marks.own())
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]), left.wait())
"""


def test_a_fork_does_not_end_what_it_was_forked_from() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 -9\n", "")


CHAIN = """
import fcntl, os, sys, time
give_up = time.monotonic() + 60
fcntl.flock(os.open(sys.argv[1], os.O_WRONLY), fcntl.LOCK_EX)
os.close(1)
while os.fork() == 0 and time.monotonic() < give_up:
    time.sleep(0.001)
os._exit(0)
"""
"""Each process lives for a moment. All of them hold the lock."""
CATCH = """
import fcntl, subprocess, sys
from pynb_dag_runner.processes import marks
from pynb_dag_runner.processes.process_table import end_marked
chain, lock = sys.argv[1:]
number = marks.new_member(0)
with marks.with_number(number):
    subprocess.run(["env", "-i", "setsid", sys.executable, "-c", chain, lock], stdout=subprocess.PIPE, check=True)
end_marked("NOBODY=has", number)
with open(lock) as file:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while one is there
"""


@pytest.mark.parametrize("machine", [[], [sys.executable, odd_machine.__file__]], ids=["reaps", "reaps nobody"])
def test_a_process_that_forks_itself_on_and_on_is_caught(tmp_path: Path, machine: list[str]) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    command = [*machine, sys.executable, "-c", CATCH, CHAIN, str(lock)]
    caught = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert (caught.returncode, caught.stderr) == (0, "")
