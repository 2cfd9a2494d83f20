"""Locks of files and directories between processes: the system gives a lock up when its last holder dies.

They are ``flock``'s: of an open file, so that threads with descriptors of their own lock each other out, and a
directory can be locked without a file in it. A forked child, and a program that is handed the descriptor, hold the lock
as well.
The package ``filelock`` knows neither locked directories nor shared locks, and makes a file for each lock.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_LOCKS_HERE = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF)
"""What disks without locks say, most of them network disks. EBADF: NFS locks only what is open for writing."""


def lock(descriptor: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file or directory until the descriptor and its copies are closed.

    Args:
        shared: others may hold shared locks at the same time.
        wait: until others give their locks up.

    Returns:
        Whether it is locked; False: the disk has no locks.

    Raises:
        BlockingIOError: another process holds it, and ``wait`` is False.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _NO_LOCKS_HERE:
            return False
        raise
    return True


@contextmanager
def locked_directory(directory: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock on a directory; it may be read-only. A disk without locks is gone on without.

    Args:
        on_wait: called once if another process holds the lock, before waiting for it.

    Raises:
        OSError: the directory can't be opened.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            lock(descriptor, wait=False)
        except BlockingIOError:
            on_wait()
            lock(descriptor)
        yield
    finally:
        os.close(descriptor)
