"""What this package uses of MLflow and MLflow does not promise: its private names, each in one function here.

A name may be missing in another release, or mean something else there. Each function looks first, and raises
:class:`ChangedError` if it does not find what the releases had that were tried (:data:`TRIED`); callers then go the
plain way, which only takes public calls, and log a line. Functions that have a plain way of their own say so.

Forms that MLflow writes down but does not document have files of their own: the tables of its database
(``source/captured_database.py``), saved views of its UI and addresses of its pages (``mapping/``), and the widths of
its columns (``limits.py``).
"""

import importlib
import logging
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import TraceInfo
    from mlflow.entities.span import Span
    from mlflow.exceptions import MlflowException
    from sqlalchemy import Engine

TRIED = "3.16 to 3.17"
"""Releases of MLflow in which all of this was there when it was tried (``make test-mlflows``)."""

_log = logging.getLogger(__name__)

_FLUENT = "mlflow.tracking.fluent"
_TRACKING = "mlflow.tracking._tracking_service.utils"
_REGISTRY = "mlflow.tracking._model_registry.utils"
_OF_ONE_THREAD = ("_last_active_run_id", "_last_logged_model_id", "_ACTIVE_MODEL_CONTEXT")
_VERSION_TRIES = 4
"""MLflow gives a server 3 s to say its version, once."""


class ChangedError(Exception):
    """This release of MLflow does not have what the releases had that were tried."""

    def __init__(self, what: str) -> None:
        super().__init__(f"MLflow {version()} has changed {what}, known from {TRIED}")


def version() -> str:
    """MLflow's, as it says it itself."""
    return str(getattr(importlib.import_module("mlflow"), "__version__", "of an unknown version"))


def _found(module: str, name: str, kinds: type | tuple[type, ...] = object, methods: Sequence[str] = ()) -> Any:
    """What a module holds under a name.

    Raises:
        ChangedError: there is no such name, or it is not one of ``kinds``, or lacks one of ``methods``.
    """
    try:
        value = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise ChangedError(f"{module}.{name}") from None
    if not isinstance(value, kinds) or not all(callable(getattr(value, method, None)) for method in methods):
        raise ChangedError(f"{module}.{name}, now of type {type(value).__name__}")
    return value


def _set(module: str, name: str, value: str | None) -> None:
    _found(module, name, (str, type(None)))
    setattr(importlib.import_module(module), name, value)


# What a process remembers between two tasks.


def active_runs() -> list[list[Any]]:
    """The active runs of each thread, the outermost first: MLflow's own lists."""
    runs = _found(_FLUENT, "_active_run_stack", methods=("get", "get_all_thread_values"))
    stacks = [runs.get(), *runs.get_all_thread_values().values()]
    if not all(isinstance(stack, list) for stack in stacks):
        raise ChangedError(f"{_FLUENT}._active_run_stack")
    return list({id(stack): stack for stack in stacks}.values())


def active_runs_of_this_thread() -> list[Any]:
    """Those of this thread, as :func:`active_runs`."""
    return active_runs()[0]


def experiment_id() -> str | None:
    """The experiment that ``mlflow.set_experiment`` has chosen."""
    found: str | None = _found(_FLUENT, "_active_experiment_id", (str, type(None)))
    return found


def set_experiment_id(value: str | None) -> None:
    """As :func:`experiment_id`; None: none was chosen."""
    _set(_FLUENT, "_active_experiment_id", value)


def tracking_uri() -> str | None:
    """What ``mlflow.set_tracking_uri`` was told, without what the environment says."""
    found: str | None = _found(_TRACKING, "_tracking_uri", (str, type(None)))
    return found


def registry_uri() -> str | None:
    """The same of ``mlflow.set_registry_uri``."""
    found: str | None = _found(_REGISTRY, "_registry_uri", (str, type(None)))
    return found


def set_registry_uri(value: str | None) -> None:
    """As :func:`registry_uri`. The public call would keep None in the environment."""
    _set(_REGISTRY, "_registry_uri", value)


def autologging() -> MutableMapping[str, dict[str, Any]]:
    """What each library's autologging was told; MLflow's own mapping."""
    found: dict[str, dict[str, Any]] = _found("mlflow.utils.autologging_utils", "AUTOLOGGING_INTEGRATIONS", dict)
    return found


