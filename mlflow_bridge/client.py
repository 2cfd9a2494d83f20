"""The only file that imports MLflow, and only when a store is opened. Its errors become ours here."""

import importlib.util
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from mlflow_bridge.errors import StoreError, TargetError
from mlflow_bridge.locks import directory_lock
from mlflow_bridge.target import Target
from mlflow_bridge.values import Batch, Experiment, MlflowStatus, StoredRun

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.exceptions import MlflowException

SERVER_THREADS = 4
"""Measured for MLflow 3.18: 4 to 8 at once make a server faster; direct sqlite gets slower, and fails with 16."""
_SEARCH_PAGE = 1000
_FIRST_CONTACT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""MLflow's own 7 retries of 120 s each would keep a user with a mistyped address waiting for minutes."""
_STATUSES = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}


def open_store(target: Target) -> "MlflowStore":
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
        with _environment(_FIRST_CONTACT):
            store.experiment("Default")
        return store
    if importlib.util.find_spec("sqlalchemy") is None or importlib.util.find_spec("alembic") is None:
        raise TargetError(
            "MLflow opens sqlite files with sqlalchemy and alembic, which are not installed; "
            "install them with: pip install 'pynb-dag-runner[upload]'"
        )
    return _open_sqlite(target, target.database)


def _open_sqlite(target: Target, database: Path) -> "MlflowStore":
    """MLflow makes a new file's tables on first opening; two processes that do so at once leave it damaged."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        # MLflow would try a file that can't be opened again and again, for almost two minutes.
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))
    except OSError as error:
        raise StoreError(f"can't write {database}: {error.strerror}") from error
    with directory_lock(database.parent), _quiet(), _translated(target):
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
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return None
            if {"alembic_version", "experiments"} <= tables:
                return ", ".join(row[0] for row in connection.execute("SELECT version_num FROM alembic_version"))
    except sqlite3.Error as error:
        raise StoreError(f"{database} can't be read as an sqlite file: {error}") from error
    raise StoreError(f"{database} is an sqlite file, but no MLflow store")


class MlflowStore:
    """A :class:`mlflow_bridge.store.TrackingStore` through MLflow's own client; get one from :func:`open_store`."""

    def __init__(self, target: Target) -> None:
        from mlflow import MlflowClient

        self.target = target
        self.threads = 1 if target.database else SERVER_THREADS
        self._client = MlflowClient(tracking_uri=target.uri)

    def experiment(self, name: str) -> Experiment | None:
        """See :class:`mlflow_bridge.store.TrackingStore`, also for the other methods."""
        with _translated(self.target):
            found = self._client.get_experiment_by_name(name)
        if found is None:
            return None
        return Experiment(
            id=found.experiment_id,
            name=found.name,
            artifact_location=found.artifact_location or "",
            deleted=found.lifecycle_stage == "deleted",
        )

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> Experiment:
        """Its artifacts get an absolute path if the store is a file: MLflow's default depends on the directory."""
        from mlflow.exceptions import MlflowException

        root = self.target.artifact_root
        location = str(root / re.sub(r"[^\w.-]+", "-", name)[:80]) if root else None
        with _translated(self.target):
            try:
                self._client.create_experiment(name, artifact_location=location, tags=dict(tags))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        experiment = self.experiment(name)
        if experiment is None:
            raise StoreError(f"{self.target.shown} has made the experiment {name!r}, but does not find it")
        return experiment

    def search(self, experiment_id: str, tag: str, value: str) -> Iterator[StoredRun]:
        """Page by page: an experiment may hold more runs than one answer."""
        from mlflow.entities import ViewType

        token: str | None = None
        while True:
            with _translated(self.target):
                page = self._client.search_runs(
                    [experiment_id], f"tags.`{tag}` = '{value}'", ViewType.ALL, _SEARCH_PAGE, page_token=token
                )
            yield from map(_stored, page)
            token = page.token
            if not token:
                return

    def create_run(self, experiment_id: str, name: str, start_ms: int, tags: Mapping[str, str]) -> StoredRun:
        """The run's id is MLflow's own."""
        with _translated(self.target):
            return _stored(self._client.create_run(experiment_id, start_ms, dict(tags), name))

    def log_artifact(self, run: StoredRun, path: Path, directory: str) -> None:
        """Through the artifact store itself: the client's own method asks for the run first."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with _translated(self.target):
            repository = get_artifact_repository(run.artifact_uri, tracking_uri=self.target.uri)
            send: Callable[[str, str | None], None] = repository.log_artifact
            send(str(path), directory or None)

    def log_batch(self, run_id: str, batch: Batch) -> None:
        """MLflow's client would cut larger batches itself, in another order."""
        from mlflow.entities import Metric, Param, RunTag

        with _translated(self.target):
            self._client.log_batch(
                run_id,
                metrics=[Metric(point.key, point.value, point.timestamp_ms, point.step) for point in batch.metrics],
                params=[Param(key, value) for key, value in batch.params],
                tags=[RunTag(key, value) for key, value in batch.tags],
            )

    def end_run(self, run_id: str, status: MlflowStatus, end_ms: int) -> None:
        """MLflow takes any status word at any time."""
        with _translated(self.target):
            self._client.set_terminated(run_id, status.value, end_ms)

    def delete_run(self, run_id: str) -> None:
        """Only into the bin; `mlflow gc` empties it."""
        with _translated(self.target):
            self._client.delete_run(run_id)


