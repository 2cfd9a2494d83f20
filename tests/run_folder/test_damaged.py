"""Run folders that are damaged, of another version, or made to do harm: what is said, and what is not done."""

import os
import pickle
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pynb_dag_runner.errors import RunFolderError
from pynb_dag_runner.model.outcomes import RunStatus
from pynb_dag_runner.run_folder import paths, read_attempt_details, read_run
from pynb_dag_runner.run_folder.records import SCHEMA_VERSION
from tests.factories import (
    START,
    attempt_started,
    edit_json,
    make_driver,
    make_planned,
    make_run_record,
    write_run,
    write_whole_run,
)

ATTEMPT = "tasks/train/attempt-1"
EVENTS = "expected the name of an event"


def read_all(folder: Path) -> None:
    """Everything that a reader can read of a run."""
    run = read_run(folder)
    for task in run.tasks:
        for attempt in task.attempts:
            read_attempt_details(run, attempt)


def problem(folder: Path) -> str:
    """What is said of a damaged folder, without the folder's own path."""
    with pytest.raises(RunFolderError) as caught:
        read_all(folder)
    return str(caught.value).replace(f"{folder}/", "").replace(str(folder), "(folder)")


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole run folder, to be damaged."""
    return write_whole_run(tmp_path)


def test_the_folder_that_is_damaged_here_is_whole_before(folder: Path) -> None:
    read_all(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert problem(tmp_path / "no") == "(folder): there is no such directory; expected a run folder"


def test_a_folder_that_is_no_run_folder(tmp_path: Path) -> None:
    assert problem(tmp_path) == "(folder): it is no run folder: there is no run.json in it"


@pytest.mark.parametrize("name", ["run.json", "tasks/train/task.json", f"{ATTEMPT}/attempt.json"])
def test_a_truncated_file(folder: Path, name: str) -> None:
    put(folder, name, (folder / name).read_text()[:30])
    assert problem(folder) == f"{name}: it is no JSON: EOF while parsing a string at line 3 column 2"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("run.json", "", "run.json: it is no JSON: EOF while parsing a value at line 1 column 0"),
        ("run.json", "[1]", "run.json: got a list, expected an object"),
        ("run.json", "null", "run.json: got null, expected an object"),
        ("run.json", "\x00", "run.json: it is no JSON: expected value at line 1 column 1"),
        ("run.json", "[" * 10_000, "run.json: it is no JSON: recursion limit exceeded at line 1 column 202"),
        (
            f"{ATTEMPT}/tracking.json",
            "{",
            f"{ATTEMPT}/tracking.json: it is no JSON: EOF while parsing an object at line 1 column 1",
        ),
        (f"{ATTEMPT}/metrics.jsonl", "{}\n", f"{ATTEMPT}/metrics.jsonl: line 1: key: the key is missing"),
        (f"{ATTEMPT}/metrics.jsonl", "5\n", f"{ATTEMPT}/metrics.jsonl: line 1: got 5, expected an object"),
        (
            f"{ATTEMPT}/metrics.jsonl",
            '{"key"\n',
            f"{ATTEMPT}/metrics.jsonl: line 1: it is no JSON: EOF while parsing an object at line 1 column 6",
        ),
        (
            f"{ATTEMPT}/metrics.jsonl",
            '{"key": "a", "value": "5", "timestamp": "2026-01-02T03:04:05Z"}\n',
            f"{ATTEMPT}/metrics.jsonl: line 1: value: got '5', expected a valid number",
        ),
        (
            "events.jsonl",
            "{}\n",
            f"events.jsonl: line 1: event: got None, {EVENTS}",
        ),
        (
            "events.jsonl",
            "[]\n",
            f"events.jsonl: line 1: event: got None, {EVENTS}",
        ),
        ("events.jsonl", "x\n", "events.jsonl: line 1: it is no JSON: expected value at line 1 column 1"),
        (
            "events.jsonl",
            '{"event": "run_ended", "time": "2026-01-02T03:04:05Z", "status": "GREAT"}\n',
            "events.jsonl: line 1: status: got 'GREAT', expected "
            "'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED' or 'INTERRUPTED'",
        ),
        (
            "events.jsonl",
            '{"event": "run_ended", "time": "2026-01-02T03:04:05", "status": "FAILED"}\n',
            "events.jsonl: line 1: time: got '2026-01-02T03:04:05', expected a time with its time zone",
        ),
    ],
)
def test_a_file_with_other_content(folder: Path, name: str, text: str, said: str) -> None:
    assert problem(put(folder, name, text)) == said


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("run.json", {"pipeline": ...}, "pipeline: the key is missing"),
        ("run.json", {"pipeline": 5}, "pipeline: got 5, expected a valid string"),
        ("run.json", {"start": 5}, "start: got 5, expected a valid datetime"),
        (
            "run.json",
            {"start": "2026-01-02T03:04:05"},
            "start: got '2026-01-02T03:04:05', expected a time with its time zone",
        ),
        ("run.json", {"start": "soon"}, "start: got 'soon', expected a valid datetime, input is too short"),
        (
            "run.json",
            {"tasks": [{"name": "a", "kind": "shell", "source": "x"}]},
            "tasks[0].kind: got 'shell', expected 'notebook' or 'function'",
        ),
        ("run.json", {"tasks": [{}]}, "tasks[0].name: the key is missing"),
        ("run.json", {"driver": {"host": "x", "process_start_s": 0}}, "driver.pid: the key is missing"),
        ("run.json", {"ci": {"a": 1}}, "ci.a: got 1, expected a valid string"),
        (
            "tasks/train/task.json",
            {"status": "FINE"},
            "status: got 'FINE', expected 'PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'TIMED_OUT', 'CRASHED', "
            "'CANCELLED', 'SKIPPED' or 'REUSED'",
        ),
        ("tasks/train/task.json", {"upstream": "load"}, "upstream: got 'load', expected a valid array"),
        (
            "tasks/train/task.json",
            {"attempts": [{"number": 0}]},
            "attempts[0].number: got 0, expected greater than or equal to 1",
        ),
        (f"{ATTEMPT}/attempt.json", {"pid": "5"}, "pid: got '5', expected a valid integer"),
        (f"{ATTEMPT}/attempt.json", {"pid": 1.0}, "pid: got 1.0, expected a valid integer"),
        (f"{ATTEMPT}/attempt.json", {"error": {"kind": "X" * 99}}, "error.message: the key is missing"),
        (f"{ATTEMPT}/attempt.json", {"host": ["x" * 99]}, f"host: got ['{'x' * 55}..., expected a valid string"),
    ],
)
def test_a_key_that_is_missing_or_of_the_wrong_type(
    folder: Path, name: str, change: dict[str, object], said: str
) -> None:
    edit_json(folder / name, **change)
    assert problem(folder) == f"{name}: {said}"


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("2.0", f"got '2.0', expected {SCHEMA_VERSION!r} or older; update pynb-dag-runner"),
        ("12.3", f"got '12.3', expected {SCHEMA_VERSION!r} or older; update pynb-dag-runner"),
        (1, "got 1, expected a version such as '1.0'"),
        (..., "got None, expected a version such as '1.0'"),
        ("new", "got 'new', expected a version such as '1.0'"),
    ],
)
@pytest.mark.parametrize("name", ["run.json", "tasks/train/task.json", f"{ATTEMPT}/attempt.json"])
def test_a_newer_major_version_is_refused_whatever_else_is_in_the_file(
    folder: Path, name: str, version: object, said: str
) -> None:
    edit_json(folder / name, schema_version=version, status="new in this version", outcome=[])
    assert problem(folder) == f"{name}: schema_version: {said}"


def test_a_newer_minor_version_with_more_keys_is_read(folder: Path) -> None:
    before = read_run(folder)
    for name in ("run.json", "tasks/train/task.json", f"{ATTEMPT}/attempt.json"):
        edit_json(folder / name, schema_version="1.7", new={"key": 1})
    events = (folder / "events.jsonl").read_text().replace('{"event"', '{"new":1,"event"')
    put(folder, "events.jsonl", events)
    assert read_run(folder).tasks == before.tasks


@pytest.mark.parametrize("name", ["run.json", "events.jsonl", "tasks/train/task.json", f"{ATTEMPT}/attempt.json"])
def test_a_link_in_place_of_a_file(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    assert problem(folder) == f"{name}: it is a link; a run folder holds none of its own"


@pytest.mark.parametrize("name", ["tasks", "tasks/train", ATTEMPT])
def test_a_link_in_place_of_a_folder(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    assert problem(folder) == f"{name}: it is a link; a run folder holds none of its own"


def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder: Path) -> None:
    (folder / "run.json").unlink()
    os.mkfifo(folder / "run.json")
    assert problem(folder) == "run.json: it is no regular file"


def test_files_that_are_links_are_not_there_for_a_reader(folder: Path, tmp_path: Path) -> None:
    secret = put(tmp_path, "secret.txt", "x") / "secret.txt"
    (folder / "report.html").symlink_to(secret)
    (folder / ATTEMPT / paths.LOG).symlink_to(secret)
    artifacts = put(folder, f"{ATTEMPT}/artifacts/mine.txt", "y") / ATTEMPT / "artifacts"
    (artifacts / "file.txt").symlink_to(secret)
    (artifacts / "directory").symlink_to(tmp_path)
    run = read_run(folder)
    (attempt,) = run.tasks[0].attempts
    assert (run.report, attempt.log) == (None, None)
    assert read_attempt_details(run, attempt).artifacts == (Path("mine.txt"),)


def test_an_artifacts_folder_that_is_a_link_is_empty(folder: Path, tmp_path: Path) -> None:
    (folder / ATTEMPT / "artifacts").symlink_to(tmp_path)
    run = read_run(folder)
    assert read_attempt_details(run, run.tasks[0].attempts[0]).artifacts == ()


@pytest.mark.parametrize("name", ["../../../secret", "/etc", "..", "a/../../b"])
def test_a_task_can_not_name_its_way_out(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path, make_run_record(make_planned(name)), events=[attempt_started(name)])
    (task,) = read_run(run).tasks
    assert task.attempts[0].folder.parent == Path("tasks", paths.encode_name(name))
    assert (run / task.attempts[0].folder).resolve().is_relative_to(run)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "run.json: tasks: the name '' can't be a folder's name: 0 bytes when encoded"),
        ("?" * 86, f"run.json: tasks: the name '{'?' * 40}' can't be a folder's name: 258 bytes when encoded"),
    ],
)
def test_a_task_whose_name_no_folder_can_have(tmp_path: Path, name: str, said: str) -> None:
    assert problem(write_run(tmp_path, make_run_record(make_planned(name)))) == said


@pytest.mark.parametrize("pid", [-1, 0, 2**31, 2**62])
def test_a_driver_with_an_impossible_pid_is_gone(tmp_path: Path, pid: int) -> None:
    driver = make_driver(host=os.uname().nodename, pid=pid)
    folder = write_run(tmp_path, make_run_record(status=RunStatus.RUNNING, end=None, driver=driver))
    assert read_run(folder).status is RunStatus.INTERRUPTED


class Explosive:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (Path("exploded"),))


def test_a_pickle_is_never_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = folder / ATTEMPT / paths.RETURN_PICKLE
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Explosive()))
    read_all(folder)
    assert not Path("exploded").exists()


def test_a_clock_that_was_set_back_makes_no_negative_duration(folder: Path) -> None:
    edit_json(folder / "run.json", end=(START - timedelta(hours=1)).isoformat())
    assert read_run(folder).duration_s == 0.0


def test_the_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(RunFolderError(Path("run.json"), "it is odd", "tasks[0]")))
    assert (error.file, error.problem, error.key) == (Path("run.json"), "it is odd", "tasks[0]")
    assert str(error) == "run.json: tasks[0]: it is odd"
