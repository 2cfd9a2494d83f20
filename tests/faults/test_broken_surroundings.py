"""What is around a run breaks: the disk fills up, its folder can't be written any more, the terminal is closed."""

import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from pynb_dag_runner import RunStatus, find_runs, read_run
from tests.end_to_end.cli_process import PROGRAM, environment, pynb

BOUND_S = 200.0

PIPELINE = """
    import os, time
    from pathlib import Path
    from pynb_dag_runner import Pipeline, pipeline, tracking

    HERE = Path(__file__).parent

    def first():
        with open(HERE / "ran.txt", "a") as file:
            file.write("first\\n")
        return 1

    def fill(one: int):
        print("filling", flush=True)
        if (HERE / "fill").exists():
            tracking.log_text("x" * 50_000_000, "large.txt")
        return one + 1

    def fill_up(one: int):
        if (HERE / "fill").exists():
            with open(HERE / "runs/filler", "wb", buffering=0) as file:
                try:
                    while file.write(b"x" * 512):
                        pass
                except OSError:
                    print("full", flush=True)
        return one + 1

    def wait(one: int):
        print("waiting", flush=True)
        while (HERE / "wait").exists():
            time.sleep(0.05)
        return one + 1

    @pipeline
    def filling(p: Pipeline):
        p.function(fill, parameters={"one": p.function(first).output()})

    @pipeline
    def filling_up(p: Pipeline):
        p.function(fill_up, name="fill", parameters={"one": p.function(first).output()})

    @pipeline
    def waiting(p: Pipeline):
        p.function(wait, parameters={"one": p.function(first).output()})
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(dedent(PIPELINE))
    (tmp_path / "runs").mkdir()
    return tmp_path


def wait_for(condition: Callable[[], object], words: str) -> None:
    give_up = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < give_up, words
        time.sleep(0.05)


def needs_mounts() -> None:
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the system allows no private mounts")


def in_private_mounts(script: str, project: Path) -> "subprocess.CompletedProcess[str]":
    """Run a shell script in the project; what it mounts is its own."""
    return subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script],
        cwd=project,
        env=environment({"RUN": str(PROGRAM)}),
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("filling", "fill FAILED"),  # what a task writes does not fit
        ("filling_up", "the run was stopped, since its folder"),  # not even the driver can write any more
    ],
)
def test_a_full_disk_is_told_in_words_and_the_run_goes_on_when_there_is_room(
    project: Path, pipeline: str, words: str
) -> None:
    needs_mounts()
    (project / "fill").touch()
    done = in_private_mounts(
        f"""
        mount -t tmpfs -o size=400k tmpfs runs
        $RUN run pipeline.py:{pipeline} --executor process 2> full.err; echo $? > full.code
        cp -r runs full
        rm fill
        mount -o remount,size=100m runs
        $RUN resume runs/{pipeline}/* 2> resumed.err; echo $? > resumed.code
        cp -r runs resumed
        """,
        project,
    )
    assert done.returncode == 0, done.stderr
    said = (project / "full.err").read_text()
    assert (project / "full.code").read_text() == "1\n", said
    assert "No space left on device" in said
    assert words in said
    assert "Traceback" not in said
    (full,) = find_runs(project / "full")
    assert read_run(full).by_name["first"].status.is_success
    assert (project / "resumed.code").read_text() == "0\n", (project / "resumed.err").read_text()
    (resumed,) = find_runs(project / "resumed")
    assert read_run(resumed).by_name["fill"].outputs == {"return": 2}
    assert (project / "ran.txt").read_text() == "first\n", "it ran once"


def test_a_folder_that_becomes_read_only_stops_the_run_in_words(project: Path) -> None:
    needs_mounts()
    (project / "wait").touch()
    done = in_private_mounts(
        """
        $RUN run pipeline.py:waiting --executor process 2> said.err & run=$!
        until grep -qs waiting runs/waiting/*/tasks/wait/attempt-1/output.log; do sleep 0.05; done
        mount --bind runs runs
        mount -o remount,bind,ro runs
        rm wait
        wait $run; echo $? > code
        """,
        project,
    )
    assert done.returncode == 0, done.stderr
    said = (project / "said.err").read_text()
    assert (project / "code").read_text() == "1\n", said
    assert "Read-only file system" in said
    assert "Traceback" not in said
    (folder,) = find_runs(project / "runs")
    assert read_run(folder).by_name["first"].status.is_success
    resumed = pynb("resume", folder, cwd=project)
    assert resumed.returncode == 0, resumed.stderr
    assert (project / "ran.txt").read_text() == "first\n", "it ran once"


def test_a_closed_terminal_ends_the_run_in_order(project: Path) -> None:
    (project / "wait").touch()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(project)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run below nohup, which is inherited
        os.execve(PROGRAM, [str(PROGRAM), "run", "pipeline.py:waiting", "--executor", "process"], environment())
    wait_for(lambda: list(project.glob("runs/*/*/tasks/wait/attempt-1/output.log")), "the second task runs")
    os.close(terminal)
    wait_for(lambda: os.waitpid(child, os.WNOHANG)[0] == child, "the run ends")
    (folder,) = find_runs(project / "runs")
    assert read_run(folder).status is RunStatus.CANCELLED
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(project) in " ".join(process.info["cmdline"] or [])
    ]


def test_two_runs_at_once_in_one_output_directory_know_nothing_of_each_other(project: Path) -> None:
    command = [str(PROGRAM), "run", "pipeline.py:filling", "--executor", "process", "--no-progress"]
    runs = [
        subprocess.Popen(command, cwd=project, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    folders = {run.communicate(timeout=BOUND_S)[0].strip() for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0, 0]
    assert folders == {str(folder) for folder in find_runs(project / "runs")}
    assert len(folders) == 4
    assert all(read_run(Path(folder)).by_name["fill"].outputs == {"return": 2} for folder in folders)
    shutil.rmtree(project / "runs")
