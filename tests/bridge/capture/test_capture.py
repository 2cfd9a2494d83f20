"""MLflow calls in tasks: kept in the run folder with no server, and found in MLflow after the upload.

One run with everything in it serves most of these tests: MLflow takes seconds to import, in each process.
"""

import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from mlflow_bridge import UploadOutcome, upload
from mlflow_bridge.model.captured_values import NOTHING, Captured
from mlflow_bridge.source.captured_database import read_captured
from pynb_dag_runner import Pipeline, RunResult, read_run
from tests.bridge.mlflow_contents import Contents

NOTEBOOK = """
    # %% tags=["parameters"]
    size = 3
    # %%
    import mlflow, numpy
    from mlflow.pyfunc import PythonModel
    from sklearn.linear_model import LogisticRegression
    from pynb_dag_runner import tracking
    mlflow.sklearn.autolog(log_models=False)
    features = numpy.arange(20.0).reshape(-1, 2)
    mlflow.log_input(mlflow.data.from_numpy(features, name="ours"), context="training")
    LogisticRegression().fit(features, numpy.arange(10) % 2)
    mlflow.log_param("size", 4)
    tracking.log_param("both", "tracking")
    mlflow.log_param("both", "mlflow")
    for step in range(3):
        mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    mlflow.log_metric("nothing", float("nan"))
    mlflow.log_metric("endless", float("-inf"))
    mlflow.log_text("hello", "texts/hello.txt")
    mlflow.log_text("not the runner's", "output.log")
    mlflow.set_tag("mood", "good")
    print("to the runner's")
    # %%
    class Echo(PythonModel):
        def predict(self, context, model_input: list[str]) -> list[str]:
            return model_input
    model = mlflow.pyfunc.log_model(
        name="echo", python_model=Echo(), pip_requirements=[], registered_model_name="registered", params={"depth": 2}
    )
    mlflow.log_metric("score", 0.5, step=2, model_id=model.model_id)
    with mlflow.start_run(nested=True, run_name="outer"):
        mlflow.log_metric("depth", 1)
        with mlflow.start_run(nested=True, run_name="inner", description="the inner one"):
            mlflow.log_metric("depth", 2)
            mlflow.log_text("inside", "inside.txt")
"""


def leave_everything_open() -> int:
    import mlflow

    mlflow.autolog()
    mlflow.set_experiment("elsewhere")
    mlflow.start_run(run_name="left open")
    mlflow.log_metric("first", 1)
    thread = threading.Thread(target=lambda: mlflow.start_run(run_name="of a thread", nested=True))
    thread.start()
    thread.join()
    mlflow.set_registry_uri("sqlite:///registry.db")
    mlflow.set_tracking_uri("sqlite:///somewhere-else.db")
    return os.getpid()


def look_around(before: int) -> dict[str, Any]:
    import mlflow
    from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS

    found: dict[str, Any] = {
        "same process": os.getpid() == before,
        "run": mlflow.active_run() and "one",
        "last run": mlflow.last_active_run() and "one",
        "autologging": [name for name, config in AUTOLOGGING_INTEGRATIONS.items() if config],
        "tracking": mlflow.get_tracking_uri().startswith("pynb-dag-runner:"),
        "registry": mlflow.get_registry_uri().startswith("pynb-dag-runner:"),
    }
    mlflow.log_metric("second", 2)
    run: Any = mlflow.active_run()
    found["experiment"] = mlflow.get_experiment(run.info.experiment_id).name
    open_files = [str(entry.resolve()) for entry in Path("/proc/self/fd").iterdir()]
    found["files"] = len({name for name in open_files if name.endswith("mlflow.db")})
    return found


def fail_with_a_run_open() -> None:
    import mlflow

    mlflow.log_metric("before", 1)
    raise ValueError("on purpose")


