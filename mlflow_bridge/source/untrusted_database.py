"""Reading an sqlite file that a stranger may have made, or that a dying process left in the middle of a write.

It is never opened where it lies: a private copy is, with what sqlite needs to undo an unfinished write. Nothing that
the file itself defines is run: only plain tables are read, by their columns' names; the time it may take is bounded.
"""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from mlflow_bridge.errors import UploadError
from mlflow_bridge.source.folder_files import open_inside

MAX_DATABASE_BYTES = 1 << 30
"""Ten million points of metrics take about as much."""
MAX_ROWS = 5_000_000
"""Of one table; a row takes some 500 bytes of memory."""
MAX_TEXT_BYTES = 10_000_000
"""Of one value. MLflow itself keeps at most 8,000 characters of most; a dataset's description may be longer."""
BOUND_S = 120.0
"""For all reading of one file: it may define things that never end."""

_JOURNALS = ("-journal", "-wal")
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""Ends a journal that names another file, which sqlite would read, and delete (sqlite.org/fileformat2.html, 3)."""
_OPCODES_BETWEEN_LOOKS = 100_000


class UntrustedDatabase:
    """An open copy; get one from :func:`open_untrusted`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def rows(self, table: str, columns: Sequence[str], most: int = MAX_ROWS) -> Iterator[tuple[object, ...]]:
        """The rows of a table; none if there is no such table, and None for a column that it does not have.

        Args:
            table: a name, without quotes in it.

        Raises:
            UploadError: the file is damaged, or holds more than ``most`` rows of this.
        """
        with self._translated():
            if not self._is_plain_table(table):
                return
            there = {row[1] for row in self._connection.execute(f'PRAGMA main.table_xinfo("{table}")') if row[6] == 0}
            chosen = ", ".join(f'"{name}"' if name in there else "NULL" for name in columns)
            # Without its indexes: they may be damaged, or say something else.
            query = f'SELECT {chosen} FROM main."{table}" NOT INDEXED LIMIT {most + 1}'  # noqa: S608 - names of ours
            found = self._connection.execute(query)
            for number, row in enumerate(found):
                if number == most:
                    raise UploadError(f"{self._path}: {table} has more than {most:,} rows, which is what is read")
                yield row

    def _is_plain_table(self, name: str) -> bool:
        """Neither a view, which is a program, nor a virtual table, which has no root page."""
        query = "SELECT 1 FROM main.sqlite_master WHERE name = ? AND type = 'table' AND rootpage > 0"
        return self._connection.execute(query, [name]).fetchone() is not None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with _translated(self._path):
            yield


@contextmanager
def open_untrusted(root: Path, relative: Path) -> Iterator[UntrustedDatabase]:
    """A private copy of the sqlite file ``relative`` below ``root``.

    Raises:
        UploadError: it is reached through a link, too large, damaged or no sqlite file.
    """
    with tempfile.TemporaryDirectory(prefix="pynb-dag-runner-") as directory:
        copy = Path(directory, "copy.db")
        _copy(root, relative, copy)
        for suffix in _JOURNALS:
            journal = relative.with_name(relative.name + suffix)
            if os.path.lexists(root / journal):
                _copy_journal(root, journal, copy.with_name(copy.name + suffix))
        with _translated(root / relative), closing(_connected(copy)) as connection:
            yield UntrustedDatabase(connection, root / relative)


def _copy_journal(root: Path, relative: Path, target: Path) -> None:
    _copy(root, relative, target)
    with open(target, "rb") as file:
        file.seek(-min(len(_SUPER_JOURNAL), target.stat().st_size), os.SEEK_END)
        if file.read() == _SUPER_JOURNAL:
            raise UploadError(f"{root / relative}: it belongs to a write to several files, which MLflow does not make")


def _copy(root: Path, relative: Path, target: Path) -> None:
    with open_inside(root, relative) as descriptor, open(descriptor, "rb", closefd=False) as source:
        size = os.fstat(descriptor).st_size
        if size > MAX_DATABASE_BYTES:
            raise UploadError(f"{root / relative}: it has {size:,} bytes; at most {MAX_DATABASE_BYTES:,} are read")
        with open(target, "xb") as file:
            shutil.copyfileobj(source, file)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_TEXT_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        end = time.monotonic() + BOUND_S
        connection.set_progress_handler(lambda: time.monotonic() > end, _OPCODES_BETWEEN_LOOKS)
        # sqlite.org/security.html: what a file's schema calls is not to be trusted, and its cells are checked.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # undoes an unfinished write
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
        raise UploadError(f"{path}: it can't be read as an sqlite file: {error}") from error
