"""A project's files as they travel to machines that do not have them.

What travels: every file below the pipeline's directory and beside its notebooks, and the Python files of other entries
of ``sys.path`` that belong to no Python installation. What does not: hidden files, caches, virtual environments, run
folders, links, and files that are too large (those are named, not dropped in silence).
"""

import io
import json
import os
import stat
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pynb_dag_runner.errors import UsageError
from pynb_dag_runner.model.quantities import megabytes

ROOTS_VARIABLE = "PYNB_DAG_RUNNER_ROOTS"
"""Environment variable of tasks on other machines: JSON, from the driver's directories to those that stand for them."""

MAX_FILE_BYTES = 20 * 1024 * 1024
"""A larger file is data, not source; it is left out, and the run says so."""
MAX_TOTAL_BYTES = 200 * 1024 * 1024
"""All files of a project travel to each worker and are kept in memory on the way."""

_LEFT_OUT_NAMES = {"__pycache__", "node_modules", "site-packages"}
_MARKS_OF_OTHER_THINGS = ("pyvenv.cfg", "run.json")
"""A directory that holds one of these is a virtual environment or a run folder."""
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class PackedProject:
    """A project's files in one zip.

    Attributes:
        archive: the zip's content.
        roots: the driver's directories, in the order of their numbers in the archive.
        inode: of the first root, by which a machine that shares the driver's disk recognises it.
        left_out: paths and sizes in bytes of files that were too large.
    """

    archive: bytes
    roots: tuple[Path, ...]
    inode: int
    left_out: tuple[tuple[Path, int], ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each file that was left out."""
        return tuple(
            f"{path} is not sent to the cluster: it has {megabytes(size)}, the limit is {megabytes(MAX_FILE_BYTES)}"
            for path, size in self.left_out
        )


def pack(base_dir: Path, directories: Iterable[Path], search_path: Iterable[str]) -> PackedProject:
    """Pack the files of a project.

    Args:
        base_dir: directory of the pipeline's file, absolute.
        directories: further directories from which all files are taken, absolute.
        search_path: entries of ``sys.path``, from which Python files are taken.

    Raises:
        UsageError: the files are too many; the largest are named.
    """
    whole = _outermost([base_dir, *directories])
    modules = [path for path in _outermost(map(Path, search_path)) if _is_project(path) and not _below(path, whole)]
    roots = (*whole, *modules)
    content = io.BytesIO()
    sizes: dict[Path, int] = {}
    total, left_out = 0, []
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, root in enumerate(roots):
            for path in _files(root, python_only=root in modules):
                size = path.stat().st_size
                if size > MAX_FILE_BYTES:
                    left_out.append((path, size))
                    continue
                sizes[path], total = size, total + size
                if total > MAX_TOTAL_BYTES:
                    raise _too_large(base_dir, sizes)
                archive.writestr(
                    zipfile.ZipInfo(f"{number}/{path.relative_to(root).as_posix()}", _TIME), path.read_bytes()
                )
    return PackedProject(
        archive=content.getvalue(), roots=roots, inode=base_dir.stat().st_ino, left_out=tuple(left_out)
    )


def unpack(archive: bytes, roots: Iterable[Path], target: Path) -> dict[str, str]:
    """Unpack a project.

    Returns:
        For each of the driver's directories the one that stands for it here.
    """
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        packed.extractall(target)  # zipfile keeps to the target whatever the names are; and the driver made it
    places = {str(root): str(target / str(number)) for number, root in enumerate(roots)}
    for place in places.values():
        Path(place).mkdir(exist_ok=True)
    return places


def here(path: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The directory or file of this machine that stands for one of the driver's; the same path if none does."""
    for root, place in json.loads(environment.get(ROOTS_VARIABLE, "{}")).items():
        if path.is_relative_to(root):
            return Path(place, path.relative_to(root))
    return path


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Without those that are below others; in the order given."""
    unique = list(dict.fromkeys(path for path in paths if path.is_dir()))
    return [path for path in unique if not _below(path, [other for other in unique if other != path])]


def _below(path: Path, others: Iterable[Path]) -> bool:
    return any(path.is_relative_to(other) for other in others)


def _is_project(entry: Path) -> bool:
    """Whether an entry of ``sys.path`` is the user's own: of the Python installation every machine has its own."""
    installations = {Path(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    ours = Path(__file__).parents[1]
    return entry.is_absolute() and entry != ours and not _below(entry, installations)


def _files(root: Path, *, python_only: bool) -> Iterator[Path]:
    for directory, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not _left_out(Path(directory, name)))
        for name in sorted(names):
            path = Path(directory, name)
            if name.startswith(".") or (python_only and path.suffix != ".py"):
                continue
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def _left_out(directory: Path) -> bool:
    return (
        directory.name.startswith(".")
        or directory.name in _LEFT_OUT_NAMES
        or any((directory / mark).exists() for mark in _MARKS_OF_OTHER_THINGS)
    )


def _too_large(base_dir: Path, sizes: Mapping[Path, int]) -> UsageError:
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:3]
    named = ", ".join(f"{path} ({megabytes(sizes[path])})" for path in largest)
    return UsageError(
        f"the files of the project in {base_dir} are more than {megabytes(MAX_TOTAL_BYTES)}, too many to send to the "
        f"cluster's nodes; the largest are {named}"
    )