def import_hooks() -> MutableMapping[str, list[Any]]:
    """What is called when a library is imported; of one that has been imported an empty list. MLflow's own mapping."""
    found: dict[str, list[Any]] = _found("mlflow.utils.import_hooks", "_post_import_hooks", dict)
    return found


def forget_last_run_and_model() -> None:
    """What ``mlflow.last_active_run`` and the like answer, in all threads."""
    for name in _OF_ONE_THREAD:
        _found(_FLUENT, name, methods=("reset",)).reset()


def end_system_metrics(run_id: str) -> None:
    """End the thread that measures for a run, if there is one."""
    if monitor := _found(_FLUENT, "run_id_to_system_metrics_monitor", dict).pop(run_id, None):
        monitor.finish()


def forget_stores() -> None:
    """MLflow keeps the last hundred stores that it has opened."""
    registries = (_found(_TRACKING, "_tracking_store_registry"), _found(_REGISTRY, "_get_store_registry")())
    for registry in registries:
        try:
            registry._get_store_with_resolved_uri.cache_clear()
        except AttributeError:
            raise ChangedError("how it keeps stores that it has opened") from None


# Its sqlite store.


@contextmanager
def without_migrations_in_log() -> Iterator[None]:
    """MLflow and alembic log each migration of a new store."""
    loggers = [logging.getLogger(name) for name in ("mlflow.store.db.utils", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def make_tables(database: Path) -> None:
    """Make MLflow's tables in a new sqlite file.

    Raises:
        ChangedError: MLflow has its store elsewhere.
        OSError, sqlite3.Error: it can't be written.
    """
    with without_migrations_in_log():
        store = _store_class("tracking")(f"sqlite:///{database}", "artifacts")
    store.engine.dispose()


def schema() -> str:
    """The revision of the tables that MLflow makes, from its migrations; the plain way is to make some."""
    from alembic.script import ScriptDirectory

    migrations = Path(str(importlib.import_module("mlflow").__file__)).parent / "store" / "db_migrations"
    try:
        found = ScriptDirectory(str(migrations)).get_current_head()
        if found:
            return found
    except Exception as error:  # noqa: BLE001 - alembic's, of many kinds
        _log.warning("%s: %s", ChangedError("where its migrations are"), error)
    with tempfile.TemporaryDirectory(prefix="pynb-dag-runner-") as directory:
        make_tables(made := Path(directory, "mlflow.db"))
        with closing(sqlite3.connect(made)) as connection:
            return ", ".join(row[0] for row in connection.execute("SELECT version_num FROM alembic_version"))


def _store_class(kind: str) -> Any:
    module = {
        "tracking": "mlflow.store.tracking.sqlalchemy_store",
        "registry": "mlflow.store.model_registry.sqlalchemy_store",
    }[kind]
    return _found(module, "SqlAlchemyStore", type)


def open_sqlite_store(kind: str, *arguments: str, opened: Callable[["Engine"], None]) -> Any:
    """MLflow's store on an sqlite file that is there.

    Args:
        kind: ``tracking`` or ``registry``.
        arguments: the address of the file; of a tracking store, that of its artifacts, too.
        opened: gets what is to be disposed of.

    Raises:
        ChangedError: MLflow has its store elsewhere.
    """
    engines: list[Engine] = []
    try:
        store = _own_store_class(kind)(*arguments, engines=engines)
    except (AttributeError, TypeError) as error:
        _log.warning("MLflow %s: its sqlite store is opened in its own way: %s", version(), error)
        store = _store_class(kind)(*arguments)
    # Up to 3.4, and in a release that has another way again, MLflow makes the engine by itself.
    others = [engine for name in ("engine", "read_engine") if (engine := getattr(store, name, None)) is not None]
    for engine in {id(engine): engine for engine in [*engines, *others]}.values():
        opened(engine)
    return store


@cache
def _own_store_class(kind: str) -> Any:
    base = _store_class(kind)

    class OwnStore(base):  # type: ignore[misc, valid-type] # MLflow's class, whatever it is
        """Opens the file that is there, and writes at once what MLflow would write later, from a thread.

        MLflow's way makes directories of the URL's path, quoted as it is, and takes two minutes to say that a file
        can't be opened. And a moment later the attempt's files may have been taken away.
        """

        def __init__(self, *arguments: str, engines: "list[Engine]") -> None:
            self._engines = engines
            super().__init__(*arguments)

        def _get_or_create_engine(self, db_uri: str, *arguments: Any, **named: Any) -> "Engine":
            try:
                engine: Engine = _found("mlflow.store.db.utils", "create_sqlalchemy_engine")(db_uri)
            except (ChangedError, TypeError) as error:
                _log.warning("%s", error)
                engine = super()._get_or_create_engine(db_uri, *arguments, **named)
            self._engines.append(engine)
            return engine

        def log_batch_async(self, run_id: str, *arguments: Any, **named: Any) -> Any:
            """As MLflow's; done when it returns."""
            try:
                operations = _found("mlflow.utils.async_logging.run_operations", "RunOperations", type)
            except ChangedError as error:
                _log.warning("%s", error)
                return super().log_batch_async(run_id, *arguments, **named)
            done: Future[None] = Future()
            try:
                self.log_batch(run_id, *arguments, **named)
                done.set_result(None)
            except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
                done.set_exception(error)
            return operations([done])

    return OwnStore


# What its client does for itself.


def http_status(error: "MlflowException") -> int | None:
    """The status of an answer that is not MLflow's own; its text names it. None: the answer was MLflow's."""
    foreign = re.search(r"failed with error code (\d{3}) ", str(error))
    return int(foreign[1]) if foreign else None


def send_file(uri: str, artifact_uri: str, path: Path, directory: str | None) -> None:
    """Send a file to where a run, a model or a trace keeps its files. Public calls ask the server first what it is.

    The plain way is to call them; there is none for traces.
    """
    try:
        repository = _found("mlflow.store.artifact.artifact_repository_registry", "get_artifact_repository")
        send = repository(artifact_uri, tracking_uri=uri).log_artifact
    except (ChangedError, AttributeError, TypeError) as error:
        client = importlib.import_module("mlflow").MlflowClient(uri)
        owner = re.search(r"(?:\b(m-[0-9a-f]{32})|/([0-9a-f]{32}))/artifacts/?$", artifact_uri)
        if owner is None:
            raise
        _log.warning("MLflow %s: files are sent by its public calls: %s", version(), error)
        if owner[1] and not directory:
            client.log_model_artifact(owner[1], str(path))
        else:
            client.log_artifact(owner[2], str(path), directory)
        return
    send(str(path), directory)


def send_trace(uri: str, experiment_id: str, info: "TraceInfo", spans: Iterable["Span"], at_once: int) -> Any:
    """Send a trace with an id of ours; one with the same id is changed to it. There is no plain way.

    Args:
        at_once: so many spans in one request.

    Returns:
        What the store keeps as its head.

    Raises:
        ChangedError: MLflow's client has no such calls.
        NotImplementedError: the server takes no spans; nothing was sent.
    """
    client = _found("mlflow.tracing.client", "TracingClient", methods=("start_trace", "log_spans"))(uri)
    _ask_for_version(client)
    waiting = list(spans)  # all are made before the trace: one without its spans would be worse than none
    stored = client.start_trace(info)
    for start in range(0, len(waiting), at_once):
        client.log_spans(experiment_id, waiting[start : start + at_once])
    return stored


def _ask_for_version(client: Any) -> None:
    """MLflow asks a server once for its version, with little patience, and remembers for ever that it got no answer.

    Raises:
        NotImplementedError: the server is older than 3.4, or does not say.
    """
    store = getattr(client, "store", None)
    ask, credentials = getattr(store, "_get_server_version", None), getattr(store, "get_host_creds", None)
    if not callable(ask) or not callable(credentials) or not callable(getattr(ask, "cache_clear", None)):
        return
    for _ in range(_VERSION_TRIES):
        found = ask(credentials())
        if found is not None:
            if found.release < (3, 4):
                raise NotImplementedError(f"its version, {found}, takes no spans; 3.4 is the first that does")
            return
        ask.cache_clear()
    raise NotImplementedError("it does not say of which version it is")


def span_from_json(described: Mapping[str, Any]) -> "Span":
    """A span as MLflow keeps it in its database. There is no plain way."""
    return _made("from_dict", described)


def span_from_protobuf(proto: Any) -> "Span":
    """A span in OpenTelemetry's form. There is no plain way."""
    return _made("from_otel_proto", proto)


def _made(method: str, source: Any) -> "Span":
    made: Span = getattr(_found("mlflow.entities.span", "Span", type, (method,)), method)(source)
    return made
