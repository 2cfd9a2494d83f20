"""Run folders as named on the command line."""

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
        runs = find_runs(folder) if folder.is_dir() else []
        if not runs or runs == [folder]:
            raise
        count = f"{len(runs)} runs" if len(runs) > 1 else "1 run"
        raise RunFolderError(error.file, f"it is no run folder but holds {count}; the newest is {runs[-1]}") from None
