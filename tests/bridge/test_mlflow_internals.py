"""MLflow's private names: a release that has lost one, or has something else there, fails no task."""

import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from mlflow_bridge import mlflow_internals as internals
from pynb_dag_runner import Pipeline, RunStatus

FLUENT = "mlflow.tracking.fluent"
TRACKING = "mlflow.tracking._tracking_service.utils"
REGISTRY = "mlflow.tracking._model_registry.utils"
AROUND_TASKS: list[tuple[str, str, Callable[[], object]]] = [
    (FLUENT, "_active_run_stack", internals.active_runs),
    (FLUENT, "_active_experiment_id", internals.experiment_id),
    (FLUENT, "_active_experiment_id", lambda: internals.set_experiment_id("1")),
    (FLUENT, "_last_active_run_id", internals.forget_last_run_and_model),
    (FLUENT, "_last_logged_model_id", internals.forget_last_run_and_model),
    (FLUENT, "_ACTIVE_MODEL_CONTEXT", internals.forget_last_run_and_model),
    (FLUENT, "run_id_to_system_metrics_monitor", lambda: internals.end_system_metrics("1")),
    (TRACKING, "_tracking_uri", internals.tracking_uri),
    (TRACKING, "_tracking_store_registry", internals.forget_stores),
    (REGISTRY, "_registry_uri", internals.registry_uri),
    (REGISTRY, "_registry_uri", lambda: internals.set_registry_uri(None)),
    ("mlflow.utils.autologging_utils", "AUTOLOGGING_INTEGRATIONS", internals.autologging),
    ("mlflow.utils.import_hooks", "_post_import_hooks", internals.import_hooks),
]
ONLY_WITH_RUNS = ("run_id_to_system_metrics_monitor", "_tracking_store_registry")


class SomethingElse:
    """What a release may have under an old name."""


@pytest.mark.parametrize("change", ["missing", "something else"])
@pytest.mark.parametrize(("module", "name", "use"), AROUND_TASKS, ids=lambda one: getattr(one, "__name__", one))
def test_a_changed_name_is_noticed_and_the_rest_goes_on(
    module: str,
    name: str,
    use: Callable[[], object],
    change: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from mlflow_bridge.capture import isolation

    # MLflow's own public calls would use the name.
    monkeypatch.setattr("mlflow.active_run", lambda: None)
    monkeypatch.setattr("mlflow.set_tracking_uri", lambda uri: None)
    config: dict[str, Any] = {"log_models": True}
    autologging = {} if name == "AUTOLOGGING_INTEGRATIONS" else internals.autologging()
    monkeypatch.setitem(autologging, "counterfeit", config)
    if change == "missing":
        monkeypatch.delattr(f"{module}.{name}")
    else:
        monkeypatch.setattr(f"{module}.{name}", SomethingElse())
    with pytest.raises(internals.ChangedError, match="has changed"):
        use()
    found = getattr(importlib.import_module(module), name, None)
    state = isolation.before()
    config["log_models"] = False
    with caplog.at_level(logging.WARNING):
        isolation.after(state, succeeded=True)
    if name != "AUTOLOGGING_INTEGRATIONS":
        assert autologging["counterfeit"] == {"log_models": True}, "what has not changed is put back"
    if name not in ONLY_WITH_RUNS and name != "_tracking_uri":  # the public call sets that
        assert "may reach the next one" in caplog.text
    assert getattr(importlib.import_module(module), name, None) is found, "nothing was written over it"


def test_without_the_stack_runs_end_by_public_calls(
    sqlite_uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import mlflow

    from mlflow_bridge.capture import isolation

    mlflow.set_tracking_uri(sqlite_uri)
    try:
        state = isolation.before()
        run: Any = mlflow.start_run()
        inner: Any = mlflow.start_run(nested=True)

        def changed() -> list[list[Any]]:
            raise internals.ChangedError("the stack")

        monkeypatch.setattr(internals, "active_runs", changed)
        isolation.after(state, succeeded=False)
        assert mlflow.active_run() is None
        client = mlflow.MlflowClient(sqlite_uri)
        statuses = [client.get_run(one.info.run_id).info.status for one in (run, inner)]
        assert statuses == ["FAILED", "FAILED"]
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type] # takes it back
    assert "the end of a run may reach the next one" in caplog.text


COUNTERFEIT = """
    __version__ = "4.0.0"
    class _Tracing:
        def reset(self, thoroughly): ...
    tracing = _Tracing()
    logged = []
    def active_run(): return None
    def end_run(status="FINISHED"): ...
    def get_tracking_uri(): return ""
    def set_tracking_uri(uri): ...
    def log_metric(key, value): logged.append(key)
"""


def use_the_counterfeit(name: str) -> dict[str, Any]:
    import mlflow

    mlflow.log_metric(name, 1)
    return {"version": mlflow.__version__, "logged": list(mlflow.logged)}  # type: ignore[attr-defined]


def test_tasks_succeed_beside_an_mlflow_of_which_nothing_private_is_known(tmp_path: Path) -> None:
    package = tmp_path / "elsewhere" / "mlflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(dedent(COUNTERFEIT))
    (package / "exceptions.py").write_text("class MlflowException(Exception): ...\n")
    p = Pipeline("counterfeit", base_dir=tmp_path)
    first = p.function(use_the_counterfeit, name="first", parameters={"name": "first"}, isolation="shared")
    p.function(use_the_counterfeit, name="second", parameters={"name": "second"}, after=[first], isolation="shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(package.parent), prepend=os.pathsep)
        result = p.run(executor="process", num_cpus=1, progress=False, output_dir=tmp_path / "runs")
    assert result.status is RunStatus.SUCCEEDED, {name: task.failure for name, task in result.tasks.items()}
    assert result.tasks["second"].outputs["return"] == {"version": "4.0.0", "logged": ["first", "second"]}
    log = (result.folder / result.tasks["second"].attempts[0].folder / "output.log").read_text()
    assert "MLflow 4.0.0 has changed mlflow.tracking.fluent._active_experiment_id" in log


@pytest.mark.parametrize(
    "change",
    [
        "del store.SqlAlchemyStore._get_or_create_engine",
        "store.SqlAlchemyStore._get_or_create_engine = staticmethod(lambda uri, pool, *, readonly: None)",
        "db.create_sqlalchemy_engine_with_retry, db.create_sqlalchemy_engine = db.create_sqlalchemy_engine, lambda: 0",
        "import mlflow.utils.async_logging.run_operations as operations; del operations.RunOperations",
    ],
)
def test_a_task_s_calls_are_kept_by_a_store_that_works_in_another_way(change: str, tmp_path: Path) -> None:
    (tmp_path / "attempt").mkdir()
    code = f"""
        import mlflow
        import mlflow.store.db.utils as db
        import mlflow.store.tracking.sqlalchemy_store as store
        {change}
        mlflow.log_metric("one", 1)
        mlflow.log_metric("two", 2, synchronous=False).wait()
    """
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"pynb-dag-runner://{tmp_path / 'attempt'}"}
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "attempt/mlflow/mlflow.db").is_file()


def test_without_migrations_the_schema_is_that_of_new_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic.script import ScriptDirectory

    known = internals.schema()

    def gone(*_: object) -> None:
        raise OSError("no such directory")

    monkeypatch.setattr(ScriptDirectory, "get_current_head", gone)
    assert internals.schema() == known
