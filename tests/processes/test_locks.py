"""Locks between processes: who holds one, who is told, and that the system gives it up for the dead."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pynb_dag_runner.processes.locks import lock, locked_directory

HOLDER = """
import sys
from pathlib import Path
from pynb_dag_runner.processes.locks import locked_directory
with locked_directory(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that holds the lock of ``tmp_path``."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield process
        process.kill()


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path, os.O_RDONLY)
    yield opened
    os.close(opened)


def test_a_lock_that_another_process_holds_is_not_had(holder: "subprocess.Popen[bytes]", descriptor: int) -> None:
    assert holder.poll() is None
    with pytest.raises(BlockingIOError):
        lock(descriptor, wait=False)


def test_the_lock_of_a_killed_process_is_free(holder: "subprocess.Popen[bytes]", descriptor: int) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock(descriptor, wait=False)


def test_who_waits_says_so_once_and_gets_the_lock(holder: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    said = []

    def on_wait() -> None:
        said.append("waiting")
        assert holder.stdin is not None
        holder.stdin.close()

    with locked_directory(tmp_path, on_wait):
        assert said == ["waiting"]


def test_shared_locks_let_each_other_in_and_nobody_else(descriptor: int, tmp_path: Path) -> None:
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        assert lock(descriptor, shared=True)
        assert lock(other, shared=True, wait=False)
        with pytest.raises(BlockingIOError):
            lock(other, wait=False)
    finally:
        os.close(other)


def test_a_read_only_directory_can_be_locked(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with locked_directory(tmp_path):
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("code", "is_told"), [(errno.ENOLCK, True), (errno.EBADF, True), (errno.EIO, False)])
def test_a_disk_without_locks_is_told_from_one_that_fails(
    descriptor: int, monkeypatch: pytest.MonkeyPatch, code: int, is_told: bool
) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    if is_told:
        assert not lock(descriptor)
    else:
        with pytest.raises(OSError, match=os.strerror(code)):
            lock(descriptor)
