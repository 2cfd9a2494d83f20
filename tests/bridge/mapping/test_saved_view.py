"""The saved view of an experiment, and the metrics that a pipeline promotes to its run."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from mlflow_bridge import StoreError, upload
from mlflow_bridge.limits import MAX_EXPERIMENT_TAG_CHARACTERS
from mlflow_bridge.mapping.saved_view import VIEW, VIEW_DIGEST, view_tags
from mlflow_bridge.store import MlflowStore
from mlflow_bridge.uploads.one_run import upload_folder
from pynb_dag_runner import Pipeline, UsageError, tracking
from pynb_dag_runner.run_folder import read_run
from pynb_dag_runner.run_folder.records import GitRecord
from tests.bridge.mlflow_contents import Contents
from tests.bridge.run_folders import Task, make_run
from tests.bridge.uploads.test_repeated import watched


def score(level: float) -> None:
    tracking.log_metric("roc_auc", 0.5, step=1)
    tracking.log_metric("roc_auc", level, step=2)
    tracking.log_metric("recall@10", level / 2)
    tracking.log_metric("f1@10", level / 3)
    tracking.log_metric("f1_10", 0.0)


def promoting(directory: Path, promoted: Any = ("roc_auc", "recall@10", "f1@10", "absent")) -> Pipeline:
    pipeline = Pipeline("promoting", parameters={"depth": 3, "odd `key`": 1}, base_dir=directory)
    pipeline.function(score, name="fit-1", parameters={"level": 0.75}, promoted_metrics=promoted)
    pipeline.function(score, name="fit-2", parameters={"level": 0.25})
    return pipeline


def run(directory: Path) -> Path:
    return promoting(directory).run(executor="inline", progress=False, output_dir=directory / "runs").folder


def state(view: str) -> dict[str, Any]:
    packed = json.loads(view)["state"].removeprefix("deflate;")
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


def test_promoted_metrics_stand_on_the_run_with_their_last_values(tmp_path: Path, sqlite_uri: str) -> None:
    upload(run(tmp_path), sqlite_uri)
    metrics = Contents(sqlite_uri, "promoting").by_key()[""].data.metrics
    promoted = {key: value for key, value in metrics.items() if key.endswith(("/fit-1", "/fit-2"))}
    durations = {key for key in promoted if key.startswith("task_duration_s/")}
    assert len(durations) == 2
    assert {key: promoted[key] for key in promoted.keys() - durations} == {
        "roc_auc/fit-1": 0.75,
        "recall_10/fit-1": 0.375,
        "f1_10/fit-1": 0.25,  # not the value of the task's other metric, which has this name already
    }


def test_one_name_is_a_list_of_one(tmp_path: Path) -> None:
    result = promoting(tmp_path, "roc_auc").run(executor="inline", progress=False, output_dir=tmp_path / "runs")
    assert read_run(result.folder).tasks[0].options.promoted_metrics == ("roc_auc",)


def test_a_promoted_metric_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="promoted_metrics must be names of metrics, got 3"):
        promoting(tmp_path, [3]).run(executor="inline", progress=False, output_dir=tmp_path / "runs")


def test_the_view_shows_pipeline_runs_with_what_they_are_compared_by(tmp_path: Path, sqlite_uri: str) -> None:
    upload(run(tmp_path), sqlite_uri)
    contents = Contents(sqlite_uri, "promoting")
    found = state(contents.client.get_experiment(contents.experiment_id).tags[VIEW])
    assert found["searchFilter"] == "tags.`pynb_dag_runner.kind` = 'pipeline'"
    assert found["selectedColumns"] == [
        "tags.`pynb_dag_runner.status`",
        "metrics.`tasks/failed`",
        "metrics.`tasks/total`",
        "metrics.`roc_auc/fit-1`",
        "metrics.`recall_10/fit-1`",
        "metrics.`f1_10/fit-1`",
        "metrics.`absent/fit-1`",
        "params.`depth`",
        "params.`odd _key_`",
    ]


def test_a_view_is_written_once_and_follows_the_pipeline_until_a_user_takes_it_over(tmp_path: Path) -> None:
    first = read_run(make_run(tmp_path / "a", Task(), parameters={"depth": 1}))
    other = read_run(make_run(tmp_path / "b", Task(), parameters={"width": 1}))
    written = view_tags(first, {})
    assert view_tags(first, written) == {}
    assert state(view_tags(other, written)[VIEW])["selectedColumns"][-1] == "params.`width`"
    assert view_tags(other, {**written, VIEW: "changed by a user"}) == {}
    assert view_tags(other, {VIEW_DIGEST: written[VIEW_DIGEST]}) == {}


def test_the_view_shows_the_commit_of_runs_that_have_one(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, Task(), git=GitRecord(commit="0123abc", branch="main", dirty=False)))
    assert state(view_tags(run, {})[VIEW])["selectedColumns"][-1] == "attributes.`Version`"


def test_a_view_fits_into_its_tag_however_long_the_names_are(tmp_path: Path) -> None:
    names = {"𝔸" * 1000 + str(number): number for number in range(20)}
    view = view_tags(read_run(make_run(tmp_path, Task(), parameters=names)), {})[VIEW]
    assert len(view) <= MAX_EXPERIMENT_TAG_CHARACTERS
    assert len(state(view)["selectedColumns"]) == 3 + 6


def test_a_removed_view_is_not_put_back_and_links_do_without_it(
    server_uri: str, experiment: str, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "a", Task())
    first = upload(folder, server_uri, experiment)
    page = f"{server_uri}/#/experiments/{first.experiment_id}/runs?workflowType=machine_learning"
    assert first.view_url == f"{page}&viewStateShareKey=pynb-dag-runner"
    assert upload(folder, server_uri, experiment).view_url == first.view_url
    contents = Contents(server_uri, experiment)
    contents.client.delete_experiment_tag(contents.experiment_id, VIEW)
    again = upload(make_run(tmp_path / "b", Task(), run_id="other"), server_uri, experiment)
    assert again.view_url == page
    assert VIEW not in contents.client.get_experiment(contents.experiment_id).tags


def test_an_upload_to_a_store_that_refuses_the_view_is_complete_and_says_so(
    sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path
) -> None:
    def refuse(call: int, name: str) -> None:
        if name == "tag_experiment":
            raise StoreError("not allowed")

    result = upload_folder(make_run(tmp_path / "runs", Task()), watched(sqlite_store, refuse))
    assert result.warnings == ("the experiment has no saved view of its pipeline runs: not allowed",)
    assert {mark for _, mark in Contents(sqlite_uri, "digits").statuses().values()} == {"complete"}
