from pathlib import Path
from typing import Any

import pytest

from mlflow_bridge.mapping.runs import RUN_STATUSES, TASK_STATUSES, flattened, map_attempt, map_pipeline, map_task
from mlflow_bridge.model.values import MappedRun, MlflowStatus
from mlflow_bridge.tags import task_key
from pynb_dag_runner.model.outcomes import Outcome, RunStatus, TaskStatus
from pynb_dag_runner.run_folder import AttemptDetails, Run, read_attempt_details, read_run
from pynb_dag_runner.run_folder.records import GitRecord
from tests.bridge.run_folders import RUN_ID, SKIPPED, START_MS, Attempt, Task, make_run


def read(tmp_path: Path, *tasks: Task, **options: Any) -> Run:
    return read_run(make_run(tmp_path / "runs", *tasks, **options))


def mapped_task(run: Run, name: str = "train") -> MappedRun:
    task = run.by_name[name]
    details = read_attempt_details(run, task.last_attempt) if task.last_attempt else AttemptDetails()
    return map_task(run, task, details)


def values(mapped: MappedRun) -> dict[str, float]:
    return {point.key: point.value for point in mapped.metrics}


def test_every_status_has_one_in_MLflow() -> None:
    assert set(RUN_STATUSES) == set(RunStatus)
    assert set(TASK_STATUSES) == set(TaskStatus)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (RunStatus.SUCCEEDED, MlflowStatus.FINISHED),
        (RunStatus.FAILED, MlflowStatus.FAILED),
        (RunStatus.CANCELLED, MlflowStatus.KILLED),
        (RunStatus.RUNNING, MlflowStatus.KILLED),  # left without an end: reads as INTERRUPTED
    ],
)
def test_status_of_the_parent_run(tmp_path: Path, status: RunStatus, expected: MlflowStatus) -> None:
    assert map_pipeline(read(tmp_path, Task(), status=status)).status is expected


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.SUCCEEDED, MlflowStatus.FINISHED),
        (Outcome.FAILED, MlflowStatus.FAILED),
        (Outcome.TIMED_OUT, MlflowStatus.KILLED),
        (Outcome.CRASHED, MlflowStatus.KILLED),
        (Outcome.CANCELLED, MlflowStatus.KILLED),
    ],
)
def test_status_of_a_task_is_that_of_its_last_attempt(tmp_path: Path, outcome: Outcome, expected: MlflowStatus) -> None:
    attempts = (Attempt(outcome=Outcome.FAILED), Attempt(outcome=outcome, start_s=11))
    mapped = mapped_task(read(tmp_path, Task(attempts=attempts)))
    assert mapped.status is expected
    assert mapped.tags["pynb_dag_runner.status"] == outcome.value


def test_parent_run_has_name_times_and_parameters_of_the_pipeline_run(tmp_path: Path) -> None:
    mapped = map_pipeline(read(tmp_path, Task(), seconds=60, parameters={"sizes": [1, 2], "model": {"depth": 3}}))
    assert (mapped.key, mapped.name) == (RUN_ID, RUN_ID)
    assert (mapped.start_ms, mapped.end_ms) == (START_MS, START_MS + 60_000)
    assert mapped.params == {"sizes": "[1, 2]", "model.depth": "3"}


def test_parent_run_counts_tasks_and_gives_the_duration_of_each(tmp_path: Path) -> None:
    failed = Task(name="fit", attempts=(Attempt(outcome=Outcome.FAILED, seconds=2), Attempt(start_s=3, seconds=4)))
    numbers = values(map_pipeline(read(tmp_path, Task(), failed, SKIPPED, seconds=60)))
    assert numbers["duration_s"] == 60
    assert numbers["attempts"] == 3
    assert {key: n for key, n in numbers.items() if key.startswith("tasks/") and n} == {
        "tasks/total": 3,
        "tasks/succeeded": 2,
        "tasks/skipped": 1,
    }
    assert {key: n for key, n in numbers.items() if key.startswith("task_duration_s/")} == {
        "task_duration_s/train": 10,
        "task_duration_s/fit": 7,
    }


def test_parent_run_has_the_report_the_summary_and_the_record(tmp_path: Path) -> None:
    mapped = map_pipeline(read(tmp_path, Task()))
    assert [(str(file.source), file.target) for file in mapped.files] == [
        ("report.html", "report.html"),
        ("summary.md", "summary.md"),
        ("run.json", "run.json"),
    ]


