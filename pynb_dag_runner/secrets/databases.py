"""Mask secrets in the sqlite file in which MLflow keeps what a task logged, so that it stays readable.

Stars in the place of bytes would not do: texts of another length damage the file, one that is cut into two pages is not
found, and pages that are no longer used hold what was deleted.
"""

import contextlib
import math
import sqlite3
from contextlib import closing
from pathlib import Path

from pynb_dag_runner.secrets import own_names
from pynb_dag_runner.secrets.masking import MASK, Redactor

_LOCK_BOUND_S = 5.0
"""A kernel that is still there may be writing; it has nothing to do any more."""

_Cell = str | bytes | int | float | None


def sweep_database(path: Path, redactor: Redactor) -> bool:
    """Put stars in the place of secrets in all texts of an sqlite file, and write it anew.

    An unfinished write is undone.

    Returns:
        Whether that was done. A file that can't be read is left as it is.
    """
    with (
        contextlib.suppress(sqlite3.Error),
        closing(sqlite3.connect(path, timeout=_LOCK_BOUND_S, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.create_function("holds_secret", 1, lambda value: _redacted(value, redactor) != value)
        connection.create_function("redacted", 1, lambda value: _redacted(value, redactor))
        connection.execute("BEGIN IMMEDIATE")
        for table in _tables(connection):
            _sweep_table(connection, table)
        connection.execute("COMMIT")
        connection.execute("VACUUM")  # what was changed or deleted before has left its bytes behind
        return True
    return False


def _tables(connection: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite_%'"
    return [name for (name,) in connection.execute(query)]


def _sweep_table(connection: sqlite3.Connection, table: str) -> None:
    name = _quoted(table)
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
    columns = [column for column in columns if column not in own_names.MLFLOW_COLUMNS]
    # A number that is a secret: MLflow has a column for numbers that are none.
    if {"value", "is_nan"} <= set(columns):
        connection.execute(f"UPDATE {name} SET value = 0, is_nan = 1 WHERE holds_secret(value)")  # noqa: S608
    if "metric_value" in columns:
        connection.execute(f"DELETE FROM {name} WHERE holds_secret(metric_value)")  # noqa: S608
    for column in map(_quoted, columns):
        connection.execute(
            f"UPDATE OR REPLACE {name} SET {column} = redacted({column}) "  # noqa: S608 - both are quoted
            f"WHERE typeof({column}) IN ('text', 'blob') AND holds_secret({column})"
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _redacted(value: _Cell, redactor: Redactor) -> _Cell:
    """A value of a cell without secrets."""
    if isinstance(value, bytes):
        return MASK.encode() if redactor.is_in(value) else value
    if isinstance(value, float) and not math.isfinite(value):
        return value
    if isinstance(value, str) and own_names.MLFLOW_KEY.fullmatch(value):
        return value
    clean: _Cell = redactor.value(value)
    return clean
