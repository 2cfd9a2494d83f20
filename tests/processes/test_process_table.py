"""Zombies have ended: nobody counts them as running, waits for them, or takes what they were for what is."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from pynb_dag_runner.processes import marks
from pynb_dag_runner.processes.process_table import end_marked, has_ended, is_running, with_mark


@pytest.fixture
def number() -> Iterator[int]:
    """A run's; what is started meanwhile has it."""
    number = marks.new_member(0)
    with marks.with_number(number):
        yield number


@pytest.fixture
def zombie(number: int) -> Iterator[int]:
    """Has the number."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.wait()


def test_a_zombie_has_ended(zombie: int) -> None:
    created_s = psutil.Process(zombie).create_time()
    assert has_ended(zombie)
    assert not is_running(zombie, created_s)
    assert is_running(os.getpid(), psutil.Process().create_time())


def test_a_zombie_is_none_of_those_with_a_mark(zombie: int, number: int) -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        assert [found.pid for found in with_mark("NOBODY=has", number)] == [process.pid]
        end_marked("NOBODY=has", number)
    assert with_mark("NOBODY=has", number) == []
    assert has_ended(zombie)


LEAVES_TWO = """
import subprocess, sys
from pynb_dag_runner.processes import marks
stranger = subprocess.Popen(["sleep", "600"])
marks.set_number(int(sys.argv[1]))
print(stranger.pid, subprocess.Popen(["sleep", "600"]).pid)
"""


def test_a_stranger_in_a_group_without_a_leader_lives_on() -> None:
    number = marks.new_member(0)
    command = ["setsid", sys.executable, "-c", LEAVES_TWO, str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        stranger, member = map(int, leader.stdout.readline().split())
    end_marked("NOBODY=has", number)
    assert has_ended(member)
    assert not has_ended(stranger)
    os.kill(stranger, signal.SIGKILL)