def test_tags_say_where_the_code_came_from_on_the_parent_and_on_tasks(tmp_path: Path) -> None:
    git = GitRecord(commit="c0ffee", branch="main", remote_url="https://example.org/x.git", dirty=True)
    run = read(tmp_path, Task(), git=git, ci={"GITHUB_RUN_ID": "77"})
    expected = {
        "mlflow.source.git.commit": "c0ffee",
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.repoURL": "https://example.org/x.git",
        "mlflow.user": "ada",
        "ci.GITHUB_RUN_ID": "77",
        "pynb_dag_runner.git_dirty": "true",
        "pynb_dag_runner.run_id": RUN_ID,
        "pynb_dag_runner.pipeline": "digits",
    }
    for mapped in (map_pipeline(run), mapped_task(run)):
        assert expected.items() <= dict(mapped.tags).items()


@pytest.mark.parametrize(
    ("kind", "source", "source_type"),
    [("notebook", "notebooks/train.py", "NOTEBOOK"), ("function", "pipeline.train", "LOCAL")],
)
def test_tags_of_a_task(tmp_path: Path, kind: Any, source: str, source_type: str) -> None:
    tags = mapped_task(read(tmp_path, Task(kind=kind))).tags
    assert tags["pynb_dag_runner.key"] == f"{RUN_ID}/train"
    assert (tags["pynb_dag_runner.kind"], tags["pynb_dag_runner.task"]) == ("task", "train")
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == (source, source_type)


def test_a_task_is_named_and_timed_from_its_first_start_to_its_last_end(tmp_path: Path) -> None:
    attempts = (Attempt(outcome=Outcome.FAILED, start_s=1, seconds=2), Attempt(start_s=5, seconds=2.5))
    mapped = mapped_task(read(tmp_path, Task(attempts=attempts)))
    assert mapped.name == "train"
    assert (mapped.start_ms, mapped.end_ms) == (START_MS + 1_000, START_MS + 7_500)
    assert values(mapped)["duration_s"] == 6.5
    assert values(mapped)["last_attempt_duration_s"] == 2.5
    assert values(mapped)["attempts"] == 2


def test_a_skipped_task_has_no_length_at_the_time_when_it_was_settled(tmp_path: Path) -> None:
    mapped = mapped_task(read(tmp_path, SKIPPED), "report")
    assert (mapped.start_ms, mapped.end_ms) == (START_MS + 30_000, START_MS + 30_000)
    assert mapped.status is MlflowStatus.KILLED
    assert mapped.tags["pynb_dag_runner.blocked_by"] == "train"
    assert mapped.files == ()


def test_a_task_that_ran_when_the_runner_died_is_interrupted(tmp_path: Path) -> None:
    run = read(tmp_path, Task(attempts=(Attempt(outcome=None, start_s=2),)), status=RunStatus.RUNNING)
    mapped = mapped_task(run)
    assert mapped.status is MlflowStatus.KILLED
    assert mapped.tags["pynb_dag_runner.status"] == "INTERRUPTED"
    assert mapped.start_ms == START_MS + 2_000
    assert "duration_s" not in values(mapped)


def test_metrics_keep_steps_and_times(tmp_path: Path) -> None:
    attempt = Attempt(start_s=1, metrics=[("loss", 0.5, 0), ("loss", 0.25, 1)])
    points = [p for p in mapped_task(read(tmp_path, Task(attempts=(attempt,)))).metrics if p.key == "loss"]
    assert [(p.value, p.step, p.timestamp_ms) for p in points] == [
        (0.5, 0, START_MS + 1000),
        (0.25, 1, START_MS + 1000),
    ]


def test_use_of_resources_goes_to_MLflows_system_metrics(tmp_path: Path) -> None:
    numbers = values(mapped_task(read(tmp_path, Task())))
    assert numbers["system/cpu_time_s"] == 8.25
    assert numbers["system/peak_memory_megabytes"] == 123.4
    assert numbers["queue_s"] == 0.5


def test_a_metric_that_the_task_calls_like_one_of_ours_is_the_tasks_own(tmp_path: Path) -> None:
    attempt = Attempt(metrics=[("duration_s", 99.0, 0)])
    points = mapped_task(read(tmp_path, Task(attempts=(attempt,)))).metrics
    assert [point.value for point in points if point.key == "duration_s"] == [99.0]


