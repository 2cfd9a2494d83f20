"""The driver is killed at random moments: the folder is readable, nothing finished is lost, nothing lives on."""

import json
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from pynb_dag_runner import RunStatus, find_runs, read_run
from tests.end_to_end.cli_process import PROGRAM, pynb
from tests.end_to_end.resumable import ALL, resume, write_project
from tests.soak import repetitions

SEED = 20261123
KILLS = repetitions(few=6, many=200)
LONGEST_S = 2.5
"""A whole run of this pipeline takes about as long once it has a folder."""
EARLIEST_S = 0.6
"""What comes before the folder takes about as long without Ray."""
GONE_WITHIN_S = 120.0


def moments() -> list[tuple[int, str, bool, float]]:
    """When to kill which run: the same moments each time, spread over the whole of a run.

    Every tenth run uses Ray. Every tenth one is killed in its first moments, the others at some time after their folder
    was made.
    """
    chance = random.Random(SEED)
    found = []
    for number in range(KILLS):
        early = number % 10 == 5
        part = (7 * number + 4) % KILLS  # not in the order of the kinds of runs, so that each kind has all parts
        after_s = (EARLIEST_S if early else LONGEST_S) * (part + chance.random()) / KILLS
        found.append((number, "ray" if number % 10 == 0 else "process", early, after_s))
    return found


def processes_of(project: Path) -> list[str]:
    """What runs in the project or for it."""
    found = []
    for process in psutil.process_iter():
        try:
            name = process.name()
            about = [process.cwd(), *process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue  # it ended meanwhile, or is not ours
        if any(str(project) in text for text in about):
            found.append(f"{process.pid} {name}")
    return found


def lines_of(project: Path) -> Counter[str]:
    path = project / "ran.txt"
    return Counter(path.read_text().split() if path.exists() else [])


@pytest.mark.soak
@pytest.mark.parametrize(("number", "executor", "early", "after_s"), moments())
def test_whenever_the_driver_is_killed(tmp_path: Path, number: int, executor: str, early: bool, after_s: float) -> None:
    project = write_project(tmp_path)
    command = [str(PROGRAM), "run", "pipeline.py", "--executor", executor, "--num-cpus", "2", "--no-progress"]
    driver = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not early and not find_runs(project / "runs"):
        assert driver.poll() is None
        time.sleep(0.01)
    try:
        driver.wait(after_s)
    except subprocess.TimeoutExpired:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    killed = time.monotonic()
    while left := processes_of(project):
        assert time.monotonic() < killed + GONE_WITHIN_S, left
        time.sleep(0.05)

    folders = find_runs(project / "runs")
    if not folders:
        assert early
        return  # it had written nothing yet
    (folder,) = folders
    before = read_run(folder)
    if driver.returncode == 0:
        assert before.status is RunStatus.SUCCEEDED
    else:
        shown = json.loads(pynb("show", folder, "--json", cwd=project).stdout)
        assert shown["status"] in ("INTERRUPTED", "SUCCEEDED")
    finished = {task.name for task in before.tasks if task.status.is_success}
    ran_before = lines_of(project)
    assert finished <= ran_before.keys()
    done = resume(folder)
    assert done.returncode == 0, done.stderr
    after = read_run(folder)
    assert after.status is RunStatus.SUCCEEDED
    assert {task.name for task in after.tasks if task.status.is_success} == ALL.keys()
    ran_again = lines_of(project) - ran_before
    assert not finished & ran_again.keys(), "a finished task ran twice"
    assert all(ran_again[name] == 1 for name in ALL.keys() - finished)
    assert after.by_name["report"].outputs == {"return": 6.0}
