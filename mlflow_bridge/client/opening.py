"""Stores are opened, and made where that is wanted; MLflow is imported only then."""

import importlib.util
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from mlflow_bridge.client.errors import translated
from mlflow_bridge.client.store import MlflowStore
from mlflow_bridge.errors import StoreError, TargetError
from mlflow_bridge.locks import directory_lock
from mlflow_bridge.target import Target

_FIRST_CONTACT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""MLflow's own 7 retries of 120 s each would keep a user with a mistyped address waiting for minutes."""
_PATIENCE = {
    # Tries again after 0, 4, 8 and 16 s and up to 3 s of chance: a server that is started again needs 5 to 20 s.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "2",
    # Seconds, of one try. A server that passes a large file on to other storage answers when that is done.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    # An hour, if it says so: longer than anyone waits. The next upload goes on where this one stops.
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
"""How long an upload waits for a server that it has reached: half a minute if it refuses, 5.5 if it hangs."""


def open_store(target: Target) -> MlflowStore:
    """Open a store, and make sure that it answers.

    Raises:
        TargetError: MLflow or what it needs for this kind of store is not installed.
        StoreError: the store does not answer, or is of another version of MLflow.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise TargetError("MLflow is not installed; install it with: pip install 'pynb-dag-runner[upload]'")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Without this, MLflow prints two lines on stdout and asks the server once more, for each run.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    if target.database is None:
        store = MlflowStore(target)
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        with _environment(_FIRST_CONTACT):
            store.experiment("Default")
        return store
    if importlib.util.find_spec("sqlalchemy") is None or importlib.util.find_spec("alembic") is None:
        raise TargetError(
            "MLflow opens sqlite files with sqlalchemy and alembic, which are not installed; "
            "install them with: pip install 'pynb-dag-runner[upload]'"
        )
    return _open_sqlite(target, target.database)


def _open_sqlite(target: Target, database: Path) -> MlflowStore:
    """MLflow makes a new file's tables on first opening; two processes that do so at once leave it damaged."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        # MLflow would try a file that can't be opened again and again, for almost two minutes.
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))
    except OSError as error:
        raise StoreError(f"can't write {database}: {error.strerror}") from error
    with directory_lock(database.parent), _quiet(), translated(target):
        check_schema(database)
        return MlflowStore(target)


def check_schema(database: Path) -> None:
    """Refuse a sqlite file that MLflow would migrate: older versions of MLflow could not open it any more.

    Raises:
        StoreError: it has another schema, or is no MLflow store.
    """
    found = _schema_of(database)
    if found is None:
        return
    import mlflow
    from alembic.script import ScriptDirectory

    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations"
    expected = ScriptDirectory(str(migrations)).get_current_head()
    if found != expected:
        raise StoreError(
            f"{database} was made by another version of MLflow (schema {found}; MLflow {mlflow.__version__}, which is "
            f"installed, has {expected}); use that version, or make a copy of the file and run: "
            f"mlflow db upgrade sqlite:///{database}"
        )


def _schema_of(database: Path) -> str | None:
    """The schema revision that a sqlite file holds; None if it holds nothing yet."""
    try:
        # Not read-only: what an upload that was killed had begun is rolled back by whoever opens the file next.
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return None
            if {"alembic_version", "experiments"} <= tables:
                return ", ".join(row[0] for row in connection.execute("SELECT version_num FROM alembic_version"))
    except sqlite3.Error as error:
        raise StoreError(f"{database} can't be read as an sqlite file: {error}") from error
    raise StoreError(f"{database} is an sqlite file, but no MLflow store")


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a moment; those that the user has set to other values than ours stay."""
    ours = {name: value for name, value in values.items() if os.environ.get(name) == _PATIENCE[name]}
    os.environ.update(ours)
    try:
        yield
    finally:
        os.environ.update({name: _PATIENCE[name] for name in ours})


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow and alembic from logging each migration of a new store."""
    loggers = [logging.getLogger(name) for name in ("mlflow.store.db.utils", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
