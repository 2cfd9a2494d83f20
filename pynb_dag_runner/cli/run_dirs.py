"""Open the run folders that are named on the command line, also those in archives."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pynb_dag_runner.errors import RunFolderError
from pynb_dag_runner.run_folder import Run, find_runs, read_run


def read_run_dir(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        RunFolderError: it can't be read; for a directory of runs, with the newest of them.
    """
    try:
        return read_run(folder)
    except RunFolderError as error:
        runs = find_runs(folder)
        if not runs or runs == [folder]:
            raise
        count = f"{len(runs)} runs" if len(runs) > 1 else "1 run"
        raise RunFolderError(error.file, f"it is no run folder but holds {count}; the newest is {runs[-1]}") from None


def read_run_dir_or_archive(path: Path) -> Run:
    """Read a run folder, or the only one in a zip or tar; of that, ``folder`` is its place in the archive.

    Raises:
        RunFolderError: as for :func:`read_run_dir`, and if the archive can't be read or holds several runs.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where a directory above is closed to us
        return read_run_dir(path)
    with archived_runs(path) as folders:
        if len(folders) > 1:
            raise RunFolderError(path, f"it holds {len(folders)} runs, expected one; `pynb-dag-runner list` shows them")
        ((folder, shown),) = folders
        return replace(read_run(folder), folder=shown)


@contextmanager
def archived_runs(path: Path) -> Iterator[tuple[tuple[Path, Path], ...]]:
    """Run folders of an archive: where each can be read now, and its place in the archive for people."""
    from pynb_dag_runner.run_folder.archives import opened

    with opened(Path(path).absolute()) as found:
        yield tuple((run.folder, run.shown) for run in found)
