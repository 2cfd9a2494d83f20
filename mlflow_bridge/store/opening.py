"""Stores are opened, and made where that is wanted; MLflow is imported only then."""

import importlib.util
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from mlflow_bridge import mlflow_internals
from mlflow_bridge.errors import StoreError, TargetError
from mlflow_bridge.store.errors import translated
from mlflow_bridge.store.mlflow_store import MlflowStore
from mlflow_bridge.store.settings import first_contact, upload_settings
from mlflow_bridge.store.target import Target
from pynb_dag_runner.run_folder.lock import locked_directory


def open_store(target: Target) -> MlflowStore:
    """Open a store, and make sure that it answers. What is done with it belongs into :func:`upload_settings`.

    Raises:
        TargetError: MLflow or what it needs for this kind of store is not installed.
        StoreError: the store does not answer, or is of another version of MLflow.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise TargetError("MLflow is not installed; install it with: pip install 'pynb-dag-runner[upload]'")
    with upload_settings():
        return _open(target)


def _open(target: Target) -> MlflowStore:
    if target.database is None:
        store = MlflowStore(target)
        with first_contact():
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
    with locked_directory(database.parent), mlflow_internals.without_migrations_in_log(), translated(target):
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
    expected = mlflow_internals.schema()
    if found != expected:
        raise StoreError(
            f"{database} was made by another version of MLflow (schema {found}; MLflow {mlflow_internals.version()}, "
            f"which is installed, has {expected}); use that version, or make a copy of the file and run: "
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
