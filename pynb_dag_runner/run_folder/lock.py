"""Lock a run folder for one driver at a time; the system releases the lock when its holder dies.

It is a file of its own, since ``run.json`` is replaced while it would be locked. On a disk without locks (some network
disks) nothing is locked, and what ``run.json`` says of its driver must do.
"""

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from pynb_dag_runner.errors import RunFolderError, UsageError
from pynb_dag_runner.processes.locks import lock
from pynb_dag_runner.processes.locks import locked_directory as locked_directory  # for who uploads a run
from pynb_dag_runner.run_folder import paths

_HOLDER_BOUND_S = 1.0
"""How long the holder may take from getting the lock to writing its name."""


class FolderLock:
    """Held from its making until :meth:`close`; a context manager.

    Args:
        folder: an existing run folder.

    Raises:
        UsageError: another process holds it; the message names it.
        RunFolderError: the lock's file can't be opened or written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / paths.LOCK
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RunFolderError(path, f"it can't be opened for writing: {error.strerror}") from None
        try:
            self._acquire(folder)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps({"host": os.uname().nodename, "pid": os.getpid()}).encode(), 0)
        except OSError as error:
            self.close()
            raise RunFolderError(path, f"it can't be written: {error.strerror}") from None
        except BaseException:
            self.close()
            raise

    def _acquire(self, folder: Path) -> None:
        try:
            lock(self._descriptor, wait=False)
        except BlockingIOError:
            raise UsageError(in_use(folder, *self._holder())) from None

    def _holder(self) -> tuple[int | None, str | None]:
        """Process id and host of who holds the lock, as it wrote them."""
        give_up = time.monotonic() + _HOLDER_BOUND_S
        while time.monotonic() < give_up:
            try:
                content = json.loads(os.pread(self._descriptor, 1000, 0))
                return int(content["pid"]), str(content["host"])
            except (ValueError, KeyError, TypeError):
                time.sleep(0.01)  # it has the lock and is about to write
        return None, None

    def close(self) -> None:
        """Give the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def in_use(folder: Path, pid: int | None, host: str | None) -> str:
    """A sentence for a run folder in which another driver works."""
    who = f"process {pid} on host {host!r}" if pid is not None else "another process"
    return f"{folder}: {who} works on this run; wait for its end, or end it"
