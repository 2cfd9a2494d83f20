"""Traces that tasks record with MLflow's own calls: after an upload they are at the right runs, and only once."""

import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlflow_bridge import StoreError, UploadOutcome, upload
from mlflow_bridge.errors import TooLargeError
from mlflow_bridge.source.captured_database import read_captured
from mlflow_bridge.store import MlflowStore
from mlflow_bridge.uploads.one_run import upload_folder
from pynb_dag_runner import RunResult, read_run
from tests.bridge.mlflow_contents import Contents
from tests.bridge.traced_run import BY_RUN, PICTURE, QUESTION, Traces, traced_run
from tests.bridge.uploads.test_repeated import watched

FAILING = "request_id = (SELECT trace_id FROM spans WHERE name = 'failing')"
"""Versions of MLflow differ in where they keep a trace's name."""

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return traced_run(tmp_path_factory.mktemp("traces"))


def test_traces_hang_at_the_runs_in_which_they_were_recorded(
    recorded: RunResult, uri: str, experiment: str, tmp_path: Path
) -> None:
    assert upload(recorded.folder, uri, experiment).warnings == ()
    traces = Traces(Contents(uri, experiment))
    assert traces.by_run() == BY_RUN
    captured = read_captured(recorded.folder, read_run(recorded.folder).by_name["it's/asked"].attempts[0]).traces
    looked, inside, failed, _ = traces.found()
    assert [one.info.request_time for one in (looked, inside, failed)] == [one.start_ms for one in captured]
    outer, inner = looked.data.spans
    assert (outer.name, inner.name, inner.parent_id, inner.span_type) == ("look", "answer", outer.span_id, "LLM")
    assert (inner.inputs, inner.outputs) == ({"question": QUESTION}, QUESTION.upper())
    assert outer.start_time_ns <= inner.start_time_ns <= inner.end_time_ns <= outer.end_time_ns
    assert looked.info.token_usage["total_tokens"] == 7
    assert (looked.info.tags["mood"], looked.info.trace_metadata["mlflow.trace.session"]) == ("good", "talk")
    assert (str(looked.info.state), str(failed.info.state)) == ("OK", "ERROR")
    [event] = failed.data.spans[0].events
    assert event.attributes["exception.message"] == "on purpose"
    assert looked.info.trace_metadata["mlflow.source.name"].endswith("ask")


def test_attachments_are_found_from_the_new_trace(
    recorded: RunResult, uri: str, experiment: str, tmp_path: Path
) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.tracing.attachments import Attachment

    upload(recorded.folder, uri, experiment)
    looked = Traces(Contents(uri, experiment)).found()[0]
    link: Any = Attachment.parse_ref(looked.data.spans[0].inputs["picture"])
    assert link["trace_id"] == looked.info.trace_id
    place = get_artifact_repository(looked.info.tags["mlflow.artifactLocation"], tracking_uri=uri)
    place.download_artifacts(f"attachments/{link['attachment_id']}", str(tmp_path))
    assert (tmp_path / "attachments" / link["attachment_id"]).read_bytes() == PICTURE


def test_what_was_said_of_a_trace_comes_with_it(recorded: RunResult, uri: str, experiment: str) -> None:
    upload(recorded.folder, uri, experiment)
    failed = Traces(Contents(uri, experiment)).found()[2]
    said = {one.name: one for one in failed.info.assessments}
    assert {name: one.value for name, one in said.items()} == {
        "useful": False,
        "taken back": 2,
        "expected": {"answer": 42},
    }
    useful = said["useful"]
    assert (useful.source.source_type, useful.source.source_id, useful.rationale) == ("HUMAN", "ada", "it failed")
    assert useful.create_time_ms < time.time() * 1000 - 1


def test_a_trace_names_its_model_as_it_is_called_now(recorded: RunResult, uri: str, experiment: str) -> None:
    upload(recorded.folder, uri, experiment)
    contents = Contents(uri, experiment)
    model: Any
    [model] = contents.client.search_logged_models([contents.experiment_id])
    assert model.model_id != recorded.tasks["model"].outputs["return"]
    assert Traces(contents).found()[3].info.trace_metadata["mlflow.modelId"] == model.model_id


def test_traces_are_there_once_however_often_and_wherever_they_are_sent(
    recorded: RunResult, uri: str, experiment: str
) -> None:
    upload(recorded.folder, uri, experiment)
    contents = Contents(uri, experiment)
    before = contents_of(Traces(contents))
    for run in contents.runs():
        contents.client.delete_tag(run.info.run_id, "pynb_dag_runner.upload")
    assert upload(recorded.folder, uri, experiment).outcome is UploadOutcome.COMPLETED
    assert contents_of(Traces(contents)) == before
    upload(recorded.folder, uri, f"{experiment} elsewhere")
    elsewhere = contents_of(Traces(Contents(uri, f"{experiment} elsewhere")))
    assert [rest for _, rest in elsewhere.items()] == [rest for _, rest in before.items()]
    assert not elsewhere.keys() & before.keys()
    assert contents_of(Traces(contents)) == before


def contents_of(traces: Traces) -> Mapping[str, object]:
    return {
        one.info.trace_id: ([span.name for span in one.data.spans], sorted(said.name for said in one.info.assessments))
        for one in traces.found()
    }


