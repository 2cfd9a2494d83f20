"""MLflow's own stores, on a sqlite file in an attempt's folder that is made when it is first needed."""

import contextlib
import os
import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL

from mlflow_bridge import mlflow_internals as internals
from mlflow_bridge.capture import template
from pynb_dag_runner.run_folder.paths import MLFLOW_ARTIFACTS, MLFLOW_DATABASE

if TYPE_CHECKING:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import Engine

_DEFAULT_EXPERIMENT = 0
_opened: "list[Engine]" = []
"""Of this process's tasks; closed after each."""


def open_tracking_store(uri: str) -> "SqlAlchemyStore":
    """The store of runs below the attempt's folder that ``uri`` names."""
    attempt = _folder(uri)
    addresses = _database_uri(_prepared(attempt)), _artifact_root(attempt)
    opened: SqlAlchemyStore = internals.open_sqlite_store("tracking", *addresses, opened=_opened.append)
    return opened


def open_registry_store(uri: str) -> "RegistryStore":
    """The store of registered models, in the same file."""
    address = _database_uri(_prepared(_folder(uri)))
    opened: RegistryStore = internals.open_sqlite_store("registry", address, opened=_opened.append)
    return opened


def close_stores() -> None:
    """Close the files of all stores that this process has opened."""
    while _opened:
        _opened.pop().dispose()


def _folder(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def _database_uri(database: Path) -> str:
    # Not put together by hand: a path may hold ? and %, and versions of SQLAlchemy quote them in ways of their own.
    return URL.create("sqlite", database=str(database)).render_as_string(hide_password=False)


def _artifact_root(attempt: Path) -> str:
    return (attempt / MLFLOW_ARTIFACTS).as_uri()


def _prepared(attempt: Path) -> Path:
    """The attempt's database, made whole or not at all: a task's own processes may ask for it at the same time.

    Raises:
        OSError: the attempt's folder is gone, or can't be written.
    """
    database = attempt / MLFLOW_DATABASE
    if database.is_file():
        return database
    database.parent.mkdir(exist_ok=True)
    new = database.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        if ready := template.template(internals.version()):
            shutil.copyfile(ready, new)
        else:
            template.fill(new)
        with closing(sqlite3.connect(new)) as connection, connection:
            root = f"{_artifact_root(attempt)}/{_DEFAULT_EXPERIMENT}"
            connection.execute("UPDATE experiments SET artifact_location = ?", [root])
        with contextlib.suppress(FileExistsError):
            _publish(new, database)
    finally:
        new.unlink(missing_ok=True)
    return database


def _publish(new: Path, database: Path) -> None:
    try:
        os.link(new, database)  # unlike a rename it never replaces one that another process has made meanwhile
    except FileExistsError:
        raise
    except OSError:  # some disks have no hard links
        new.rename(database)
