"""What a run folder can hold too much of: refused by name, before it fills the memory or takes hours."""

import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlflow_bridge.mapping.runs import flattened
from pynb_dag_runner import tracking
from pynb_dag_runner.cli.list import list_runs
from pynb_dag_runner.errors import RunFolderError
from pynb_dag_runner.model.outcomes import TaskStatus
from pynb_dag_runner.model.task_options import TaskOptions
from pynb_dag_runner.reports import render_html
from pynb_dag_runner.run_folder import find_runs, read_attempt_details, read_run, reader, safe_read
from tests.factories import edit_json, make_planned, make_run_record, write_run, write_whole_run
from tests.reports.reported_runs import make_run, make_task, skipped_task

ATTEMPT = "tasks/train/attempt-1"
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_whole_run(tmp_path)


def problem(folder: Path) -> str:
    """What is said of a folder, without its own path."""
    with pytest.raises(RunFolderError) as caught:
        for task in (run := read_run(folder)).tasks:
            for attempt in task.attempts:
                read_attempt_details(run, attempt)
    return str(caught.value).replace(f"{folder}/", "").replace(str(folder), "(folder)")


def test_a_file_of_more_than_a_gigabyte_is_not_read(folder: Path) -> None:
    os.truncate(folder / "events.jsonl", safe_read.MAX_FILE_BYTES + 1)  # zeros that take no room on the disk
    assert problem(folder) == "events.jsonl: it has 1,073,741,825 bytes; at most 1,073,741,824 are read"


@pytest.mark.parametrize("name", ["events.jsonl", f"{ATTEMPT}/metrics.jsonl"])
def test_a_file_of_millions_of_lines_is_not_read(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\n" * (safe_read.MAX_LINES + 1))
    assert problem(folder) == f"{name}: it has 5,000,001 lines; at most 5,000,000 are read"


def test_a_file_of_millions_of_values_is_not_parsed(folder: Path) -> None:
    attempt = folder / ATTEMPT / "attempt.json"
    edit_json(attempt, outputs={"x": "here"})
    values = f"[{'[],' * (safe_read.MAX_VALUES // 2)}[]]"
    attempt.write_text(attempt.read_text().replace('"here"', values))
    assert (
        problem(folder) == f"{ATTEMPT}/attempt.json: it holds more than 5,000,000 values, which is what is read at most"
    )


def test_of_a_million_wrong_values_the_number_is_said(folder: Path) -> None:
    edit_json(folder / "run.json", ci=dict.fromkeys(map(str, range(5_000)), 1))
    assert problem(folder) == "run.json: 5,000 of its values are missing or of the wrong type"


def test_the_limits_are_far_above_what_anyone_runs() -> None:
    assert (reader.MAX_TASKS, reader.MAX_ATTEMPTS, reader.MAX_RESUMES) == (100_000, 200_000, 1_000)


def test_more_tasks_than_anyone_runs_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_TASKS", 1_000)
    tasks = [{"name": str(number), "kind": "function", "source": "f"} for number in range(reader.MAX_TASKS + 1)]
    edit_json(folder / "run.json", tasks=tasks)
    assert problem(folder) == "run.json: tasks: got 1,001 tasks, expected at most 1,000"


def test_more_attempts_than_anyone_makes_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_ATTEMPTS", 1_000)
    line = '{{"event":"attempt_started","time":"2026-01-02T03:04:05Z","task":"train","number":{},"host":"","pid":1}}\n'
    with (folder / "events.jsonl").open("a") as events:
        events.writelines(line.format(number + 1) for number in range(reader.MAX_ATTEMPTS + 1))
    assert problem(folder) == "(folder): it holds more than 1,000 attempts, which is what is read at most"


def test_more_resumes_than_anyone_makes_are_refused(folder: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    resume = {"start": run["end"], "previous_status": "FAILED", "previous_end": run["end"], "driver": run["driver"]}
    edit_json(folder / "run.json", resumes=[resume] * (reader.MAX_RESUMES + 1))
    assert problem(folder) == "run.json: resumes: got 1,001, expected at most 1,000"


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path, make_run_record(make_planned("a"), make_planned("b"), make_planned("a")))
    assert problem(folder) == "run.json: tasks[2].name: got 'a', which another task has"


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("run.json", {"start": "0001-01-01T00:00:00+14:00"}, "start: got '0001-01-01T00:00:00+14:00', expected a time"),
        ("run.json", {"end": "9999-12-31T23:59:59-14:00"}, "end: got '9999-12-31T23:59:59-14:00', expected a time"),
        (f"{ATTEMPT}/attempt.json", {"pid": 2**63}, "pid: got 9223372036854775808, expected less than or equal to"),
        (f"{ATTEMPT}/attempt.json", {"peak_memory_bytes": -(10**400)}, "peak_memory_bytes: got -1000"),
        (f"{ATTEMPT}/attempt.json", {"number": 0}, "number: got 0, expected greater than or equal to 1"),
    ],
)
def test_numbers_and_times_that_nothing_else_can_hold(
    folder: Path, name: str, change: dict[str, Any], said: str
) -> None:
    edit_json(folder / name, **change)
    assert problem(folder).startswith(f"{name}: {said}")


