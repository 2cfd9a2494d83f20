"""Open files inside a run folder and nothing else: no link is followed, nothing blocks, sizes are bounded.

A run folder may come from a stranger. What is refused here is refused with the name of the file.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pynb_dag_runner.errors import RunFolderError

MAX_FILE_BYTES = 1 << 30
"""A larger JSON file is refused rather than read into memory."""

_SHORT_BYTES = 16_384

MAX_VALUES = 5_000_000
"""Values of a JSON file, or of a line of a JSONL file: in memory one takes up to 500 bytes, where it takes two in the
file."""

MAX_LINES = 5_000_000
"""Lines of a JSONL file; one takes up to 700 bytes in memory."""

MAX_FOLDERS_DEEP = 100
"""Folders inside folders among artifacts; a path of Linux has room for 2,000, which nobody means."""

_IS_LINK = "it is a link; a run folder holds none of its own"


def read_inside(root: Path, relative: Path | str) -> bytes | None:
    """Content of a regular file below ``root``; None if there is none. No link on the way is followed.

    Raises:
        RunFolderError: something else than a file or folder stands where one belongs, or the file can't be read.
    """
    path = f"{root}/{relative}"
    try:
        for folder in _folders(root, relative):
            if stat.S_ISLNK(os.lstat(folder).st_mode):
                raise RunFolderError(Path(folder), _IS_LINK)
        # Looked at before it is opened: opening a device can do things.
        _check(path, os.lstat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        problem = _IS_LINK if error.errno == errno.ELOOP else f"it can't be read: {error.strerror}"
        raise RunFolderError(Path(path), problem) from None
    try:
        _check(path, status := os.fstat(descriptor))  # by now it may be another file
        if status.st_size < _SHORT_BYTES:
            return _read_short(descriptor, status.st_size)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)  # of one that grows meanwhile, no more
    except OSError as error:
        raise RunFolderError(Path(path), f"it can't be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _read_short(descriptor: int, size: int) -> bytes:
    """All of a file, without the file object that takes longer to make than such a file to read."""
    data = b""
    while part := os.read(descriptor, _SHORT_BYTES):
        data += part
        if len(data) >= size:  # it may grow meanwhile; and this spares the look that finds nothing more
            break
    return data


def _check(path: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise RunFolderError(Path(path), _IS_LINK)
    if not stat.S_ISREG(status.st_mode):
        raise RunFolderError(Path(path), "it is no regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise RunFolderError(Path(path), f"it has {status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")


def lines_inside(root: Path, relative: Path | str) -> Iterator[tuple[str, bytes]]:
    """The whole lines of a file, each with its place in words. A last line without an end was cut off and is left out.

    Raises:
        RunFolderError: as :func:`read_inside`; there are more than :data:`MAX_LINES`.
    """
    data = read_inside(root, relative) or b""
    if (count := data.count(b"\n")) > MAX_LINES:
        raise RunFolderError(root / relative, f"it has {count:,} lines; at most {MAX_LINES:,} are read")
    *lines, _ = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        where = f"line {number}"
        if len(line) > MAX_VALUES:
            check_values(root / relative, line, where)
        yield where, line


def check_values(path: Path, data: bytes, where: str = "") -> None:
    """Refuse JSON whose values would fill the memory, before it is parsed.

    Raises:
        RunFolderError: ``data`` may hold more than :data:`MAX_VALUES` values.
    """
    # Each value but the first has one of these before it; text may hold some, too. Most files are shorter than that.
    if len(data) > MAX_VALUES and sum(data.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise RunFolderError(path, f"it holds more than {MAX_VALUES:,} values, which is what is read at most", where)


def existing(root: Path, relative: Path) -> Path | None:
    """``relative`` if it is a regular file that is reached through no link, else None."""
    try:
        for folder in _folders(root, relative):
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                return None
        return relative if stat.S_ISREG(os.lstat(root / relative).st_mode) else None
    except OSError:
        return None


def names_inside(root: Path, relative: Path | str) -> frozenset[str]:
    """Names of the regular files in a folder that is reached through no link; none if there is no such folder.

    One look instead of one for each file.
    """
    try:
        for folder in (*_folders(root, relative), f"{root}/{relative}"):
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                return frozenset()
        with os.scandir(f"{root}/{relative}") as entries:
            return frozenset(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    except OSError:
        return frozenset()


def _folders(root: Path, relative: Path | str) -> Iterator[str]:
    """The folders between ``root`` and what is ``relative`` to it, from above. As text: paths cost more than looks."""
    folder = os.fspath(root)
    for part in os.fspath(relative).split("/")[:-1]:
        folder = f"{folder}/{part}"
        yield folder


def regular_files(root: Path, relative: Path) -> Iterator[Path]:
    """Regular files below a folder, relative to it; links are left out and never followed.

    Raises:
        RunFolderError: one of the folders can't be read, or they are nested too deep.
    """
    top = root / relative
    left = [Path()]
    while left:
        folder = left.pop()
        try:
            if not stat.S_ISDIR(os.lstat(top / folder).st_mode):
                continue
            with os.scandir(top / folder) as found:
                entries = list(found)
        except FileNotFoundError:  # a task that still runs may have removed it
            continue
        except OSError as error:
            raise RunFolderError(top / folder, f"it can't be read: {error.strerror}") from None
        if len(folder.parts) > MAX_FOLDERS_DEEP:
            raise RunFolderError(top / folder.parts[0], f"folders in it are nested more than {MAX_FOLDERS_DEEP} deep")
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                left.append(folder / entry.name)
            elif entry.is_file(follow_symlinks=False):
                yield folder / entry.name
