"""A secret may be a word of ours; and what a secret was taken from is not inherited by tasks."""

import os
from pathlib import Path

import nbformat
import pytest

from mlflow_bridge import upload
from pynb_dag_runner import Pipeline, Secret, pipeline, tracking
from pynb_dag_runner.model.run_settings import ExecutorName
from pynb_dag_runner.run_folder import read_attempt_details, read_run
from pynb_dag_runner.run_folder.records import AttemptRecord, Metric, TrackingRecord
from pynb_dag_runner.secrets.masking import MASK, Redactor
from pynb_dag_runner.secrets.own_names import FILES, KEYS
from tests.faults.leaks import SECRET, run, write_notebook

WORDS = [
    *("json", "note", "output", "attempt", "cell_type", "name", "text/plain", "SUCCEEDED", "output.log", "artifacts"),
    *("return", "value", "timestamp", "params", "stream", "stdout", "code", "python3", "language_info", "parameters"),
    *("metrics.jsonl", "train", "word", "step", "active", "FINISHED", "mlflow", "execution_count", "user", "notebook"),
]

LOGS = """
import mlflow
from pynb_dag_runner import tracking
tracking.log_metric("accuracy", 0.5, step=3)
tracking.log_param("depth", 4)
tracking.set_output("score", 7)
tracking.log_text("text", "output.txt")
print("said: output of SUCCEEDED")
with mlflow.start_run(run_name="inner"):
    mlflow.log_metric("loss", 0.25)
{"shown": 1}
"""


def train(word: list[str]) -> dict[str, int]:
    tracking.log_metric("accuracy", 0.5)
    tracking.set_output("count", len(word))
    return {"json": len(word)}


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_a_secret_that_is_a_word_of_ours_leaves_the_folder_whole(tmp_path: Path) -> None:
    write_notebook(tmp_path, LOGS)
    p = Pipeline("words", base_dir=tmp_path, parameters={"word": Secret(WORDS)})
    p.function(train, name="train", parameters={"word": Secret(WORDS)})
    p.notebook("misuse.py", name="notebook", parameters={"api_key": Secret(WORDS)})
    result = run(p, tmp_path, "process")
    assert {name: task.status for name, task in result.tasks.items()} == {"train": "SUCCEEDED", "notebook": "SUCCEEDED"}

    attempts = {name: task.attempts[0] for name, task in result.tasks.items()}
    folder = result.folder / attempts["notebook"].folder
    assert {path.name for path in folder.iterdir()} == {
        *("attempt.json", "notebook.ipynb", "notebook.html", "output.log", "metrics.jsonl", "tracking.json"),
        *("artifacts", "mlflow"),
    }
    assert attempts["train"].outputs == {"count": len(WORDS), "return": {MASK: len(WORDS)}}
    assert attempts["notebook"].outputs == {"score": 7}
    assert attempts["notebook"].parameters == {"api_key": MASK}
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    shown = [output.data for output in notebook.cells[-1].outputs if output.output_type == "execute_result"]
    assert shown == [{"text/plain": "{'shown': 1}"}]
    # What the task made is still searched.
    assert f"said: {MASK} of {MASK}\n" in (folder / "output.log").read_text()
    assert [path.name for path in (folder / "artifacts").iterdir()] == [f"{MASK}.txt"]

    run_again = read_run(result.folder)
    assert [task.status for task in run_again.tasks] == ["SUCCEEDED", "SUCCEEDED"]
    for attempt in attempts.values():
        assert [(metric.key, metric.value) for metric in read_attempt_details(run_again, attempt).metrics] == [
            ("accuracy", 0.5)
        ]
    uploaded = upload(result.folder, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert uploaded.warnings == ()


def test_the_names_of_our_formats_are_all_known() -> None:
    for record in (AttemptRecord, TrackingRecord, Metric):
        assert set(record.model_fields) <= KEYS, record
    for part in ("cell", "output", "notebook"):
        assert part in " ".join(sorted(KEYS | FILES))
    redactor = Redactor(["note", "json"])
    assert redactor.value({"text/json": "note", "notebooks": 1}) == {f"text/{MASK}": MASK, f"{MASK}books": 1}


SHOW = """
import os, pathlib, subprocess
from pynb_dag_runner import tracking
inherited = subprocess.run(["env"], capture_output=True, check=True).stdout.decode()
tracking.set_output("names", [name for name in ("THE_KEY", "FOR_LIBRARIES") if f"\\n{name}=" in "\\n" + inherited])
tracking.set_output("own", [name for name in ("THE_KEY", "FOR_LIBRARIES") if name in os.environ])
tracking.set_output("given", len(api_key))
"""


def shows(api_key: str) -> None:
    exec(SHOW, {"api_key": api_key})


@pipeline
def taking(p: Pipeline, api_key: Secret[str], other: Secret[str]) -> None:
    p.function(shows, name="function", parameters={"api_key": api_key})
    p.notebook(Path(os.environ["THE_NOTEBOOK"]), name="notebook", parameters={"api_key": other})


@pytest.mark.parametrize("executor", ["inline", "process", "ray"])
def test_a_variable_that_a_secret_is_taken_from_is_not_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: ExecutorName
) -> None:
    write_notebook(tmp_path, SHOW)
    monkeypatch.setenv("THE_NOTEBOOK", str(tmp_path / "misuse.py"))
    monkeypatch.setenv("THE_KEY", SECRET)
    monkeypatch.setenv("FOR_LIBRARIES", "a-token-of-a-library")
    monkeypatch.setenv("PYNB_DAG_RUNNER_REDACT", "FOR_LIBRARIES")
    given = {"api_key": "@env:THE_KEY", "other": "@env:FOR_LIBRARIES"}
    result = taking.run(parameters=given, output_dir=tmp_path, executor=executor, progress=False)
    assert {name: task.outputs for name, task in result.tasks.items()} == {
        "function": {"names": ["FOR_LIBRARIES"], "own": ["FOR_LIBRARIES"], "given": len(SECRET), "return": None},
        "notebook": {"names": ["FOR_LIBRARIES"], "own": ["FOR_LIBRARIES"], "given": len("a-token-of-a-library")},
    }
    assert os.environ["THE_KEY"] == SECRET  # for the next run, and for a resume
    assert taking.resume(result.folder, executor=executor, progress=False).status == "SUCCEEDED"