def test_parameters_as_received_and_as_logged(tmp_path: Path) -> None:
    attempt = Attempt(parameters={"size": 400, "same": 1, "clash": 1}, params={"C": "0.1", "same": "1", "clash": "2"})
    params = mapped_task(read(tmp_path, Task(attempts=(attempt,)))).params
    assert params == {"size": "400", "same": "1", "parameter.clash": "1", "clash": "2", "C": "0.1"}


def test_tags_of_a_task_can_not_change_what_the_bridge_or_MLflow_relies_on(tmp_path: Path) -> None:
    theirs = {"model": "svm", "mlflow.parentRunId": "x", "pynb_dag_runner.upload": "complete"}
    tags = mapped_task(read(tmp_path, Task(attempts=(Attempt(tags=theirs),)))).tags
    assert tags["model"] == "svm"
    assert tags["user.mlflow.parentRunId"] == "x"
    assert not {"mlflow.parentRunId", "pynb_dag_runner.upload"} & tags.keys()


def test_files_of_a_task_keep_their_names(tmp_path: Path) -> None:
    attempt = Attempt(artifacts={"figures/roc.png": b"png", "table.csv": b"a"})
    mapped = mapped_task(read(tmp_path, Task(attempts=(attempt,))))
    assert [file.target for file in mapped.files] == [
        "notebook.html",
        "notebook.ipynb",
        "output.log",
        "artifacts/figures/roc.png",
        "artifacts/table.csv",
    ]
    assert mapped.files[3].source == Path("tasks/train/attempt-1/artifacts/figures/roc.png")


def test_what_MLflow_can_not_take_is_changed_and_kept_as_it_was_in_an_artifact(tmp_path: Path) -> None:
    long = "x" * 7000
    attempt = Attempt(params={"note": long}, metrics=[("recall@10", 1.0, 0)], artifacts={"a#b.txt": b""})
    mapped = mapped_task(read(tmp_path, Task(attempts=(attempt,))))
    assert mapped.params["note"].endswith("[…cut]")
    assert "recall_10" in values(mapped)
    kept = mapped.texts["original-values.json"]
    assert long in kept
    assert '"recall_10": "recall@10"' in kept
    assert '"artifacts/a#b.txt"' in kept


def test_a_run_that_MLflow_takes_as_it_is_needs_no_such_artifact(tmp_path: Path) -> None:
    assert mapped_task(read(tmp_path, Task())).texts == {}


def test_an_earlier_attempt_is_a_run_of_its_own(tmp_path: Path) -> None:
    first = Attempt(outcome=Outcome.TIMED_OUT, start_s=1, seconds=2, metrics=[("loss", 1.0, 0)])
    run = read(tmp_path, Task(attempts=(first, Attempt(start_s=5))))
    attempt = run.tasks[0].attempts[0]
    mapped = map_attempt(run, run.tasks[0], attempt, read_attempt_details(run, attempt))
    assert (mapped.key, mapped.name) == (f"{RUN_ID}/train/1", "train (attempt 1)")
    assert (mapped.start_ms, mapped.end_ms, mapped.status) == (START_MS + 1000, START_MS + 3000, MlflowStatus.KILLED)
    assert values(mapped)["loss"] == 1.0
    assert mapped.tags["pynb_dag_runner.kind"] == "attempt"


def test_keys_of_tasks_with_slashes_are_no_keys_of_attempts(tmp_path: Path) -> None:
    run = read(tmp_path, Task(name="a"), Task(name="a/1"))
    assert [task_key(run, task) for task in run.tasks] == [f"{RUN_ID}/a", f"{RUN_ID}/a%2F1"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"a": "text", "b": None, "c": True, "d": "ü"}, {"a": "text", "b": "null", "c": "true", "d": "ü"}),
        ({"a": {"b": {"c": 1}}, "e": {}}, {"a.b.c": "1", "e": "{}"}),
        ({"a": [{"b": 1}]}, {"a": '[{"b": 1}]'}),  # lists stay whole
        ({"a.b": 1, "a": {"b": 2}}, {"a.b": "1", "a": '{"b": 2}'}),  # nothing is lost where keys meet
        ({"a": {"b": 2}, "a.b": 1}, {"a.b": "1", "a": '{"b": 2}'}),
        ({"a": {"b.c": 1, "b": {"c": 2}}}, {"a": '{"b.c": 1, "b": {"c": 2}}'}),
    ],
)
def test_nested_parameters_get_dotted_keys(parameters: dict[str, Any], expected: dict[str, str]) -> None:
    assert flattened(parameters) == expected