@pytest.mark.parametrize("name", ["run.json", "events.jsonl", f"{ATTEMPT}/attempt.json"])
def test_a_folder_in_place_of_a_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    assert problem(folder) == f"{name}: it is no regular file"


def test_an_outputs_object_that_looks_like_an_encoded_number(folder: Path) -> None:
    edit_json(folder / ATTEMPT / "attempt.json", outputs={"$float": "NaN"})
    assert read_run(folder).tasks[0].outputs == {"$float": "NaN"}


def test_artifacts_in_a_thousand_folders_inside_each_other(folder: Path) -> None:
    artifacts = folder / ATTEMPT / "artifacts"
    artifacts.mkdir()
    descriptor = os.open(artifacts, os.O_RDONLY)
    for _ in range(1_500):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    try:
        assert problem(folder) == f"{ATTEMPT}/artifacts/d: folders in it are nested more than 100 deep"
    finally:
        subprocess.run(["rm", "-rf", artifacts], check=True)  # shutil.rmtree, as pytest uses it, recurses too deep


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may look into every directory; somebody else may not."""
    if os.getuid() == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


def test_a_directory_that_is_closed_to_us_hides_no_other(tmp_path: Path) -> None:
    first = write_whole_run(tmp_path / "runs")
    closed = tmp_path / "runs" / "closed"
    closed.mkdir()
    for path in (*tmp_path.parents, *tmp_path.rglob("*"), tmp_path):
        if path.stat().st_uid == os.getuid() and path.is_dir():
            path.chmod(path.stat().st_mode | 0o055)
    closed.chmod(0)
    refused = []
    with without_rights():
        assert find_runs(tmp_path / "runs", lambda path, reason: refused.append((path, reason))) == [first]
        said = CliRunner().invoke(list_runs, [str(tmp_path / "runs")], standalone_mode=False)
        with pytest.raises(RunFolderError, match="there is no such directory"):
            read_run(closed / "run")
    closed.chmod(0o700)
    assert refused == [(closed, "Permission denied")]
    assert said.exception is None
    assert f"warning: {closed} can't be looked into: Permission denied" in said.stderr
    assert "SUCCEEDED" in said.stdout


def test_a_long_chain_of_skipped_tasks_is_walked_once_not_once_from_each() -> None:
    """A forged folder's 100,000 tasks, each blocked by the next one, would else be five billion steps."""
    tasks = [skipped_task(f"t{number}", f"t{number + 1}") for number in range(500)]
    failed = make_task("t500", status=TaskStatus.FAILED)
    assert "and 488 more" in render_html(make_run(*tasks, failed))
    steps = []
    sys.setprofile(lambda frame, event, argument: steps.append(argument) if _is_step(frame, event, argument) else None)
    try:
        render_html(make_run(*tasks, failed))
    finally:
        sys.setprofile(None)
    assert 0 < len(steps) < 2_000


def _is_step(frame: types.FrameType, event: str, argument: object) -> bool:
    """Whether a task is looked up on the way to the beginning of the chain."""
    return event == "c_call" and frame.f_code.co_name == "_origin" and getattr(argument, "__name__", "") == "get"


def test_nested_parameters_below_a_long_name_stay_one_value() -> None:
    """Dotted, a file of a megabyte would become a gigabyte of keys."""
    name = "n" * 1_000
    assert flattened({name: {"a": 1, "b": 2}}) == {name: '{"a": 1, "b": 2}'}


def test_many_parameters_are_flattened_once() -> None:
    assert len(flattened({str(number): {"a": number} for number in range(50_000)})) == 50_000


def test_what_no_reader_would_take_is_not_written() -> None:
    with pytest.raises(ValueError, match="step must be a whole number of 64 bits, got 9223372036854775808"):
        tracking.log_metric("loss", 1.0, step=2**63)
    assert TaskOptions(retries=2**63).problems() == ["retries must be a whole number from 0, got 9223372036854775808"]
    assert TaskOptions(memory=2**63).problems() != []