def test_after_two_uploads_traces_belong_to_the_runs_that_are_left(
    sqlite_store: MlflowStore, sqlite_uri: str, recorded: RunResult, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(recorded.folder, copy)
    met: set[str] = set()
    for experiment in "abcd":  # which run is left depends on ids that MLflow draws

        def meet(call: int, name: str, experiment: str = experiment) -> None:
            if name == "create_run" and experiment not in met:
                met.add(experiment)
                upload_folder(copy, sqlite_store, experiment=experiment)

        upload_folder(recorded.folder, watched(sqlite_store, meet), experiment=experiment)
        assert Traces(Contents(sqlite_uri, experiment)).by_run() == BY_RUN


def test_a_store_that_refuses_traces_gets_the_rest_and_it_is_said(
    sqlite_store: MlflowStore, sqlite_uri: str, recorded: RunResult
) -> None:
    def before(call: int, name: str) -> None:
        if name == "log_task_trace":
            raise StoreError("no traces here")

    result = upload_folder(recorded.folder, watched(sqlite_store, before))
    assert result.warnings == (
        "3 of the 3 traces that the task it's/asked recorded were left out: no traces here",
        "1 of the 1 traces that the task model recorded were left out: no traces here",
    )
    assert {mark for _, mark in Contents(sqlite_uri, "tracing").statuses().values()} == {"complete"}


def test_traces_that_are_too_large_do_not_keep_others_away(
    sqlite_store: MlflowStore, recorded: RunResult, tmp_path: Path
) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(recorded.folder, folder)
    [attempt] = read_run(folder).by_name["model"].attempts
    with closing(sqlite3.connect(folder / attempt.folder / "mlflow/mlflow.db")) as database, database:
        [row] = database.execute("SELECT * FROM trace_info ORDER BY request_id LIMIT 1").fetchall()
        assert row[0].startswith("tr-")
        for number in range(6):
            copy = (f"tr-{number:032x}", *row[1:])
            database.execute(f"INSERT INTO trace_info VALUES ({', '.join('?' * len(copy))})", copy)
    seen = 0

    def before(call: int, name: str) -> None:
        nonlocal seen
        seen += name == "log_task_trace"
        if name == "log_task_trace" and seen in range(5, 10):  # of the ten, 3 of the first task and 7 of the second
            raise TooLargeError("too large")

    [warning] = upload_folder(folder, watched(sqlite_store, before)).warnings
    assert warning == "5 of the 7 traces that the task model recorded were left out: too large"
    assert seen == 10


def test_traces_in_a_run_that_was_deleted_in_MLflow_are_not_sent(
    sqlite_uri: str, recorded: RunResult, tmp_path: Path
) -> None:
    upload(recorded.folder, sqlite_uri)
    contents = Contents(sqlite_uri, "tracing")
    inner = next(run for run in contents.runs() if run.info.run_name == "inner")
    contents.client.delete_run(inner.info.run_id)
    for one in Traces(contents).found():
        contents.client.delete_traces(contents.experiment_id, trace_ids=[one.info.trace_id])
    for run in contents.runs():
        contents.client.delete_tag(run.info.run_id, "pynb_dag_runner.upload")
    upload(recorded.folder, sqlite_uri)
    assert Traces(contents).by_run() == [one for one in BY_RUN if one[0] != "inner"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE spans SET content = 'no JSON' WHERE name = 'failing'",
        "UPDATE spans SET content = '{}' WHERE name = 'failing'",
        f"UPDATE spans SET content = '{'[' * 100_000}' WHERE name = 'failing'",
        "UPDATE spans SET content = json_set(content, '$.span_id', '../..') WHERE name = 'failing'",
        f"UPDATE trace_info SET timestamp_ms = 1e300 WHERE {FAILING}",
        f"UPDATE trace_info SET status = 'GONE' WHERE {FAILING}",
        "UPDATE assessments SET value = 'no JSON' WHERE name = 'useful'",
    ],
    ids=["no JSON", "no span", "too deep", "no id", "no time", "no state", "no value"],
)
def test_a_trace_that_no_MLflow_makes_is_left_out_and_said(
    change: str, uri: str, experiment: str, recorded: RunResult, tmp_path: Path
) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(recorded.folder, folder)
    [attempt] = read_run(folder).by_name["it's/asked"].attempts
    with closing(sqlite3.connect(folder / attempt.folder / "mlflow/mlflow.db")) as database, database:
        assert database.execute(change).rowcount == 1
    [warning] = upload(folder, uri, experiment).warnings
    assert warning.startswith("1 of the 3 traces that the task it's/asked recorded were left out: ")
    contents = Contents(uri, experiment)
    assert {mark for _, mark in contents.statuses().values()} == {"complete"}
    whole = [one for one in Traces(contents).by_run() if one[1] != "failing"]
    assert whole == [one for one in BY_RUN if one[1] != "failing"]


def test_a_trace_of_another_form_of_id_is_no_trace(sqlite_uri: str, recorded: RunResult, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(recorded.folder, folder)
    [attempt] = read_run(folder).by_name["it's/asked"].attempts
    with closing(sqlite3.connect(folder / attempt.folder / "mlflow/mlflow.db")) as database, database:
        database.execute(f"UPDATE trace_info SET request_id = '../../' || request_id WHERE {FAILING}")
    assert upload(folder, sqlite_uri).warnings == ()
    assert Traces(Contents(sqlite_uri, "tracing")).by_run() == [one for one in BY_RUN if one[1] != "failing"]
