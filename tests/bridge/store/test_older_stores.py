"""Stores of older MLflows than ours: what they do not take is left out, and the rest of the run is there."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from mlflow_bridge import UploadOutcome, upload
from mlflow_bridge.model.values import Batch, MetricPoint
from mlflow_bridge.source.untrusted_database import open_untrusted
from mlflow_bridge.store import MlflowStore
from tests.bridge.captures import MODEL, RUN, TABLES, insert_run, make_capture
from tests.bridge.mlflow_contents import Contents
from tests.bridge.run_folders import Attempt, Task, make_run

LOGGED_MODELS = """
CREATE TABLE logged_models (model_id VARCHAR, name VARCHAR, status INTEGER, model_type VARCHAR, source_run_id VARCHAR,
                            lifecycle_stage VARCHAR, experiment_id INTEGER);
"""


def run_with_a_model(base: Path) -> Path:
    folder = make_run(base / "runs", Task(attempts=[Attempt(metrics=[("loss", 0.5, 0)])]))
    make_capture(
        folder,
        insert_run(),
        f"INSERT INTO metrics VALUES ('native', 0.25, 7, '{RUN}', 3, 0)",
        f"INSERT INTO logged_models VALUES ('{MODEL}', 'echo', 2, NULL, '{RUN}', 'active', 0)",
        tables=TABLES + LOGGED_MODELS,
    )
    return folder


def test_without_logged_models_the_rest_of_a_run_is_uploaded(
    sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As servers of MLflow 2 answer: the page of an unknown address."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def unknown(*_: object, **__: object) -> None:
        raise MlflowException("API request to endpoint /api/2.0/x failed with error code 404 != 200. Body: '<html>'")

    folder = run_with_a_model(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "search_logged_models", unknown)
        result = upload(folder, sqlite_uri)
        assert [warning.partition(" has no ")[2] for warning in result.warnings] == [
            "logged models (MLflow 3 has); left out: echo"
        ]
        assert upload(folder, sqlite_uri).outcome is UploadOutcome.UNCHANGED
    contents = Contents(sqlite_uri, "digits")
    assert contents.by_key()["train"].data.metrics["native"] == 0.25
    assert set(contents.statuses().values()) == {("FINISHED", "complete")}


def test_a_point_without_a_number_is_sent_again_to_a_store_that_refuses_it(
    sqlite_store: MlflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MLflow up to 3.15 does with a point that is there and equals nothing, itself included."""
    from mlflow.exceptions import MlflowException

    client: Any = sqlite_store._client
    as_it_is = client.log_batch

    def old(run_id: str, metrics: Any = (), **others: Any) -> None:
        for metric in metrics:
            for point in client.get_metric_history(run_id, metric.key) if math.isnan(metric.value) else ():
                if math.isnan(point.value) and point.step == metric.step:
                    raise MlflowException("UNIQUE constraint failed")
        as_it_is(run_id, metrics=metrics, **others)

    monkeypatch.setattr(client, "log_batch", old)
    experiment = sqlite_store.create_experiment("old", {})
    run = sqlite_store.create_run(experiment.id, "run", 1, {})

    def batch(*steps: int) -> Batch:
        points = [MetricPoint(key="nothing", value=math.nan, step=step, timestamp_ms=1) for step in steps]
        loss = MetricPoint(key="loss", value=0.5, timestamp_ms=1)
        return Batch(metrics=(loss, *points), tags=(("steps", json.dumps(steps)),))

    sqlite_store.log_batch(run.id, batch(0))
    sqlite_store.log_batch(run.id, batch(0, 1))
    assert sorted(point.step for point in client.get_metric_history(run.id, "nothing")) == [0, 1]
    assert client.get_run(run.id).data.tags["steps"] == "[0, 1]"

    def broken(*_: object, **__: object) -> None:
        raise MlflowException("for another reason")

    monkeypatch.setattr(client, "log_batch", broken)
    with pytest.raises(Exception, match="for another reason"):
        sqlite_store.log_batch(run.id, batch(2))


def test_a_captured_database_is_read_once(sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_with_a_model(tmp_path)
    record = json.loads((folder / "run.json").read_text())
    record["tasks"][0].setdefault("options", {})["promoted_metrics"] = ["native"]
    (folder / "run.json").write_text(json.dumps(record))
    opened = []

    def counted(root: Path, relative: Path) -> Any:
        opened.append(relative)
        return open_untrusted(root, relative)

    monkeypatch.setattr("mlflow_bridge.source.captured_database.open_untrusted", counted)
    assert upload(folder, sqlite_uri).outcome is UploadOutcome.UPLOADED
    assert len(opened) == 1
    assert Contents(sqlite_uri, "digits").by_key()[""].data.metrics["native/train"] == 0.25
