"""Captured runs as what an upload sends; everything here is pure."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mlflow_bridge.mapping.native import Replay, mlmodel_text, replayed
from mlflow_bridge.model.captured_values import Captured, CapturedModel, CapturedRun
from mlflow_bridge.model.values import MetricPoint, MlflowStatus
from pynb_dag_runner.model.outcomes import Outcome
from pynb_dag_runner.run_folder import AttemptDetails, read_run
from tests.bridge.captures import MODEL
from tests.bridge.run_folders import RUN_ID, START, START_MS, Attempt, Task, make_run

END_MS = START_MS + 10_000


def captured_run(name: str, parent: str | None = None, **values: object) -> CapturedRun:
    run = CapturedRun(id=name, name=name, status="FINISHED", start_ms=START_MS, end_ms=START_MS + 5, parent_id=parent)
    return replace(run, **values)  # type: ignore[arg-type] # any field


@pytest.fixture
def replay_of(tmp_path: Path) -> "Replaying":
    return Replaying(tmp_path)


class Replaying:
    """Replays what was captured in the only attempt of a task called ``it's``."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def __call__(
        self, *runs: CapturedRun, details: AttemptDetails | None = None, outcome: Outcome | None = Outcome.SUCCEEDED
    ) -> Replay:
        folder = make_run(self._base, Task(name="it's", attempts=(Attempt(outcome=outcome),)))
        run = read_run(folder)
        [task] = run.tasks
        assert task.last_attempt is not None
        assert task.last_attempt.end in (START + timedelta(seconds=10), None)
        return replayed(run, task, task.last_attempt, details or AttemptDetails(), Captured(runs=runs))


def test_nothing_changes_without_a_run(replay_of: Replaying) -> None:
    details = AttemptDetails(params={"a": "1"})
    assert replay_of(details=details) == Replay(details=details)


def test_what_both_have_logged_is_kept_both(replay_of: Replaying) -> None:
    main = captured_run(
        "curious-crab-77",
        params={"same": "1", "other": "2", "new": "3"},
        tags={
            "color": "red",
            "mlflow.user": "ada",
            "mlflow.source.name": "kernel.py",
            "mlflow.runName": "curious-crab-77",
            "mlflow.autologging": "sklearn",
            "pynb_dag_runner.task": "it's",
            "pynb_dag_runner.mine": "kept",
        },
        files=tuple(
            (Path(name), name) for name in ("x.png", "output.log", "artifacts/a.txt", "artifacts", "notebook.html/x")
        ),
        experiment="elsewhere",
        metrics=(MetricPoint(key="loss", value=0.5, timestamp_ms=1),),
    )
    ours = AttemptDetails(params={"same": "1", "other": "ours"}, tags={"color": "blue"}, artifacts=(Path("a.txt"),))
    replay = replay_of(main, details=ours)
    assert replay.details.params == {"same": "1", "mlflow.other": "2", "new": "3", "other": "ours"}
    assert replay.details.tags == {"mlflow.color": "red", "pynb_dag_runner.mine": "kept", "color": "blue"}
    assert replay.native.tags == {"mlflow.autologging": "sklearn", "pynb_dag_runner.mlflow_experiment": "elsewhere"}
    assert [str(name) for _, name in replay.native.files] == [
        "x.png",
        "mlflow/output.log",
        "mlflow/artifacts/a.txt",
        "mlflow/artifacts",
        "mlflow/notebook.html/x",
    ]
    assert replay.native.metrics == main.metrics
    assert replay.runs == ()


def test_a_name_that_the_user_gave_is_kept(replay_of: Replaying) -> None:
    assert replay_of(captured_run("My run")).details.tags == {"mlflow.runName": "My run"}


def test_nesting_is_kept_and_no_run_comes_before_its_parent(replay_of: Replaying) -> None:
    replay = replay_of(
        captured_run("grandchild", "child"),
        captured_run("main"),
        captured_run("second"),
        captured_run("of second", "second"),
        captured_run("child", "main"),
        captured_run("circle a", "circle b"),
        captured_run("circle b", "circle a"),
    )
    prefix = f"{RUN_ID}/it's/1/mlflow/"
    found = [(one.mapped.name, one.parent_key and one.parent_key.removeprefix(prefix)) for one in replay.runs]
    assert found == [
        ("second", None),
        ("of second", "second"),
        ("child", None),
        ("grandchild", "child"),
        ("circle a", None),
        ("circle b", "circle a"),
    ]
    assert {one.mapped.key for one in replay.runs} == {prefix + one.mapped.name for one in replay.runs}


@pytest.mark.parametrize(
    ("status", "end_ms", "outcome", "expected"),
    [
        ("FINISHED", START_MS + 5, Outcome.FAILED, (MlflowStatus.FINISHED, START_MS + 5)),
        ("FAILED", START_MS + 5, Outcome.SUCCEEDED, (MlflowStatus.FAILED, START_MS + 5)),
        ("RUNNING", None, Outcome.SUCCEEDED, (MlflowStatus.FINISHED, END_MS)),
        ("RUNNING", None, Outcome.FAILED, (MlflowStatus.FAILED, END_MS)),
        ("RUNNING", None, Outcome.CRASHED, (MlflowStatus.KILLED, END_MS)),
        # A kernel that ends calls all runs finished.
        ("FINISHED", END_MS + 5, Outcome.FAILED, (MlflowStatus.FAILED, END_MS + 5)),
        ("odd", START_MS + 5, Outcome.FAILED, (MlflowStatus.FAILED, START_MS + 5)),
    ],
)
def test_a_run_that_the_end_of_the_task_has_ended_ended_as_the_task_did(
    replay_of: Replaying,
    status: str,
    end_ms: int | None,
    outcome: Outcome,
    expected: tuple[MlflowStatus, int],
) -> None:
    replay = replay_of(captured_run("main"), captured_run("other", status=status, end_ms=end_ms), outcome=outcome)
    [other] = replay.runs
    assert (other.mapped.status, other.mapped.end_ms) == expected


def test_a_model_s_key_can_stand_in_a_search(replay_of: Replaying) -> None:
    model = CapturedModel(id=MODEL, name="a/b.c", status="PENDING", registered_as=("x", "y"), tags={"mlflow.user": "u"})
    [mapped] = replay_of(captured_run("main", models=(model,))).models
    assert mapped.key == f"{RUN_ID}/it%27s/1/mlflow/{MODEL}"
    assert (mapped.name, mapped.ready) == ("a_b_c", False)
    assert mapped.tags == {"pynb_dag_runner.registered_as": "x, y", "pynb_dag_runner.key": mapped.key}


def test_a_model_s_description_gets_new_ids_and_nothing_else() -> None:
    text = (
        "artifact_path: file:///old/a\n  folded path\nflavors:\n  sklearn:\n    run_id: inner\nmodel_id: m-old\n"
        "model_uuid: m-old\nrun_id: old\nsignature: '\\g<0>'\n"
    )
    assert mlmodel_text(text, model_id="m-new", run_id="new", artifact_uri="s3://b/\\1") == (
        'artifact_path: "s3://b/\\\\1"\nflavors:\n  sklearn:\n    run_id: inner\nmodel_id: "m-new"\n'
        'model_uuid: "m-new"\nrun_id: "new"\nsignature: \'\\g<0>\'\n'
    )
