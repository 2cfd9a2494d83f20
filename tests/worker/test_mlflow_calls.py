"""What a task's environment says to MLflow; that MLflow does it is tested with the bridge."""

import os
import sys
from pathlib import Path

import pytest

from pynb_dag_runner.notebooks import kernel_choice
from pynb_dag_runner.notebooks.kernel_names import OWN
from pynb_dag_runner.worker import mlflow_calls

FOLDER = Path("/runs/a b/100%")


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)


def test_logging_goes_to_the_attempts_folder_unless_the_user_said_where(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = "pynb-dag-runner:///runs/a%20b/100%25"
    expected = {"MLFLOW_TRACKING_URI": ours, "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}
    assert mlflow_calls.environment(FOLDER) == expected
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "pynb-dag-runner:///runs/of-the-task-that-runs-this-pipeline")
    assert mlflow_calls.environment(FOLDER) == expected
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "17")
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "true")
    assert mlflow_calls.environment(FOLDER) == {"MLFLOW_TRACKING_URI": ours, "MLFLOW_EXPERIMENT_ID": "0"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert mlflow_calls.environment(FOLDER) == {}


def test_other_interpreters_are_told_nothing_that_they_might_not_understand() -> None:
    own = {"PYNB_DAG_RUNNER_TASK": "it"}
    environment = mlflow_calls.environment(FOLDER) | own
    assert mlflow_calls.for_another_interpreter(environment) == own
    live = {"MLFLOW_RUN_ID": "1"} | own
    assert mlflow_calls.for_another_interpreter(live) == live


def test_a_kernelspec_is_known_by_what_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, program in (("mine", sys.executable), ("generic", "python3"), ("other", "/usr/bin/python-of-another")):
        (tmp_path / "kernels" / name).mkdir(parents=True)
        (tmp_path / "kernels" / name / "kernel.json").write_text(
            f'{{"argv": ["{program}", "-m", "ipykernel_launcher"], "display_name": "{name}", "language": "python"}}'
        )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert [kernel_choice.is_own(name) for name in (OWN, "mine", "generic", "other")] == [True, True, True, False]


def test_a_process_without_mlflow_does_not_import_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "mlflow" or name.startswith("mlflow.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("MLFLOW_KEPT", "before")
    with mlflow_calls.isolated():
        mlflow_calls.environment(FOLDER)
        os.environ["MLFLOW_KEPT"] = "changed"
        os.environ["MLFLOW_NEW"] = "new"
    assert "mlflow" not in sys.modules
    assert {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")} == {
        "MLFLOW_KEPT": "before"
    }
