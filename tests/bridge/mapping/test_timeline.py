"""A run as a trace, which MLflow draws as a timeline."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mlflow_bridge import StoreError, upload
from mlflow_bridge.mapping import timeline
from mlflow_bridge.mapping.timeline import Trace, trace_of
from mlflow_bridge.store import MlflowStore
from mlflow_bridge.uploads.one_run import upload_folder
from pynb_dag_runner.model.outcomes import Outcome, RunStatus
from pynb_dag_runner.run_folder import read_run
from tests.bridge.mlflow_contents import Contents
from tests.bridge.run_folders import SKIPPED, START, VALUE_ERROR, Attempt, Task, make_run
from tests.bridge.uploads.test_repeated import watched

RETRIED = Task(
    name="train",
    attempts=(Attempt(outcome=Outcome.FAILED, error=VALUE_ERROR), Attempt(start_s=11, parameters={"depth": 3})),
)
START_NS = 1767323045678 * 1_000_000


def trace(tmp_path: Path, *tasks: Task, **options: object) -> Trace:
    return trace_of(read_run(make_run(tmp_path, *tasks, **options)), "1")  # type: ignore[arg-type]


def test_spans_are_pipeline_task_and_attempt_with_their_own_times(tmp_path: Path) -> None:
    root, task, first, second = trace(tmp_path, RETRIED).spans
    assert [span.name for span in (root, task, first, second)] == ["digits", "train", "attempt 1", "attempt 2"]
    assert [span.parent_id for span in (root, task, first, second)] == [None, root.id, task.id, task.id]
    seconds = [(span.start_ns - START_NS, span.end_ns - START_NS) for span in (root, task, first, second)]
    assert [(a / 1e9, b / 1e9) for a, b in seconds] == [(0, 60), (0, 21), (0, 10), (11, 21)]
    assert [span.failed for span in (root, task, first, second)] == [False, False, True, False]


def test_an_exception_is_an_event_of_the_attempt_and_of_a_task_that_failed(tmp_path: Path) -> None:
    failed = Task(name="a", attempts=(Attempt(outcome=Outcome.FAILED, error=VALUE_ERROR),))
    _, task, attempt = trace(tmp_path, failed, status=RunStatus.FAILED).spans
    assert task.failure == attempt.failure
    assert attempt.failure is not None
    assert (attempt.failure.kind, attempt.failure.message) == ("ValueError", "no | rows")
    assert "train.py" in attempt.failure.traceback


def test_a_task_that_never_ran_has_no_bar(tmp_path: Path) -> None:
    found = trace(tmp_path, Task(name="train", attempts=(Attempt(outcome=Outcome.FAILED),)), SKIPPED)
    assert [span.name for span in found.spans] == ["digits", "train", "attempt 1"]
    assert found.response == "SUCCEEDED: 0 of 2 tasks succeeded"


def test_a_run_whose_driver_died_ends_where_it_is_last_known(tmp_path: Path) -> None:
    found = trace(tmp_path, Task(attempts=(Attempt(outcome=None, start_s=5),)), status=RunStatus.RUNNING)
    assert found.failed
    assert all(span.end_ns >= span.start_ns for span in found.spans)


def test_ids_stay_and_differ_between_runs_and_experiments(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, RETRIED))
    other = replace(run, record=run.record.model_copy(update={"run_id": "other"}))
    ids = [span.id for span in trace_of(run, "1").spans]
    assert ids == [span.id for span in trace_of(run, "1").spans]
    assert len({*ids, *(span.id for span in trace_of(other, "1").spans)}) == 8
    assert len({trace_of(run, "1").id, trace_of(run, "2").id, trace_of(other, "1").id}) == 3


def test_a_large_run_loses_attempts_first_and_then_its_shortest_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "MAX_SPANS", 6)
    tasks = [Task(name=f"t{n}", attempts=(Attempt(seconds=10 - n),)) for n in range(4)]
    names = [span.name for span in trace(tmp_path / "some", *tasks).spans]
    assert names == ["digits", "t0", "t1", "t2", "t3"]
    retried = trace(tmp_path / "retried", RETRIED, *tasks[:2])
    assert retried.spans[0].attributes["attempts_left_out"] == 4
    assert retried.response.endswith("; too many for a timeline: it has 3 tasks and no attempts")
    more = [Task(name=f"t{n}", attempts=(Attempt(seconds=1 + n),)) for n in range(9)]
    large = trace(tmp_path / "many", *more)
    assert [span.name for span in large.spans] == ["digits", "t4", "t5", "t6", "t7", "t8"]
    assert large.spans[0].attributes["tasks_left_out"] == 4


def test_times_are_exact(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, Task()))
    moved = replace(run, record=run.record.model_copy(update={"start": START + timedelta(microseconds=1)}))
    assert trace_of(moved, "1").spans[0].start_ns == START_NS + 1000


def test_MLflow_has_the_trace_once_however_often_it_is_sent(uri: str, experiment: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", RETRIED, Task(name="odd \x00 \u2028 <b>"))
    result = upload(folder, uri, experiment)
    assert result.warnings == ()
    contents = Contents(uri, experiment)
    contents.client.set_tag(result.mlflow_run_id, "pynb_dag_runner.upload", "cut off")
    upload(folder, uri, experiment)
    (found,) = contents.client.search_traces(locations=[contents.experiment_id])
    assert len(found.data.spans) == 6
    by_name = {span.name: span for span in found.data.spans}
    assert by_name["digits"].start_time_ns == START_NS
    assert by_name["train"].end_time_ns == START_NS + 21_000_000_000
    events = [span.events for span in found.data.spans if span.name == "attempt 1" and span.events]
    assert [event.attributes["exception.type"] for event in events[0]] == ["ValueError"]
    assert (found.info.execution_duration, found.info.state.value) == (60_000, "OK")
    assert found.info.trace_metadata["mlflow.sourceRun"] == result.mlflow_run_id


def test_a_run_that_was_resumed_changes_its_trace(sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path) -> None:
    failed = Task(name="train", attempts=RETRIED.attempts[:1])
    sent = upload_folder(make_run(tmp_path / "before", failed, status=RunStatus.FAILED), sqlite_store)
    later = read_run(make_run(tmp_path / "after", RETRIED, seconds=90.0))
    sqlite_store.log_trace(sent.experiment_id, sent.mlflow_run_id, trace_of(later, sent.experiment_id))
    contents = Contents(sqlite_uri, "digits")
    (found,) = contents.client.search_traces(locations=[contents.experiment_id])
    assert (found.info.execution_duration, found.info.state.value) == (90_000, "OK")
    assert len(found.data.spans) == 4


def test_an_upload_to_a_store_without_traces_is_complete_and_says_so(
    sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path
) -> None:
    def refuse(call: int, name: str) -> None:
        if name == "log_trace":
            raise StoreError("no such thing")

    result = upload_folder(make_run(tmp_path / "runs", Task()), watched(sqlite_store, refuse))
    assert result.warnings == ("MLflow has no timeline (trace) of this run: no such thing",)
    assert {mark for _, mark in Contents(sqlite_uri, "digits").statuses().values()} == {"complete"}


def test_after_two_uploads_the_trace_belongs_to_the_run_that_is_left(
    sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "runs", RETRIED)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    met: set[str] = set()
    for experiment in "abcdef":  # which run is left depends on ids that MLflow draws

        def meet(call: int, name: str, experiment: str = experiment) -> None:
            if name == "create_run" and experiment not in met:
                met.add(experiment)
                upload_folder(copy, sqlite_store, experiment=experiment)

        left = upload_folder(folder, watched(sqlite_store, meet), experiment=experiment)
        contents = Contents(sqlite_uri, experiment)
        assert contents.by_key()[""].info.run_id == left.mlflow_run_id
        (found,) = contents.client.search_traces(locations=[contents.experiment_id])
        assert found.info.trace_metadata["mlflow.sourceRun"] == left.mlflow_run_id


def test_a_run_that_is_there_already_sends_no_trace(sqlite_store: MlflowStore, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", Task())
    upload_folder(folder, sqlite_store)
    calls: list[str] = []
    upload_folder(folder, watched(sqlite_store, lambda call, name: calls.append(name)))
    assert calls
    assert not {"log_trace", "tag_experiment"} & set(calls)
