"""The lock of a run folder: one driver at a time, and the system gives it back."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pynb_dag_runner.errors import RunFolderError, UsageError
from pynb_dag_runner.run_folder.lock import FolderLock

HOLD = """
import sys, time
from pathlib import Path
from pynb_dag_runner.run_folder.lock import FolderLock

with FolderLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(UsageError) as error:
        FolderLock(tmp_path)
    said = f"{tmp_path}: process {os.getpid()} on host {socket.gethostname()!r} works on this run"
    assert str(error.value) == f"{said}; wait for its end, or end it"


def test_it_can_be_had_again_after_its_holder_closed_it(tmp_path: Path) -> None:
    FolderLock(tmp_path).close()
    FolderLock(tmp_path).close()


def test_a_killed_holder_holds_it_no_more(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"process {holder.pid} on host"):
            FolderLock(tmp_path)
        holder.kill()
        holder.wait()
        FolderLock(tmp_path).close()


def test_a_child_that_its_holder_started_does_not_hold_it(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        child = subprocess.Popen(["sleep", "600"], close_fds=False)
    try:
        FolderLock(tmp_path).close()
    finally:
        child.kill()
        child.wait()


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(target)
    with pytest.raises(RunFolderError, match="can't be opened for writing"):
        FolderLock(tmp_path / "run")
    assert target.read_text() == "precious"
