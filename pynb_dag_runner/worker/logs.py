"""Write a task's log: one file that many write to, and that does not grow without bound.

The task's own processes write to it through their file descriptors, so that their last words are in it however they
die. Nobody can hold them back; what looks at the file now and then cuts its middle out.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pynb_dag_runner.model.output_limits import LOG_BYTES, LOG_END_BYTES, LOG_PERIOD_S, MARK
from pynb_dag_runner.model.text import storable

_COLLAPSE_RANGE = 0x08
"""FALLOC_FL_COLLAPSE_RANGE of linux/falloc.h; ext4 and XFS have it."""
_PART_BYTES = 1_000_000


class Log:
    """The log at ``path``, opened for appending. Close it; a log that stayed empty is removed then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by close()
        self._cut_out = 0

    def fileno(self) -> int:
        """The file descriptor, for the processes of the task."""
        return self._file.fileno()

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        self._file.write(data)

    def remark(self, text: str) -> None:
        """Append a line of our own."""
        self.write(f"{MARK} {storable(text)}\n".encode())

    def look(self) -> None:
        """Cut the middle out if the file has become too large."""
        size = os.fstat(self.fileno()).st_size
        if size > LOG_BYTES:
            with contextlib.suppress(OSError):  # a full disk, say: the next look tries again
                self._cut(size)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look regularly, in a thread."""
        _looker.add(self)
        try:
            yield
        finally:
            _looker.remove(self)

    def settle(self) -> None:
        """All that was written until now is in the file, which is within its bounds."""
        self.look()

    def close(self) -> None:
        """Look for the last time and release the file."""
        self.look()
        empty = os.fstat(self.fileno()).st_size == 0
        self._file.close()
        if empty:
            self._path.unlink(missing_ok=True)  # the task may have removed it

    def _cut(self, size: int) -> None:
        block = os.fstatvfs(self.fileno()).f_bsize
        head = LOG_END_BYTES // block * block
        surplus = (size - head - LOG_END_BYTES) // block * block
        if not _collapse(self.fileno(), head, surplus):
            self._cut_and_append(head, surplus)
        self._cut_out += surplus
        mark = b""
        for _ in range(2):  # the mark takes room itself, and says so
            mark = f"\n{MARK} {self._cut_out + len(mark):,} bytes left out here\n".encode()
        # Appending is all that the log's own descriptor can do.
        descriptor = os.open(f"/proc/self/fd/{self.fileno()}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, mark, head - len(mark))
        finally:
            os.close(descriptor)

    def _cut_and_append(self, head: int, surplus: int) -> None:
        """The same where the file system can't: what is written between reading the end and cutting is lost."""
        tail = bytearray()
        while part := os.pread(self.fileno(), _PART_BYTES, head + surplus + len(tail)):
            tail += part
        os.ftruncate(self.fileno(), head)
        self._file.write(tail)


class _Looker:
    """Looks at logs, in one thread for one task after another: a thread of its own is a tenth of a short task's cost.

    The thread ends when it finds nothing to look at.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logs: set[Log] = set()
        self._thread: threading.Thread | None = None

    def add(self, log: Log) -> None:
        """From now on look at ``log``."""
        with self._lock:
            self._logs.add(log)
            # After a fork there is an object of the parent's thread, but no thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, name="log size", daemon=True)
                self._thread.start()

    def remove(self, log: Log) -> None:
        """Do not look at ``log`` any more; nobody does when this returns."""
        with self._lock:
            self._logs.discard(log)

    def _look(self) -> None:
        while True:
            time.sleep(LOG_PERIOD_S)
            with self._lock:
                if not self._logs:
                    self._thread = None
                    return
                for log in self._logs:
                    log.look()


_looker = _Looker()


def _collapse(descriptor: int, start: int, length: int) -> bool:
    """Take a range out of a file, while others append to it; False if its file system can't."""
    import ctypes  # none but a flooded log needs it

    fallocate = getattr(ctypes.CDLL(None), "fallocate", None)
    if fallocate is None:
        return False
    return bool(fallocate(descriptor, _COLLAPSE_RANGE, ctypes.c_int64(start), ctypes.c_int64(length)) == 0)
