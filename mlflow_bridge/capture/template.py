"""A sqlite file with MLflow's tables and nothing in them: making one takes two seconds, a copy of one nothing.

It is made once for each version of MLflow and kept in the user's cache.
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from mlflow_bridge import mlflow_internals

_PAGE_BYTES = 1024
"""Each of MLflow's 70 tables and 100 indexes takes a page at least: a file of 1 MB with sqlite's 4,096 bytes."""
_FORMAT = 1
"""Counts changes of how a template is made."""


def template(version: str) -> Path | None:
    """A template for this version of MLflow; None if there is no directory to keep one in.

    Args:
        version: of MLflow.
    """
    name = f"mlflow-{version}-{_FORMAT}.db"
    for directory in _directories():
        path = directory / name
        if path.is_file():
            return path
        with contextlib.suppress(OSError), _locked(directory):
            if not path.is_file():
                _make(path)
            return path
    return None


def fill(database: Path) -> None:
    """Make MLflow's tables in a new file.

    Raises:
        OSError, sqlite3.Error: it can't be written.
    """
    mlflow_internals.make_tables(database)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("VACUUM")


def _make(path: Path) -> None:
    # A plain path: sqlite URLs of some paths need quoting.
    with tempfile.TemporaryDirectory(prefix="pynb-dag-runner-") as directory:
        made = Path(directory, "mlflow.db")
        fill(made)
        there = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            shutil.copyfile(made, there)
            there.replace(path)
        finally:
            there.unlink(missing_ok=True)


def _directories() -> Iterator[Path]:
    """Where a template may be kept: the user's cache, or a directory of the user's own among the temporary ones."""
    with contextlib.suppress(OSError, RuntimeError):  # no home directory
        wanted = os.environ.get("XDG_CACHE_HOME", "")
        # Relative ones are to be ignored, says the XDG Base Directory Specification.
        cache = Path(wanted) if os.path.isabs(wanted) else Path.home() / ".cache"  # noqa: PTH117 - "" is no path
        own = cache / "pynb-dag-runner"
        own.mkdir(parents=True, exist_ok=True)
        yield own
    with contextlib.suppress(OSError):
        own = Path(tempfile.gettempdir(), f"pynb-dag-runner-cache-{os.getuid()}")
        own.mkdir(mode=0o700, exist_ok=True)
        status = own.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022:
            yield own


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process makes it, the others wait. Where there are no locks, each makes it."""
    with open(directory / ".lock", "ab") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
