"""What a task changes in MLflow's global state, put back before the next task of the same process begins.

MLflow keeps the active run, the experiment, the addresses of its stores and what autologging shall do in module
variables, most of them private: what a version does not have is left out.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import fluent
from mlflow.tracking._model_registry import utils as registry
from mlflow.tracking._tracking_service import utils as tracking
from mlflow.utils import autologging_utils, import_hooks

_log = logging.getLogger(__name__)

_TRACKING_URI = "MLFLOW_TRACKING_URI"
_THREAD_LOCALS = ("_last_active_run_id", "_last_logged_model_id", "_ACTIVE_MODEL_CONTEXT")


@dataclass(frozen=True, kw_only=True)
class Before:
    """MLflow's global state before a task.

    Attributes:
        active: the runs that are active in this thread, the outermost first; none is during the task.
    runs: ids of the runs that are active in some thread.
        autologging: what each library's autologging was told.
        import_hooks: what happens when a library is imported.
    """

    tracking_uri: str | None = None
    registry_uri: str | None = None
    experiment_id: str | None = None
    active: tuple[Any, ...] = ()
    runs: frozenset[str] = frozenset()
    autologging: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    import_hooks: Mapping[str, list[Any]] = field(default_factory=dict)


_NEW = Before()
"""Of a process that has not imported MLflow yet."""


def before() -> Before:
    """The state as it is; what a user's own program has begun is no part of a task that runs in its process."""
    state = _state()
    fluent._active_run_stack.get().clear()
    fluent._active_experiment_id = None
    return state


def _state() -> Before:
    return Before(
        tracking_uri=tracking._tracking_uri,
        registry_uri=registry._registry_uri,
        experiment_id=fluent._active_experiment_id,
        active=tuple(fluent._active_run_stack.get()),
        runs=frozenset(run.info.run_id for stack in _stacks() for run in stack),
        autologging={name: dict(config) for name, config in autologging_utils.AUTOLOGGING_INTEGRATIONS.items()},
        import_hooks={name: list(hooks) for name, hooks in import_hooks._post_import_hooks.items()},
    )


def after(state: Before | None, *, succeeded: bool) -> None:
    """End the runs that a task has left open, and put the state back.

    The environment is already as it was before the task; what this changes in it, the caller puts back.

    Args:
        state: what :func:`before` gave; None if MLflow had not been imported then.
        succeeded: how the runs end: FINISHED or FAILED.
    """
    known = state or _NEW
    with _logged("the end of a run"):
        _end_runs(known, "FINISHED" if succeeded else "FAILED")
        fluent._active_run_stack.get()[:] = known.active
    with _logged("the settings of autologging"):
        _restore_autologging(known)
    with _logged("the tracking URI"):
        mlflow.set_tracking_uri(known.tracking_uri)  # type: ignore[arg-type] # None takes it back
        registry._registry_uri = known.registry_uri  # type: ignore[assignment]
        fluent._active_experiment_id = known.experiment_id  # type: ignore[assignment]
    with _logged("the last run and model"):
        if state is None or not known.runs:
            for name in _THREAD_LOCALS:
                getattr(fluent, name).reset()
    with _logged("tracing"):
        mlflow.tracing.reset()
    with _logged("open stores"):
        _close_stores()


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    """A version of MLflow in which something has another name must not fail the task."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - MLflow's, of any kind: its server may be gone
        _log.warning("MLflow, after a task: %s may reach the next one: %s", what, error)


def _stacks() -> list[list[Any]]:
    """The active runs of each thread, the outermost first."""
    return list(fluent._active_run_stack.get_all_thread_values().values())


def _end_runs(known: Before, status: str) -> None:
    own = [run for stack in _stacks() for run in reversed(stack) if run.info.run_id not in known.runs]
    for stack in _stacks():
        stack[:] = [run for run in stack if run.info.run_id in known.runs]
    # A task may have gone to another store since it began its runs.
    uris = list(dict.fromkeys([os.environ.get(_TRACKING_URI) or mlflow.get_tracking_uri(), mlflow.get_tracking_uri()]))
    for run_id in (run.info.run_id for run in own):
        if monitor := fluent.run_id_to_system_metrics_monitor.pop(run_id, None):
            monitor.finish()
        _end_run(run_id, status, uris)


def _end_run(run_id: str, status: str, uris: Sequence[str]) -> None:
    *others, last = uris
    for uri in others:
        with contextlib.suppress(MlflowException):
            mlflow.MlflowClient(uri).set_terminated(run_id, status)
            return
    mlflow.MlflowClient(last).set_terminated(run_id, status)


def _restore_autologging(known: Before) -> None:
    configs = autologging_utils.AUTOLOGGING_INTEGRATIONS
    for name in list(configs):
        # Without a setting a library's autologging is off, whatever has been patched.
        configs[name] = dict(known.autologging.get(name, {}))
    hooks = import_hooks._post_import_hooks
    for name in list(hooks):
        # Of a library that has been imported an empty list stays, and says so.
        if hooks[name]:
            hooks[name] = list(known.import_hooks.get(name, []))
            if not hooks[name]:
                del hooks[name]


def _close_stores() -> None:
    """Close the files of captured runs: a process would keep those of its last hundred tasks open."""
    if stores := sys.modules.get("mlflow_bridge.capture.stores"):
        stores.close_stores()
        for registered in (tracking._tracking_store_registry, registry._get_store_registry()):
            registered._get_store_with_resolved_uri.cache_clear()
