"""Logs of tasks that were given secrets: their processes write to a pipe, and a process beside them to the file.

``python -m pynb_dag_runner.work.redacting LOG CONTROL`` copies standard input to the file LOG without the secrets. The
first line of the input is a JSON list of them; CONTROL is the file descriptor of a socket over which the worker asks
it to catch up, or to end. It also ends when nobody has the pipe open any more, and so outlives a worker that crashes
until its last words are written. Until then it inherits a lock on LOG.
"""

import array
import contextlib
import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

from pynb_dag_runner.redaction import Redactor
from pynb_dag_runner.work.logs import Log

_READ_BYTES = 1 << 16
_PIPE_BYTES = 1 << 20
"""What the task can write ahead; the system's usual 64 KiB are full in no time."""
_BOUND_S = 10.0
"""What the process gets to catch up."""
_CATCH_UP = b"c"
_END = b"e"
_OWN_VARIABLES = "PYNB_DAG_RUNNER_"
"""Without these variables the process is not ended together with the task or the worker."""


def open_log(path: Path, redactor: Redactor) -> Log:
    """The log at ``path``, without the secrets that ``redactor`` knows. Close it."""
    return RedactedLog(path, redactor) if redactor else Log(path)


class RedactedLog(Log):
    """A log whose text comes to the disk without secrets, whoever writes it."""

    def __init__(self, path: Path, redactor: Redactor) -> None:  # a file of its own is what it must not have
        reading, self._pipe = os.pipe()
        # From now on, and not only once the process has started: the driver waits for it after the worker's death.
        lock = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        with contextlib.suppress(OSError):  # some disks have no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_BOUND_S)
        with contextlib.suppress(OSError):  # a user may have no more than a few of such size
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(path), str(theirs.fileno())],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), lock],
                start_new_session=True,  # Ctrl-C at the terminal is for the driver alone
                env={name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)},
            )
        os.close(reading)
        os.close(lock)
        self.write(json.dumps(redactor.texts).encode() + b"\n")

    def fileno(self) -> int:
        """The pipe's end, for the processes of the task."""
        return self._pipe

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        left = memoryview(data)
        while left:
            left = left[os.write(self._pipe, left) :]

    def look(self) -> None:
        """The process does."""

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """The process does."""
        yield

    def settle(self) -> None:
        """All that was written until now is in the file, but for an end that may be the beginning of a secret."""
        with contextlib.suppress(OSError):  # it is gone, or far behind; what it wrote is all there is
            self._control.sendall(_CATCH_UP)
            self._control.recv(1)

    def close(self) -> None:
        """Wait until the file is whole. What still has the pipe open can't write to it any more."""
        os.close(self._pipe)
        with self._control, contextlib.suppress(OSError):
            self._control.sendall(_END)
        try:
            self._process.wait(_BOUND_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Copy standard input to the log; see the module."""
    path, control = Path(sys.argv[1]), int(sys.argv[2])
    head = b""
    while b"\n" not in head:
        data = os.read(0, _READ_BYTES)
        if not data:
            return
        head += data
    secrets, _, rest = head.partition(b"\n")
    stream = Redactor(json.loads(secrets)).stream()
    with contextlib.closing(Log(path)) as log:
        _append(log, stream.feed(rest))
        for data in _pieces(control):
            _append(log, stream.feed(data))
        _append(log, stream.end())


def _append(log: Log, data: bytes) -> None:
    with contextlib.suppress(OSError):  # a full disk must not break the task's pipe
        log.write(data)
        log.look()


def _pieces(control: int) -> Iterator[bytes]:
    """What comes, until all writers are gone or the worker says that it is over."""
    waiting = [0, control]
    while True:
        ready, _, _ = select.select(waiting, [], [])
        if control not in ready:
            data = os.read(0, _READ_BYTES)
            if not data:
                return
            yield data
            continue
        request = os.read(control, 1)
        yield from _all_there_is()
        if request == _END:
            return
        if request == _CATCH_UP:
            os.write(control, _CATCH_UP)
        else:  # the worker is gone; what it started may still write
            waiting = [0]


def _all_there_is() -> Iterator[bytes]:
    """What the pipe holds now; a task that writes without end must not keep the worker waiting."""
    held = array.array("i", [0])
    fcntl.ioctl(0, termios.FIONREAD, held)
    left = held[0]
    while left > 0:
        data = os.read(0, min(left, _READ_BYTES))
        left -= len(data)
        yield data


if __name__ == "__main__":
    main()
