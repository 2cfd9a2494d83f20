"""Locks between uploads on one host. Other hosts are dealt with by :mod:`mlflow_bridge.uploads.deduplicate`."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def directory_lock(directory: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock on a directory; no file is made for it, so that it may be read-only.

    A file system without such locks (some network ones) is gone on without: the lock saves work, it does not have to
    keep the data right.

    Args:
        on_wait: called once if another process holds the lock, before waiting for it.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, on_wait)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, on_wait: Callable[[], None]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        on_wait()
    except OSError:
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
