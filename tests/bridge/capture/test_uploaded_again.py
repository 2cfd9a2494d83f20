"""Runs with captured MLflow calls that are resumed between uploads, or come in an archive: each thing is there once."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from mlflow_bridge import UploadOutcome, UploadResult, upload, upload_many
from pynb_dag_runner import Pipeline, RunStatus
from tests.bridge.many_runs import zipped
from tests.bridge.mlflow_contents import Contents

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")

KEPT = "kept"
FLAKY = "flaky"


def log_natively(flag: Path) -> int:
    """A main run with a model, and one nested in it; fails at the end until ``flag`` is there."""
    import mlflow
    from mlflow.pyfunc.model import PythonModel

    class Echo(PythonModel):
        def predict(self, context: Any, model_input: list[str]) -> list[str]:  # type: ignore[override]
            return model_input

    done = flag.exists()
    mlflow.log_param("done", done)
    for step in range(3):
        mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    mlflow.log_text(f"done: {done}", "said.txt")
    mlflow.pyfunc.log_model(name="echo", python_model=Echo(), pip_requirements=[], params={"done": str(done)})
    with mlflow.start_run(nested=True, run_name="extra of " + ("the second" if done else "the first")):
        mlflow.log_metric("depth", 1)
    if not done:
        raise ValueError("on purpose")
    return 1


def pipeline(directory: Path) -> Pipeline:
    """``kept`` succeeds at once; ``flaky`` when there is a file."""
    (directory / "there").touch()
    p = Pipeline("again", base_dir=directory)
    p.function(log_natively, name=KEPT, parameters={"flag": directory / "there"})
    p.function(log_natively, name=FLAKY, parameters={"flag": directory / "later"})
    return p


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of one run, twice: as it failed, and as a resume left it."""
    base = tmp_path_factory.mktemp("again")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        failed = pipeline(base).run(executor="inline", progress=False, output_dir=base / "runs")
        assert failed.status is RunStatus.FAILED
        before = base / "before" / failed.folder.relative_to(base / "runs")
        shutil.copytree(failed.folder, before)
        (base / "later").touch()
        resumed = pipeline(base).resume(failed.folder, executor="inline", progress=False)
        assert resumed.status is RunStatus.SUCCEEDED
    return {"failed": before, "resumed": failed.folder}


def models(contents: Contents) -> list[tuple[str, str]]:
    """The task that each model hangs at, and its parameter."""
    names = {run.info.run_id: run.info.run_name for run in contents.runs()}
    found = contents.client.search_logged_models([contents.experiment_id])
    return sorted((names[str(model.source_run_id)], model.params["done"]) for model in found)


def extras(contents: Contents) -> list[tuple[str, str]]:
    """The task that each extra run hangs below, and its name."""
    names = {run.info.run_id: run.info.run_name for run in contents.runs()}
    return sorted(
        (names[run.data.tags["mlflow.parentRunId"]], run.info.run_name)
        for run in contents.runs()
        if run.info.run_name.startswith("extra")
    )


def assert_resumed(contents: Contents, scratch: Path) -> None:
    """All that there is after the resume, once."""
    by_key = contents.by_key()
    kept, second, first = by_key[KEPT], by_key[FLAKY], by_key[f"{FLAKY}/1"]
    assert [run.data.params["done"] for run in (kept, second, first)] == ["True", "True", "False"]
    assert [run.info.status for run in (kept, second, first)] == ["FINISHED", "FINISHED", "FAILED"]
    assert contents.tree()[f"{FLAKY}/1"] == FLAKY
    for run, said in ((kept, "True"), (second, "True"), (first, "False")):
        assert [(step, value) for value, step, _ in contents.history(run, "loss")] == [
            (0, 1.0),
            (1, 0.5),
            (2, pytest.approx(1 / 3)),
        ]
        directory = scratch / run.info.run_id
        directory.mkdir(parents=True)
        assert contents.content(run, "said.txt", directory) == f"done: {said}".encode()
    first_name = f"{FLAKY} (attempt 1)"
    assert extras(contents) == [
        (FLAKY, "extra of the second"),
        (first_name, "extra of the first"),
        (KEPT, "extra of the second"),
    ]
    assert models(contents) == [(FLAKY, "True"), (first_name, "False"), (KEPT, "True")]


def test_captures_of_a_resumed_run_are_added_and_none_is_doubled(
    stages: dict[str, Path], uri: str, experiment: str, tmp_path: Path
) -> None:
    upload(stages["failed"], uri, experiment)
    contents = Contents(uri, experiment)
    assert extras(contents) == [(FLAKY, "extra of the first"), (KEPT, "extra of the second")]
    assert models(contents) == [(FLAKY, "False"), (KEPT, "True")]
    before = contents.by_key()
    assert upload(stages["resumed"], uri, experiment).outcome is UploadOutcome.UPDATED
    assert_resumed(contents, tmp_path)
    after = contents.by_key()
    assert after[f"{FLAKY}/1"].info.run_id == before[FLAKY].info.run_id
    assert after[KEPT].info.run_id == before[KEPT].info.run_id
    assert upload(stages["resumed"], uri, experiment).outcome is UploadOutcome.UNCHANGED


def test_captures_in_an_archive_arrive_as_those_of_a_folder_do(
    stages: dict[str, Path], sqlite_uri: str, tmp_path: Path
) -> None:
    before = zipped(stages["failed"].parents[1], tmp_path / "before.zip")
    after = zipped(stages["resumed"].parents[1], tmp_path / "after.zip")
    contents = Contents(sqlite_uri, "again")
    for archive, outcome in (
        (before, UploadOutcome.UPLOADED),
        (before, UploadOutcome.UNCHANGED),
        (after, UploadOutcome.UPDATED),
        (after, UploadOutcome.UNCHANGED),
    ):
        (result,) = upload_many([archive], sqlite_uri)
        assert isinstance(result, UploadResult)
        assert result.outcome is outcome
    assert_resumed(contents, tmp_path / "step by step")
    upload_many([after], sqlite_uri, "at once")
    assert_resumed(Contents(sqlite_uri, "at once"), tmp_path / "at once")
