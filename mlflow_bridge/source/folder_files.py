"""Opening files of a run folder that may come from a stranger: nothing outside the folder is ever opened."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mlflow_bridge.errors import UploadError
from pynb_dag_runner.run_folder.archives import FREE_BYTES, MAX_RATIO

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a named pipe would wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_BLOCK_BYTES = 512  # of st_blocks, whatever the file system's own are


@contextmanager
def open_inside(folder: Path, relative: Path) -> Iterator[int]:
    """A descriptor of a regular file below ``folder``.

    Each part of the path is opened below the one before and may not be a link, so that no exchange of a folder for a
    link, before or in between, leads outside.

    Raises:
        UploadError: it is not there, is no regular file, or is reached through a link.
    """
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise UploadError(f"{relative} is no file below {folder}")
    with ExitStack() as opened:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, descriptor)
            for part in relative.parts[:-1]:
                descriptor = os.open(part, _DIRECTORY, dir_fd=descriptor)
                opened.callback(os.close, descriptor)
            descriptor = os.open(relative.parts[-1], _FILE, dir_fd=descriptor)
            opened.callback(os.close, descriptor)
        except OSError as error:
            raise UploadError(f"{folder / relative} can't be read: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UploadError(f"{folder / relative} can't be read: it is no regular file")
        yield descriptor


def holes_in(descriptor: int) -> str | None:
    """What to say of a file that claims far more than there is of it on the disk; None if it is no such file.

    A copy of it would be as large as it claims. The bound is that of archives, which come from as far away.
    """
    status = os.fstat(descriptor)
    there = status.st_blocks * _BLOCK_BYTES
    if status.st_size <= FREE_BYTES or status.st_size <= MAX_RATIO * there:
        return None
    return f"it claims {status.st_size:,} bytes, of which {there:,} are on the disk"


@contextmanager
def named(descriptor: int, directory: Path, name: str) -> Iterator[Path]:
    """A path that ends with ``name`` and opens what ``descriptor`` has open.

    MLflow takes paths and names an artifact after the last part; a link to the descriptor renames without a copy.

    Args:
        directory: a private, empty directory, where the link is made.
    """
    path = directory / name
    path.symlink_to(f"/dev/fd/{descriptor}")
    try:
        yield path
    finally:
        path.unlink()
