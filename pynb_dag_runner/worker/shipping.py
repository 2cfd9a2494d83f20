"""Write an attempt's files into the run folder, or send them in parts to a driver whose disk no worker sees."""

import os
import shutil
import stat
from collections.abc import Generator, Iterator
from pathlib import Path, PurePosixPath

from pynb_dag_runner.executors.base import LimitsOver
from pynb_dag_runner.processes.private_directory import SCRATCH_VARIABLE
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.writer import AttemptWriter
from pynb_dag_runner.secrets.files import sweep_after_death
from pynb_dag_runner.worker.messages import AttemptSpec, FilePart

PART_BYTES = 90_000
"""Size of a part: what is larger than 100 KiB goes through Ray's object store. That frees what was received a second
later at the earliest, so on a fast network a store's worth of parts piled up on the driver's machine."""

_RUN_FOLDER_ABOVE = 2
"""``tasks``, the task's folder and the attempt's folder are below the run folder."""


class Destination:
    """The folder that an attempt writes to. Use it as a context.

    Attributes:
        folder: the attempt's folder in the run folder, or a private one that stands for it and is removed in the end.
        writer: writes the attempt's files there; from entering on.
        end_told: the driver has been told that the attempt ended.
    """

    def __init__(self, spec: AttemptSpec) -> None:
        self._scratch = None if _sees_run_folder(spec) else _scratch_of(spec)
        self.folder = spec.folder if self._scratch is None else _folder_in(self._scratch, spec)
        self.end_told = False

    def __enter__(self) -> "Destination":
        if self._scratch is not None:
            self._scratch.mkdir(mode=0o700)
        self.writer = AttemptWriter(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def parts(self) -> Iterator[FilePart | LimitsOver]:
        """All files in parts, if the driver does not see them. No task's time limit is meant for their way."""
        if self._scratch is not None:
            yield LimitsOver()
            yield from _parts_of_all(self.folder)


def rescue(spec: AttemptSpec) -> Generator[object]:
    """A job's call: send what an attempt whose process died left on this machine, and remove it."""
    scratch = _scratch_of(spec)
    if scratch.is_dir():
        sweep_after_death(_folder_in(scratch, spec), spec.redactor)
        yield from _parts_of_all(_folder_in(scratch, spec))
        shutil.rmtree(scratch, ignore_errors=True)


def _sees_run_folder(spec: AttemptSpec) -> bool:
    """Whether the run folder's path leads to the run folder: another machine may have the same path for another one."""
    try:
        return spec.folder.parents[_RUN_FOLDER_ABOVE].stat().st_ino == spec.run_folder_inode
    except OSError:
        return False


def _scratch_of(spec: AttemptSpec) -> Path:
    return Path(os.environ[SCRATCH_VARIABLE], spec.scratch)


def _folder_in(scratch: Path, spec: AttemptSpec) -> Path:
    """With the names of task and attempt, for people who meet the path in a traceback."""
    return scratch.joinpath(*spec.folder.parts[-2:])


def _parts_of_all(folder: Path) -> Iterator[FilePart]:
    """Every file in parts; ``attempt.json``, which says how it ended, comes last."""
    for path in sorted(_files(folder), key=lambda path: path == Path(paths.ATTEMPT)):
        yield from _parts_of(folder, path)


def _files(top: Path) -> Iterator[Path]:
    """Regular files; no links, which point to something on this machine, nothing half-written, no empty log."""
    for directory, _, names in os.walk(top):
        for name in names:
            path = Path(directory, name)
            status = path.lstat()
            unfinished = path.parent == top and name.startswith(".")
            empty_log = name == paths.LOG and path.parent == top and status.st_size == 0
            if stat.S_ISREG(status.st_mode) and not unfinished and not empty_log:
                yield path.relative_to(top)


def _parts_of(top: Path, path: Path) -> Iterator[FilePart]:
    name = PurePosixPath(path)
    with open(top / path, "rb") as file:
        data = file.read(PART_BYTES)
        while True:
            following = file.read(PART_BYTES)
            yield FilePart(path=name, data=data, last=not following)
            if not following:
                return
            data = following