def die_in_the_middle_of_a_write() -> str:
    import mlflow

    from pynb_dag_runner import tracking

    mlflow.log_metric("alive", 1)
    folder = Path(os.environ[tracking.ATTEMPT_DIR_VARIABLE])
    if folder.name == "attempt-2":
        return "alive"
    connection = sqlite3.connect(folder / "mlflow/mlflow.db", isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    connection.execute("UPDATE metrics SET key = 'half'")
    connection.execute("CREATE TABLE large (value)")
    connection.executemany("INSERT INTO large VALUES (?)", [["x" * 900]] * 999)
    os.kill(os.getpid(), signal.SIGKILL)
    return "dead"


def use_no_mlflow() -> bool:
    return "mlflow" in sys.modules


@dataclass(frozen=True)
class Recorded:
    """The run, and what each task's last attempt captured."""

    result: RunResult

    def captured(self, task: str, attempt: int = -1) -> Captured:
        run = read_run(self.result.folder)
        return read_captured(run.folder, run.by_name[task].attempts[attempt])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    base = tmp_path_factory.mktemp("capture's # 100%25? place")
    (base / "train.py").write_text(dedent(NOTEBOOK).lstrip())
    p = Pipeline("capturing", base_dir=base)
    train = p.notebook("train.py", name="it's/a # train?", parameters={"size": 3})
    first = p.function(leave_everything_open, name="first", after=[train], isolation="shared")
    second = p.function(look_around, name="second", parameters={"before": first.output("return")}, isolation="shared")
    dying = p.function(die_in_the_middle_of_a_write, name="dying", retries=1, after=[second])
    p.function(fail_with_a_run_open, name="failing", after=[dying])
    p.function(use_no_mlflow, name="plain", after=[second], isolation="shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(base)
        yield Recorded(p.run(executor="process", num_cpus=1, progress=False, output_dir=base / "runs"))


def test_what_one_task_leaves_behind_in_mlflow_does_not_reach_the_next(recorded: Recorded) -> None:
    tasks = recorded.result.tasks
    assert tasks["second"].outputs["return"] == {
        "same process": True,
        "run": None,
        "last run": None,
        "autologging": [],
        "tracking": True,
        "registry": True,
        "experiment": "Default",
        "files": 1,
    }
    first = recorded.captured("first")
    assert {(run.name, run.experiment) for run in first.runs} >= {("left open", "elsewhere")}
    assert [point.key for run in recorded.captured("second").runs for point in run.metrics] == ["second"]


def test_runs_end_as_their_task_does(recorded: Recorded) -> None:
    assert [(run.status, run.end_ms is None) for run in recorded.captured("second").runs] == [("FINISHED", False)]
    assert [(run.status, run.end_ms is None) for run in recorded.captured("failing").runs] == [("FAILED", False)]


def test_a_write_that_a_kill_cut_off_is_undone_on_reading(recorded: Recorded) -> None:
    attempts = [recorded.result.folder / attempt.folder for attempt in recorded.result.tasks["dying"].attempts]
    assert (attempts[0] / "mlflow/mlflow.db-journal").stat().st_size > 0
    for number in (0, 1):
        captured = recorded.captured("dying", number)
        assert [point.key for run in captured.runs for point in run.metrics] == ["alive"]
        assert captured.warnings == ()


def test_a_task_without_mlflow_gets_no_folder_for_it(recorded: Recorded) -> None:
    folder = recorded.result.folder / recorded.result.tasks["plain"].attempts[0].folder
    assert not (folder / "mlflow").exists()
    assert recorded.captured("plain") == NOTHING
    assert sorted(path.name for path in recorded.result.folder.parents[2].iterdir()) == ["runs", "train.py"]


@pytest.fixture(scope="module")
def uploaded(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Contents:
    uri = f"sqlite:///{tmp_path_factory.mktemp('uploaded') / 'mlflow.db'}"
    assert upload(recorded.result.folder, uri).warnings == ()
    return Contents(uri, "capturing")


def test_a_task_s_main_run_joins_its_own(uploaded: Contents) -> None:
    run: Any = uploaded.by_key()["it's%2Fa # train%3F"]
    params, tags, metrics = run.data.params, run.data.tags, run.data.metrics
    assert {name: params[name] for name in ("size", "parameter.size", "both", "mlflow.both", "max_iter")} == {
        "size": "4",
        "parameter.size": "3",
        "both": "tracking",
        "mlflow.both": "mlflow",
        "max_iter": "100",
    }
    loss = uploaded.client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in loss] == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert metrics["nothing"] != metrics["nothing"]
    assert metrics["endless"] < -1e308
    assert metrics["training_score"] <= 1
    assert (tags["mood"], tags["estimator_name"]) == ("good", "LogisticRegression")
    assert not [name for name in tags if name.startswith("user.")]
    assert tags["mlflow.source.name"].endswith("train.py")
    [ours, of_autolog] = sorted(run.inputs.dataset_inputs, key=lambda used: used.dataset.name != "ours")
    assert [(tag.key, tag.value) for tag in ours.tags] == [("mlflow.data.context", "training")]
    assert of_autolog.dataset.digest
    artifacts = uploaded.artifacts(run)
    assert {"texts/hello.txt", "estimator.html", "mlflow/output.log", "output.log", "notebook.html"} <= set(artifacts)


def test_further_runs_are_nested_as_the_task_nested_them(uploaded: Contents) -> None:
    by_name = {run.info.run_name: run for run in uploaded.runs()}
    task, outer, inner = by_name["it's/a # train?"], by_name["outer"], by_name["inner"]
    assert outer.data.tags["mlflow.parentRunId"] == task.info.run_id
    assert inner.data.tags["mlflow.parentRunId"] == outer.info.run_id
    assert (outer.data.metrics, inner.data.metrics) == ({"depth": 1}, {"depth": 2})
    assert inner.data.tags["mlflow.note.content"] == "the inner one"
    assert uploaded.artifacts(inner) == ["inside.txt"]
    assert task.info.start_time <= outer.info.start_time <= inner.info.start_time <= inner.info.end_time
    assert {run.info.status for run in (task, outer, inner)} == {"FINISHED"}
    assert by_name["dying (attempt 1)"].data.metrics["alive"] == by_name["dying"].data.metrics["alive"] == 1


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_models_can_be_loaded_and_say_where_they_are_now(uploaded: Contents, recorded: Recorded) -> None:
    import mlflow.pyfunc

    model: Any
    [model] = uploaded.client.search_logged_models([uploaded.experiment_id])
    [captured] = recorded.captured("it's/a # train?").runs[0].models
    run: Any = uploaded.client.get_run(model.source_run_id)
    assert (model.name, model.params["depth"], str(model.status)) == ("echo", "2", "READY")
    assert model.tags["pynb_dag_runner.registered_as"] == "registered"
    assert run.info.run_name == "it's/a # train?"
    assert [(output.model_id, output.step) for output in run.outputs.model_outputs] == [(model.model_id, 0)]
    assert {(metric.key, metric.value, metric.step) for metric in model.metrics} >= {
        ("score", 0.5, 2),
        ("loss", 1.0, 0),
    }
    nothing = uploaded.client.get_metric_history(run.info.run_id, "nothing")
    assert [point.value != point.value for point in nothing] == [True]
    folder = Path(model.artifact_location)
    described = (folder / "MLmodel").read_text()
    assert described.count(model.model_id) >= 2
    assert captured.id not in described
    assert str(recorded.result.folder) not in described
    loaded = mlflow.pyfunc.load_model(str(folder))
    assert loaded.predict(["echo"]) == ["echo"]
    assert (loaded.metadata.run_id, loaded.metadata.model_id) == (run.info.run_id, model.model_id)


def test_an_upload_that_was_cut_off_makes_no_second_of_anything(uploaded: Contents, recorded: Recorded) -> None:
    def contents() -> dict[str, Any]:
        runs: Any = uploaded.by_key()
        return {
            key: (run.info.run_id, run.data.metrics.keys(), run.data.params, len(run.outputs.model_outputs))
            for key, run in runs.items()
        }

    before = contents()
    models = [model.to_dictionary() for model in uploaded.client.search_logged_models([uploaded.experiment_id])]
    assert upload(recorded.result.folder, uploaded.uri).outcome is UploadOutcome.UNCHANGED
    for run in uploaded.runs():
        if run.data.tags["pynb_dag_runner.kind"] != "attempt":
            uploaded.client.delete_tag(run.info.run_id, "pynb_dag_runner.upload")
    for model in uploaded.client.search_logged_models([uploaded.experiment_id]):
        uploaded.client.delete_logged_model_tag(model.model_id, "pynb_dag_runner.upload")
    assert upload(recorded.result.folder, uploaded.uri).outcome is UploadOutcome.COMPLETED
    assert contents() == before
    again = [model.to_dictionary() for model in uploaded.client.search_logged_models([uploaded.experiment_id])]
    assert [(one["model_id"], one["metrics"]) for one in again] == [(one["model_id"], one["metrics"]) for one in models]


def summary(contents: Contents) -> dict[str, Any]:
    """What a store has of the run, without ids and times of its own."""
    models: Any = contents.client.search_logged_models([contents.experiment_id])
    runs: Any = contents.by_key()
    return {
        "models": [
            (model.name, model.params, sorted((metric.key, metric.step) for metric in model.metrics))
            for model in models
        ],
        "runs": {
            key: (
                run.data.params,
                run.data.metrics.keys(),
                sorted(used.dataset.name for used in run.inputs.dataset_inputs),
                len(run.outputs.model_outputs),
                contents.artifacts(run),
            )
            for key, run in runs.items()
        },
        "tree": contents.tree(),
    }


def test_a_server_gets_the_same(recorded: Recorded, uploaded: Contents, server_uri: str, tmp_path: Path) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    upload(recorded.result.folder, server_uri, "captured")
    served = Contents(server_uri, "captured")
    assert summary(served) == summary(uploaded)
    model: Any
    [model] = served.client.search_logged_models([served.experiment_id])
    get_artifact_repository(model.artifact_location, tracking_uri=server_uri).download_artifacts("", str(tmp_path))
    assert model.model_id in (tmp_path / "MLmodel").read_text()
    assert (tmp_path / "python_model.pkl").stat().st_size > 0
