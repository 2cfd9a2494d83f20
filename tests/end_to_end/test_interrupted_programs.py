"""Ctrl-C and SIGTERM in Python programs and in Jupyter: the run is ended in order, and then the program knows of it."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from jupyter_client.manager import start_new_kernel

from pynb_dag_runner import RunStatus, find_runs, read_run
from pynb_dag_runner.api.programs import passes_interruptions_on
from pynb_dag_runner.errors import UsageError
from pynb_dag_runner.execute.runner import RunResult
from pynb_dag_runner.execute.signals import Interrupts
from tests.end_to_end.test_interrupts import wait_for

BOUND_S = 200.0
PROGRAM = """
    import pathlib, signal, sys, time
    from pynb_dag_runner import Pipeline

    def sleep_long():
        pathlib.Path("started").touch()
        time.sleep(600)

    def ready():
        return 1

    p = Pipeline("p")
    p.function(ready)
    p.function(sleep_long, after="ready")

    def run():
        return p.run(executor=sys.argv[1], progress=False)
"""
LOOP = """
    for round in range(3):
        print("round", round, flush=True)
        run()
"""
CATCHING = """
    try:
        run()
    except KeyboardInterrupt as interruption:
        print(interruption.result.status, interruption.result.tasks["sleep_long"].status)
"""
HANDLING = """
    signal.signal(signal.SIGTERM, lambda number, frame: print("told", number))
    print(run().status)
"""
RESUMING = """
    from pynb_dag_runner import find_runs
    try:
        run()
    except KeyboardInterrupt as interruption:
        p.resume(interruption.result.folder, executor=sys.argv[1], progress=False)
    print("not reached")
"""


class Program:
    """A Python program under way."""

    def __init__(self, folder: Path, rest: str, executor: str) -> None:
        (folder / "program.py").write_text(dedent(PROGRAM) + dedent(rest))
        command = [sys.executable, "program.py", executor]
        self.folder = folder
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def interrupt(self, number: signal.Signals) -> None:
        """Send a signal as soon as the task that never ends runs."""
        started = self.folder / "started"
        wait_for(lambda: started.exists() or self.process.poll() is not None)
        started.unlink(missing_ok=True)
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Its exit code and what it printed."""
        try:
            printed, said = self.process.communicate(timeout=BOUND_S)
        finally:
            self.process.kill()
        assert "not reached" not in printed, said
        return self.process.returncode, printed


@pytest.mark.parametrize(
    ("executor", "number"),
    [("process", signal.SIGINT), ("process", signal.SIGTERM), ("inline", signal.SIGINT)],
)
def test_a_loop_over_runs_stops(tmp_path: Path, executor: str, number: signal.Signals) -> None:
    program = Program(tmp_path, LOOP, executor)
    program.interrupt(number)
    assert program.end() == (-number, "round 0\n")  # as any program that such a signal ended
    (folder,) = find_runs(tmp_path / "runs")
    run = read_run(folder)
    assert run.status is RunStatus.CANCELLED
    assert run.report is not None


@pytest.mark.parametrize(
    ("rest", "number", "printed"),
    [
        (CATCHING, signal.SIGINT, "CANCELLED CANCELLED\n"),
        (HANDLING, signal.SIGTERM, f"told {int(signal.SIGTERM)}\nCANCELLED\n"),
    ],
)
def test_a_program_that_expects_it_goes_on(tmp_path: Path, rest: str, number: signal.Signals, printed: str) -> None:
    program = Program(tmp_path, rest, "process")
    program.interrupt(number)
    assert program.end() == (0, printed)


def test_a_resumed_run_is_interrupted_in_the_same_way(tmp_path: Path) -> None:
    program = Program(tmp_path, RESUMING, "process")
    program.interrupt(signal.SIGINT)
    program.interrupt(signal.SIGINT)
    assert program.end() == (-signal.SIGINT, "")


def test_an_interrupted_cell_stops_the_cells_after_it(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(dedent(PROGRAM))
    manager, client = start_new_kernel(cwd=str(tmp_path))
    try:
        client.execute("import sys; sys.argv = ['', 'process']; import tasks")
        cells = [client.execute("tasks.run()"), client.execute("open('reached', 'w')")]
        wait_for((tmp_path / "started").exists)
        manager.interrupt_kernel()
        replies = {}
        while cells[1] not in replies:
            reply = client.get_shell_msg(timeout=BOUND_S)
            replies[reply["parent_header"]["msg_id"]] = reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert (replies[cells[0]]["status"], replies[cells[0]]["ename"]) == ("error", "KeyboardInterrupt")
    assert replies[cells[1]]["status"] == "aborted"
    assert not (tmp_path / "reached").exists()
    (folder,) = find_runs(tmp_path / "runs")
    assert read_run(folder).status is RunStatus.CANCELLED


@pytest.fixture
def told() -> "list[int]":
    return []


def interrupted_start(number: signal.Signals) -> Callable[[], RunResult]:
    @passes_interruptions_on
    def run() -> RunResult:
        with Interrupts():
            signal.raise_signal(number)
        raise UsageError

    return run


def test_sigterm_before_there_is_a_run_goes_to_whom_it_was_for(
    told: list[int],
) -> None:
    before = signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted_start(signal.SIGTERM)()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM]


def test_ctrl_c_before_there_is_a_run_is_told_once() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted_start(signal.SIGINT)()
    assert caught.value.args == ()
