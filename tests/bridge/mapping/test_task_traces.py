"""Captured traces as what an upload sends; everything here is pure."""

from pathlib import Path

import pytest

from mlflow_bridge.mapping.native import replayed
from mlflow_bridge.mapping.task_traces import ReplayedTrace, new_ids, with_ids
from mlflow_bridge.model.captured_values import Captured, CapturedAssessment, CapturedTrace
from pynb_dag_runner.model.outcomes import Outcome
from pynb_dag_runner.run_folder import AttemptDetails, read_run
from tests.bridge.run_folders import RUN_ID, Attempt, Task, make_run

TRACE = "tr-" + "a" * 32
OTHER = "tr-" + "b" * 32
MODEL = "m-" + "c" * 32
SAID = CapturedAssessment(id="a-" + "d" * 32, name="good", kind="feedback", value="true", created_ms=1, updated_ms=2)


def replay(base: Path, trace: CapturedTrace, outcome: Outcome | None = Outcome.SUCCEEDED) -> ReplayedTrace:
    """A trace as the only thing that the only attempt of a task has captured."""
    run = read_run(make_run(base, Task(attempts=(Attempt(outcome=outcome),))))
    [task] = run.tasks
    assert task.last_attempt is not None
    [found] = replayed(run, task, task.last_attempt, AttemptDetails(), Captured(traces=(trace,))).traces
    return found


@pytest.mark.parametrize(
    ("state", "outcome", "expected"),
    [
        ("OK", Outcome.FAILED, "OK"),
        ("ERROR", Outcome.SUCCEEDED, "ERROR"),
        ("IN_PROGRESS", Outcome.SUCCEEDED, "OK"),
        ("IN_PROGRESS", Outcome.CRASHED, "ERROR"),
        ("IN_PROGRESS", None, "ERROR"),
    ],
)
def test_a_trace_that_nothing_has_ended_ended_as_the_task_did(
    tmp_path: Path, state: str, outcome: Outcome | None, expected: str
) -> None:
    assert replay(tmp_path, CapturedTrace(id=TRACE, state=state), outcome).trace.state == expected


def test_tags_and_metadata_say_where_it_comes_from_now_and_keep_what_the_user_said(tmp_path: Path) -> None:
    trace = CapturedTrace(
        id=TRACE,
        name="answer",
        tags={
            "mood": "good",
            "mlflow.artifactLocation": "file:///elsewhere",
            "mlflow.trace.spansLocation": "TRACKING_STORE",
            "pynb_dag_runner.task": "of another",
        },
        metadata={"mlflow.trace.session": "talk", "mlflow.source.name": "kernel.py", "mlflow.source.git.commit": ""},
    )
    found = replay(tmp_path, trace).trace
    assert found.tags == {
        "mood": "good",
        "mlflow.traceName": "answer",
        "pynb_dag_runner.run_id": RUN_ID,
        "pynb_dag_runner.task": "train",
        "pynb_dag_runner.attempt": "1",
        "pynb_dag_runner.key": f"{RUN_ID}/train/1/mlflow/{TRACE}",
    }
    assert found.metadata["mlflow.trace.session"] == "talk"
    assert found.metadata["mlflow.source.name"].endswith("train.py")
    assert found.metadata.get("mlflow.source.git.commit") != ""


def test_ids_are_its_own_in_each_experiment_and_the_same_each_time(tmp_path: Path) -> None:
    one = replay(tmp_path, CapturedTrace(id=TRACE, assessments=(SAID,)))
    ids = new_ids([one], "1")
    assert ids == new_ids([one], "1")
    assert ids.keys() == {TRACE, SAID.id}
    assert not set(ids.values()) & {*new_ids([one], "2").values(), TRACE, SAID.id}
    sent = with_ids(one.trace, ids, "run")
    assert (sent.id, sent.assessments[0].id) == (ids[TRACE], ids[SAID.id])
    assert sent.metadata["mlflow.sourceRun"] == "run"


def test_ids_in_texts_are_exchanged_if_they_are_known(tmp_path: Path) -> None:
    text = f'{{"self": "{TRACE}", "other": "{OTHER}", "model": "{MODEL}", "no id": "x{TRACE}"}}'
    one = replay(tmp_path, CapturedTrace(id=TRACE, spans=(text,), request=text, metadata={"mlflow.modelId": MODEL}))
    ids = {**new_ids([one], "1"), MODEL: "m-new"}
    sent = with_ids(one.trace, ids, "run")
    expected = text.replace(f'"{TRACE}"', f'"{ids[TRACE]}"').replace(MODEL, "m-new")
    assert sent.spans == (expected,)
    assert sent.request == expected
    assert sent.metadata["mlflow.modelId"] == "m-new"
