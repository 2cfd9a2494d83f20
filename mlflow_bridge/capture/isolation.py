"""What a task changes in MLflow's global state, put back before the next task of the same process begins.

MLflow keeps the active run, the experiment, the addresses of its stores and what autologging shall do in module
variables, most of them private. In a release that has changed one of them, that part reaches the next task, and a line
in the task's log says so.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import mlflow
from mlflow.exceptions import MlflowException

from mlflow_bridge import mlflow_internals as internals

_log = logging.getLogger(__name__)

_TRACKING_URI = "MLFLOW_TRACKING_URI"
_MOST_OPEN = 100
"""Runs that a task may leave open in one thread; where only public calls end them, one that does nothing must not be
called for ever."""
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Before:
    """MLflow's global state before a task; what is not known is as in a new process.

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
    state = Before(
        tracking_uri=_known(internals.tracking_uri, None),
        registry_uri=_known(internals.registry_uri, None),
        experiment_id=_known(internals.experiment_id, None),
        active=tuple(_known(internals.active_runs_of_this_thread, [])),
        runs=frozenset(run.info.run_id for stack in _known(internals.active_runs, _public_stacks) for run in stack),
        autologging={name: dict(config) for name, config in _known(internals.autologging, {}).items()},
        import_hooks={name: list(hooks) for name, hooks in _known(internals.import_hooks, {}).items()},
    )
    # What can't be taken away is said after the task.
    with contextlib.suppress(internals.ChangedError):
        internals.active_runs_of_this_thread().clear()
    with contextlib.suppress(internals.ChangedError):
        internals.set_experiment_id(None)
    return state


def _known(ask: Callable[[], _T], otherwise: _T | Callable[[], _T]) -> _T:
    """What MLflow says; ``otherwise``, or what that gives, in a release that has changed it."""
    try:
        return ask()
    except internals.ChangedError:
        return otherwise() if callable(otherwise) else otherwise


def _public_stacks() -> list[list[Any]]:
    """What the public call knows of the active runs: the innermost of this thread."""
    run = mlflow.active_run()
    return [[run]] if run else []


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
    with _logged("the settings of autologging"):
        _restore_autologging(known)
    with _logged("what autologging does when a library is imported"):
        _restore_import_hooks(known)
    with _logged("the tracking URI"):
        mlflow.set_tracking_uri(known.tracking_uri)  # type: ignore[arg-type] # None takes it back
    with _logged("the registry URI"):
        internals.set_registry_uri(known.registry_uri)
    with _logged("the experiment"):
        internals.set_experiment_id(known.experiment_id)
    with _logged("the last run and model"):
        if state is None or not known.runs:
            internals.forget_last_run_and_model()
    with _logged("tracing"):
        mlflow.tracing.reset()
    with _logged("open stores"):
        _close_stores()


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    """A release of MLflow in which something is different must not fail the task."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - MLflow's, of any kind: its server may be gone
        _log.warning("MLflow, after a task: %s may reach the next one: %s", what, error)


def _end_runs(known: Before, status: str) -> None:
    try:
        stacks = internals.active_runs()
    except internals.ChangedError:
        _end_runs_by_public_calls(known, status)
        raise
    own = [run for stack in stacks for run in reversed(stack) if run.info.run_id not in known.runs]
    for stack in stacks:
        stack[:] = [run for run in stack if run.info.run_id in known.runs]
    internals.active_runs_of_this_thread()[:] = known.active
    # A task may have gone to another store since it began its runs.
    uris = list(dict.fromkeys([os.environ.get(_TRACKING_URI) or mlflow.get_tracking_uri(), mlflow.get_tracking_uri()]))
    for run_id in (run.info.run_id for run in own):
        with _logged("the measuring of the system"):
            internals.end_system_metrics(run_id)
        _end_run(run_id, status, uris)


def _end_runs_by_public_calls(known: Before, status: str) -> None:
    """Those of this thread; of other threads these calls know nothing."""
    for _ in range(_MOST_OPEN):
        run = mlflow.active_run()
        if run is None or run.info.run_id in known.runs:
            return
        mlflow.end_run(status)


def _end_run(run_id: str, status: str, uris: Sequence[str]) -> None:
    *others, last = uris
    for uri in others:
        with contextlib.suppress(MlflowException):
            mlflow.MlflowClient(uri).set_terminated(run_id, status)
            return
    mlflow.MlflowClient(last).set_terminated(run_id, status)


def _restore_autologging(known: Before) -> None:
    configs = internals.autologging()
    for name in list(configs):
        # Without a setting a library's autologging is off, whatever has been patched.
        configs[name] = dict(known.autologging.get(name, {}))


def _restore_import_hooks(known: Before) -> None:
    hooks = internals.import_hooks()
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
        internals.forget_stores()
