"""MLflow's own stores, on a sqlite file in an attempt's folder that is made when it is first needed."""

import contextlib
import os
import secrets
import shutil
import sqlite3
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import mlflow
from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.async_logging.run_operations import RunOperations
from sqlalchemy import URL, Engine

from mlflow_bridge.capture import template
from pynb_dag_runner.run_folder.paths import MLFLOW_ARTIFACTS, MLFLOW_DATABASE

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, RunTag

_DEFAULT_EXPERIMENT = 0
_opened: list[Engine] = []
"""Of this process's tasks; closed after each."""


class _OwnEngine:
    """Opens the file that is there. MLflow's way makes directories of the URL's path, quoted as it is, and takes two
    minutes to say that a file can't be opened.
    """

    @classmethod
    def _get_or_create_engine(cls, db_uri: str) -> Engine:
        engine: Engine = create_sqlalchemy_engine(db_uri)
        _opened.append(engine)
        return engine


class CapturingRegistry(_OwnEngine, RegistryStore):
    """MLflow's store of registered models."""


class CapturingStore(_OwnEngine, SqlAlchemyStore):
    """MLflow's store; what it would write later, from a thread, it writes at once.

    It is a local file, which is fast, and a moment later the attempt's files may have been taken away.
    """

    def log_batch_async(
        self, run_id: str, metrics: "Sequence[Metric]", params: "Sequence[Param]", tags: "Sequence[RunTag]"
    ) -> RunOperations:
        """As MLflow's; done when it returns."""
        done: Future[None] = Future()
        try:
            self.log_batch(run_id, metrics=metrics, params=params, tags=tags)  # type: ignore[no-untyped-call]
            done.set_result(None)
        except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
            done.set_exception(error)
        return RunOperations([done])


def open_tracking_store(uri: str) -> CapturingStore:
    """The store of runs below the attempt's folder that ``uri`` names."""
    attempt = _folder(uri)
    opened: CapturingStore = CapturingStore(  # type: ignore[no-untyped-call]
        _database_uri(_prepared(attempt)), _artifact_root(attempt)
    )
    return opened


def open_registry_store(uri: str) -> CapturingRegistry:
    """The store of registered models, in the same file."""
    opened: CapturingRegistry = CapturingRegistry(_database_uri(_prepared(_folder(uri))))  # type: ignore[no-untyped-call]
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
        if ready := template.template(mlflow.__version__):
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
