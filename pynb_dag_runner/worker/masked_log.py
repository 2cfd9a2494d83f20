"""Mask secrets in a task's log: its processes write to a pipe, and a process beside them to the file.

``python -m pynb_dag_runner.worker.masked_log LOG CONTROL OWN`` copies standard input to the file LOG without the
secrets. The first line of the input is a JSON list of them; CONTROL is the file descriptor of a socket over which the
worker asks it to catch up, or to end; OWN is that of a second pipe, for what the worker itself writes: that must not
come between two pieces of a secret, since neither would be known for one then. The process also ends when nobody has a
pipe open any more, and so outlives a worker that crashes until its last words are written. Until then it inherits a
lock on LOG.
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

from pynb_dag_runner.processes import locks, marks
from pynb_dag_runner.secrets.masking import Redactor
from pynb_dag_runner.worker.logs import Log

_TASKS = 0
"""Standard input: the pipe that the task's processes write to."""
_READ_BYTES = 1 << 16
_PIPE_BYTES = 1 << 20
"""What the task can write ahead; the system's usual 64 KiB are full in no time."""
_BOUND_S = 10.0
"""What the process gets to catch up."""
_CATCH_UP = b"c"
_END = b"e"
_OWN_VARIABLES = "PYNB_DAG_RUNNER_"
"""Without these variables and a number the process is not ended together with the task or the worker."""


def open_log(path: Path, redactor: Redactor) -> Log:
    """The log at ``path``, without the secrets that ``redactor`` knows. Close it."""
    return RedactedLog(path, redactor) if redactor else Log(path)


class RedactedLog(Log):
    """A log whose text comes to the disk without secrets, whoever writes it."""

    def __init__(self, path: Path, redactor: Redactor) -> None:  # a file of its own is what it must not have
        reading, self._pipe = os.pipe()
        reading_own, self._own = os.pipe()
        # From now on, and not only once the process has started: the driver waits for it after the worker's death.
        lock = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        locks.lock(lock)
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_BOUND_S)
        with contextlib.suppress(OSError):  # a user may have no more than a few of such size
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        with theirs, marks.with_number(0):
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(path), str(theirs.fileno()), str(reading_own)],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), reading_own, lock],
                start_new_session=True,  # Ctrl-C at the terminal is for the driver alone
                env={name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)},
            )
        for descriptor in (reading, reading_own, lock):
            os.close(descriptor)
        _write(self._pipe, json.dumps(redactor.texts).encode() + b"\n")

    def fileno(self) -> int:
        """The pipe's end, for the processes of the task."""
        return self._pipe

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        _write(self._own, data)

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
        os.close(self._own)
        with self._control, contextlib.suppress(OSError):
            self._control.sendall(_END)
        try:
            self._process.wait(_BOUND_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Copy standard input to the log; see the module."""
    path, control, own = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    head = b""
    while b"\n" not in head:
        data = os.read(_TASKS, _READ_BYTES)
        if not data:
            return
        head += data
    secrets, _, rest = head.partition(b"\n")
    redactor = Redactor(json.loads(secrets))
    streams = {_TASKS: redactor.stream(), own: redactor.stream()}
    with contextlib.closing(Log(path)) as log:
        _append(log, streams[_TASKS].feed(rest))
        for pipe, data in _pieces(control, own):
            _append(log, streams[pipe].feed(data))
        for stream in streams.values():
            _append(log, stream.end())


def _append(log: Log, data: bytes) -> None:
    with contextlib.suppress(OSError):  # a full disk must not break the task's pipe
        log.write(data)
        log.look()


def _write(pipe: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(pipe, left) :]


def _pieces(control: int, own: int) -> Iterator[tuple[int, bytes]]:
    """What comes, and from which pipe, until all writers are gone or the worker says that it is over."""
    open_pipes, waiting = {_TASKS, own}, {_TASKS, own, control}
    while open_pipes:
        ready, _, _ = select.select(waiting, [], [])
        if control in ready:
            request = os.read(control, 1)
            yield from _read_available(_TASKS)
            yield from _read_available(own)
            if request == _END:
                return
            if request == _CATCH_UP:
                os.write(control, _CATCH_UP)
            else:  # the worker is gone; what it started may still write
                waiting.discard(control)
            continue
        if own in ready:  # what the task wrote before comes first
            yield from _read_available(_TASKS)
        pipe = own if own in ready else _TASKS
        data = os.read(pipe, _READ_BYTES)
        if data:
            yield pipe, data
        else:
            open_pipes.discard(pipe)
            waiting.discard(pipe)


def _read_available(pipe: int) -> Iterator[tuple[int, bytes]]:
    """What the pipe holds now; a task that writes without end must not keep the worker waiting."""
    held = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, held)
    left = held[0]
    while left > 0:
        data = os.read(pipe, min(left, _READ_BYTES))
        left -= len(data)
        yield pipe, data


if __name__ == "__main__":
    main()