def _stored(run: "Run") -> StoredRun:
    return StoredRun(
        id=run.info.run_id,
        artifact_uri=run.info.artifact_uri or "",
        tags=dict(run.data.tags),
        deleted=run.info.lifecycle_stage == "deleted",
    )


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a moment; those that the user has set stay."""
    ours = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


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


@contextmanager
def _translated(target: Target) -> Iterator[None]:
    """Errors of MLflow and of what lies below it as one sentence."""
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise StoreError(_sentence(target, error)) from error
    except requests.RequestException as error:
        status = error.response.status_code if error.response is not None else None
        raise StoreError(_by_status(target, status) or _by_cause(target, error) or _other(target, error)) from error
    except OSError as error:
        raise StoreError(f"{target.shown} can't be written: {error.strerror or error}") from error


def _sentence(target: Target, error: "MlflowException") -> str:
    # MLflow's own answers are JSON and have an error code; of others the text names the status.
    foreign = re.search(r"failed with error code (\d{3}) ", error.message)
    status = int(foreign.group(1)) if foreign else _STATUSES.get(error.error_code)
    return _by_cause(target, error) or _by_status(target, status) or _other(target, error)


def _by_cause(target: Target, error: BaseException) -> str | None:
    """What went wrong with the connection, if that was it."""
    import requests

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, requests.exceptions.SSLError):
            return f"the certificate of {target.shown} was not accepted: {_first_line(cause)}"
        if isinstance(cause, requests.Timeout):
            return f"no answer from {target.shown} in time"
        if isinstance(cause, requests.ConnectionError):
            refused = "connection refused" if "refused" in str(cause) else _first_line(cause)
            return f"can't reach an MLflow server at {target.shown}: {refused}"
        cause = cause.__cause__ or cause.__context__
    return None


def _by_status(target: Target, status: int | None) -> str | None:
    match status:
        case 401:
            return (
                f"{target.shown} asks who you are: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
                "or MLFLOW_TRACKING_TOKEN (401)"
            )
        case 403:
            return f"{target.shown} refuses this: no permission, or a host name that it was not told to accept (403)"
        case 404 | 405:
            return f"{target.shown} answers, but not as an MLflow server ({status})"
        case 413:
            return f"{target.shown}, or a proxy before it, refuses a request as too large (413)"
    return None


def _other(target: Target, error: BaseException) -> str:
    return f"{target.shown} refuses this: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
