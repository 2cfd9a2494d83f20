"""What there is to be uploaded at a path: a run folder, an archive, or all of both below a directory."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pynb_dag_runner.errors import RunFolderError, UsageError
from pynb_dag_runner.run_folder import paths

ARCHIVES = (".zip", ".tar.gz", ".tgz")
"""Endings of files that are looked into if they lie in a directory; a file that is named itself may have any."""


def find_sources(given: Iterable[Path]) -> list[Path | RunFolderError]:
    """Run folders and archives at and below some paths, in the order of the paths, below each sorted; each once.

    A directory inside a run folder is not looked into: a task may log an artifact ``run.json``. Links that lie in a
    directory are not followed. A directory that can't be read stands as an error in the place of what is in it.

    Raises:
        UsageError: there is nothing at one of the paths.
    """
    found: dict[str, Path | RunFolderError] = {}
    for path in given:
        below = list(_below(path)) if path.is_dir() else [path]
        if not below:
            raise UsageError(
                f"{path}: there is no run folder in it, at any depth (no {paths.RUN}), and no archive of some "
                f"({', '.join(f'*{ending}' for ending in ARCHIVES)})"
            )
        for one in below:
            found.setdefault(os.path.realpath(one.file if isinstance(one, RunFolderError) else one), one)
    return list(found.values())


def _below(top: Path) -> Iterator[Path | RunFolderError]:
    # Not by recursion, nor by Path.walk: a directory may be nested deeper than Python recurses, and one that can't be
    # read has to be said.
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield RunFolderError(directory, f"it can't be looked into: {error.strerror}")
            continue
        if any(entry.name == paths.RUN and not entry.is_dir() for entry in entries):
            yield directory
            continue
        # Files first, then directories: the last one pushed is the next one taken.
        yield from (Path(entry.path) for entry in entries if _is_archive(entry))
        waiting += [Path(entry.path) for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]


def _is_archive(entry: "os.DirEntry[str]") -> bool:
    return entry.name.lower().endswith(ARCHIVES) and entry.is_file(follow_symlinks=False)
