"""Direct the MLflow calls that a task makes itself, and keep their effects from the next task.

Nothing here imports MLflow. It is told through its environment to keep what a task logs in the attempt's folder, with a
store that a plugin of MLflow makes when the task first uses one. A task that never imports MLflow pays for a look at
which packages are installed, once in a process.
"""

import contextlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

TRACKING_URI = "MLFLOW_TRACKING_URI"
SCHEME = "pynb-dag-runner"
"""Of tracking URIs that lead into an attempt's folder; MLflow finds the plugin by it (``setup.cfg``)."""
ASYNC_TRACES = "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"
_IDS = {"MLFLOW_RUN_ID": "", "MLFLOW_EXPERIMENT_ID": "0", "MLFLOW_EXPERIMENT_NAME": "Default"}
"""Ids are those of another store: a program may have set an experiment before it ran a pipeline in its own process."""
_OF_MLFLOW = ("MLFLOW_", "_MLFLOW_")
_OF_MLFLOW_ENCODED = tuple(os.fsencode(prefix) for prefix in _OF_MLFLOW)
_NEEDED = ("mlflow", "sqlalchemy", "alembic")
"""MLflow's small package has no sqlite store of its own; then its calls do what they do without us."""
_GROUP = "pynb_dag_runner.around_task"

_log = logging.getLogger(__name__)


class _Around(Protocol):
    """What the plugin offers for a process that serves many tasks."""

    def before(self) -> Any:
        """What MLflow's global settings are."""

    def after(self, before: Any, *, succeeded: bool) -> None:
        """End what a task has left open, and put the settings back."""


@cache
def _is_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in _NEEDED) and bool(_plugins())


@cache
def _plugins() -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=_GROUP))


def prepare() -> None:
    """Find out what is found out once in a process, and takes a hundredth of a second."""
    _is_installed()


def environment(folder: Path) -> dict[str, str]:
    """Variables that make MLflow keep what a task logs in its attempt's ``folder``.

    Empty if the user has said where MLflow shall log to, or if there is no MLflow here.
    """
    wanted = os.environ.get(TRACKING_URI, "")
    # A pipeline that a task of another one runs: what it inherited leads into that one's folder.
    if wanted and not is_captured(wanted):
        return {}
    if not _is_installed():
        return {}
    # Traces that are written later, by a thread, may come when the attempt's files have been taken away.
    later = {} if ASYNC_TRACES in os.environ else {ASYNC_TRACES: "false"}
    elsewhere = {name: value for name, value in _IDS.items() if os.environ.get(name)}
    return {TRACKING_URI: f"{SCHEME}://{quote(str(folder))}", **later, **elsewhere}


def for_another_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    """An attempt's environment without what only MLflow beside this package understands."""
    if not is_captured(environment.get(TRACKING_URI, "")):
        return dict(environment)
    return {name: value for name, value in environment.items() if not name.startswith(_OF_MLFLOW)}


def is_captured(uri: str) -> bool:
    """Whether a tracking URI leads into an attempt's folder."""
    return uri.startswith(f"{SCHEME}:")


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Around a task in a process that serves others too: runs that it leaves open end, global settings are put back.

    Costs nothing where MLflow has not been imported.
    """
    variables = _variables()
    before = None
    if _is_loaded():
        with _logged():
            before = _around().before()
    succeeded = False
    try:
        yield
        succeeded = True
    except SystemExit as error:
        succeeded = error.code in (None, 0)
        raise
    finally:
        _put_back(variables)
        if _is_loaded():
            with _logged():
                _around().after(before, succeeded=succeeded)
            _put_back(variables)


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """The plugin may stand beside a release of MLflow that it does not know: that must not fail a task."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - of any kind
        _log.warning("What a task has changed in MLflow may reach the next one: %s: %s", type(error).__name__, error)


def _variables() -> dict[str, str]:
    # As bytes: decoding the whole environment, before and after each task, would be a tenth of a short one's cost.
    names = [os.fsdecode(name) for name in os.environb if name.startswith(_OF_MLFLOW_ENCODED)]
    return {name: os.environ[name] for name in names}


def _put_back(variables: Mapping[str, str]) -> None:
    for name in _variables().keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def _is_loaded() -> bool:
    # While another thread imports it, it is there but can't be used yet.
    return hasattr(sys.modules.get("mlflow"), "end_run") and bool(_plugins())


def _around() -> _Around:
    loaded: _Around = _plugins()[0].load()
    return loaded
