"""Receive files of attempts in parts, from workers that do not see the run folder; show them once they are whole."""

import contextlib
import os
import secrets
from pathlib import Path, PurePosixPath
from typing import BinaryIO


class Arrivals:
    """Puts parts together. Close it: what is not whole by then is dropped."""

    def __init__(self) -> None:
        self._open: dict[Path, tuple[PurePosixPath, Path, BinaryIO]] = {}

    def take(self, folder: Path, path: PurePosixPath, data: bytes, *, last: bool) -> None:
        """Write a part of the file ``path`` below ``folder``. The parts of a file come in order, then the next file's.

        Raises:
            ValueError: the path leads out of the folder.
            OSError: as the system says.
        """
        if folder not in self._open or self._open[folder][0] != path:
            self.drop(folder)
            self._begin(folder, path)
        _, temporary, file = self._open[folder]
        file.write(data)
        if last:
            file.close()
            os.replace(temporary, folder / path)
            del self._open[folder]

    def _begin(self, folder: Path, path: PurePosixPath) -> None:
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise ValueError(f"got the file name {str(path)!r}, expected one inside the attempt's folder")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{secrets.token_hex(8)}.part"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        self._open[folder] = (path, temporary, open(descriptor, "wb", buffering=0))  # noqa: SIM115 - closed when whole

    def drop(self, folder: Path) -> None:
        """Forget the file that is not whole yet, if there is one: its sender died."""
        if folder in self._open:
            _, temporary, file = self._open.pop(folder)
            file.close()
            with contextlib.suppress(OSError):
                temporary.unlink()

    def close(self) -> None:
        """Drop all that is not whole."""
        for folder in list(self._open):
            self.drop(folder)
