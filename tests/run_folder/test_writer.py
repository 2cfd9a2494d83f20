"""Writing a run folder: whole files or none, run ids that are never given twice, names that every file system holds."""

import json
import os
import re
import secrets
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pynb_dag_runner.errors import OutputDirectoryError
from pynb_dag_runner.events import RecordedEvent, RunAgain, RunEnded, RunResumed, RunStarted, TaskSettled, Warned
from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.run_folder import paths, read_run
from pynb_dag_runner.run_folder.event_lines import EVENT_NAMES, adapter
from pynb_dag_runner.run_folder.records import Error
from pynb_dag_runner.run_folder.writer import AttemptWriter, RunWriter, make_run_folder, write_atomically
from tests.factories import (
    START,
    after,
    attempt_ended,
    attempt_started,
    make_attempt_record,
    make_run_record,
    make_task_record,
    make_verdict,
    write_run,
)

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
"""Encoded, none is longer than the 255 bytes of a file name: 4 bytes for a letter, or 3 for an encoded byte."""

REWRITE = """
import sys
from pathlib import Path
from pynb_dag_runner.run_folder.writer import write_atomically

for number in range(200):
    write_atomically(Path(sys.argv[1]), b"%d" % (number % 10) * 1_000_000)
"""
TOO_LARGE = """
import resource, signal, sys
from pathlib import Path
from pynb_dag_runner.run_folder.writer import write_atomically

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomically(Path(sys.argv[1]), b"1" * 1_000_000)
except OSError as error:
    print(error.strerror)
"""
MAKE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pynb_dag_runner.run_folder.writer import make_run_folder

for _ in range(50):
    print(make_run_folder(Path(sys.argv[1]), "sales", datetime(2026, 1, 1, tzinfo=UTC))[1])
"""


def python(code: str, argument: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code, argument], stdout=subprocess.PIPE, text=True)


def test_a_reader_never_sees_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0" * 1_000_000)
    seen = set()
    with python(REWRITE, path) as writer:
        while writer.poll() is None:
            content = path.read_bytes()
            seen.add((len(content), len(set(content))))
    assert writer.returncode == 0
    assert seen == {(1_000_000, 1)}  # a million bytes, all alike


def test_a_disk_that_is_full_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with python(TOO_LARGE, tmp_path / "file") as writer:
        assert writer.communicate()[0] == "File too large\n"
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


@pytest.mark.parametrize("durable", [False, True])
def test_writing_again_replaces_the_file(tmp_path: Path, durable: bool) -> None:
    for content in (b"longer content", b"short"):
        write_atomically(tmp_path / "file", content, durable=durable)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"short")]


def test_processes_that_start_runs_at_once_get_an_id_each(tmp_path: Path) -> None:
    processes = [python(MAKE, tmp_path) for _ in range(3)]
    ids = [run_id for process in processes for run_id in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(ids) == len(set(ids)) == 150
    assert sorted(ids) == sorted(path.name for path in (tmp_path / "sales").iterdir())


def test_an_id_that_is_taken_is_not_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endings = iter(["0001", "0001", "0002"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(endings))
    assert [make_run_folder(tmp_path, "sales", START)[1] for _ in range(2)] == [
        "20261123T054712Z-0001",
        "20261123T054712Z-0002",
    ]


def test_run_ids_sort_by_time_whatever_the_time_zone() -> None:
    earlier = START.astimezone() - timedelta(seconds=1)
    assert paths.new_run_id(earlier) < paths.new_run_id(START)
    assert re.fullmatch(r"20261123T054712Z-[0-9a-f]{4}", paths.new_run_id(START))


def test_an_output_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(OutputDirectoryError) as caught:
        make_run_folder(tmp_path / "runs", "sales", START)
    assert str(caught.value) == f"can't make a run folder in {tmp_path}/runs: Not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_directory_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputDirectoryError) as caught:
        make_run_folder(tmp_path, "sales", START)
    assert str(caught.value) == f"can't make a run folder in {tmp_path}: Permission denied"


def test_a_pipeline_whose_name_no_folder_can_have(tmp_path: Path) -> None:
    with pytest.raises(OutputDirectoryError) as caught:
        make_run_folder(tmp_path, "?" * 100, START)
    assert str(caught.value) == (
        f"can't make a run folder in {tmp_path}: the name '{'?' * 40}' can't be a folder's name: 300 bytes when encoded"
    )


@settings(deadline=None)  # a busy machine is no reason to fail
@given(NAMES)
def test_any_name_becomes_a_file_name_and_back(name: str) -> None:
    encoded = paths.encode_name(name)
    assert paths.decode_name(encoded) == name
    assert not re.search(r'[\x00-\x1f"*/:<>?\\|]|^[. ]|[. ]$', encoded)


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("train-400", "train-400"),
        ("größe 7", "größe 7"),  # letters stay readable
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        (".hidden", "%2Ehidden"),
        ("50%", "50%25"),
        ("%2F", "%252F"),
        ("end.", "end%2E"),
        ("a\nb", "a%0Ab"),
        ("con", "%63on"),  # a device on Windows, also with an ending
        ("Aux.txt", "%41ux.txt"),
        ("console", "console"),
    ],
)
def test_what_file_systems_refuse_is_encoded(tmp_path: Path, name: str, encoded: str) -> None:
    assert (paths.encode_name(name), paths.decode_name(encoded)) == (encoded, name)
    paths.task_folder(tmp_path, name).mkdir(parents=True)
    assert [path.name for path in (tmp_path / paths.TASKS).iterdir()] == [encoded]


def test_links_to_encoded_names_can_be_followed() -> None:
    assert paths.href(Path("tasks", paths.encode_name("a/b c"))) == "tasks/a%252Fb%20c"


def test_every_event_is_read_back_as_it_was(tmp_path: Path) -> None:
    failure = Failure(kind="ValueError", message="line 1\nline 2 ü")
    events: list[RecordedEvent] = [
        RunStarted(time=START, pipeline="sales", run_id="x", tasks=("a", "b")),
        attempt_started(),
        attempt_ended(Outcome.FAILED, failure=failure, retry_at=after(20)),
        Warned(time=after(2), message="careful"),
        TaskSettled(time=after(3), task="a", status=TaskStatus.SKIPPED, blocked_by="b"),
        RunEnded(time=after(4), status=RunStatus.CANCELLED),
        RunResumed(
            time=after(5),
            pipeline="sales",
            run_id="x",
            host="elsewhere",
            pid=3,
            tasks=("a",),
            parameters=("size",),
            again=(RunAgain(task="a", reason="it was skipped"),),
            dropped=("b",),
        ),
    ]
    writer = RunWriter(tmp_path, make_run_record())
    for event in events:
        writer.event(event)
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / paths.EVENTS).read_text().splitlines()]
    assert [adapter(line["event"]).validate_python(line) for line in lines] == events
    assert {type(event) for event in events} == set(EVENT_NAMES)  # none is left out here


def test_an_event_is_on_disk_before_the_next_thing_happens(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, make_run_record())
    writer.event(attempt_started())
    assert (tmp_path / paths.EVENTS).read_text().endswith("\n")
    writer.close()


@pytest.mark.parametrize("torn", [b'{"event": "warn', b"x" * 200_000])
def test_a_line_that_a_dead_driver_did_not_finish_is_removed(tmp_path: Path, torn: bytes) -> None:
    writer = RunWriter(tmp_path, make_run_record())
    writer.event(attempt_started())
    writer.close()
    path = tmp_path / paths.EVENTS
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    again = RunWriter(tmp_path, make_run_record())
    again.event(attempt_ended())
    again.close()
    content = path.read_bytes()
    assert content.startswith(whole)
    assert len(content.splitlines()) == 2
    assert len(read_run(tmp_path).tasks[0].attempts) == 1


def test_a_file_of_nothing_but_a_torn_line_is_emptied(tmp_path: Path) -> None:
    (tmp_path / paths.EVENTS).write_bytes(b'{"event": ')
    RunWriter(tmp_path, make_run_record()).close()
    assert (tmp_path / paths.EVENTS).read_bytes() == b""


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    record = make_run_record(parameters={"rate": "NaN", "sizes": [1, 2.5, None, True]}, ci={"A": "ü"})
    writer = RunWriter(tmp_path, record.model_copy(update={"status": RunStatus.RUNNING}))
    (tmp_path / paths.TASKS).mkdir()
    writer.task(make_task_record())
    writer.end(record)
    writer.close()
    attempt = make_attempt_record(peak_memory_bytes=2**40, cpu_time_s=0.1)
    AttemptWriter(paths.attempt_folder(tmp_path, "train", 1)).record(attempt)
    run = read_run(tmp_path)
    assert run.record == record
    assert run.tasks[0].status is TaskStatus.SUCCEEDED
    assert (run.tasks[0].attempts[0].peak_memory_bytes, run.tasks[0].attempts[0].cpu_time_s) == (2**40, 0.1)


def test_a_traceback_is_written_by_the_worker_alone(tmp_path: Path) -> None:
    failure = Failure(kind="ValueError", message="no rows", traceback="Traceback: no rows")
    attempt = make_attempt_record(outcome=Outcome.FAILED, error=Error.of(failure))
    task = make_task_record(attempts=(make_verdict(outcome=Outcome.FAILED, error=Error.of(failure)),))
    folder = write_run(
        tmp_path, events=[attempt_ended(Outcome.FAILED, failure=failure)], tasks=[task], attempts=[attempt]
    )
    holders = [path.name for path in sorted(folder.rglob("*")) if path.is_file() and b"Traceback" in path.read_bytes()]
    assert holders == [paths.ATTEMPT]
    assert read_run(folder).tasks[0].failure == failure


def test_a_sign_of_life_changes_the_time_of_the_events_alone(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, make_run_record())
    os.utime(tmp_path / paths.EVENTS, (0, 0))
    writer.touch()
    writer.close()
    assert (tmp_path / paths.EVENTS).stat().st_mtime > 0
    assert (tmp_path / paths.EVENTS).read_text() == ""


def test_what_forked_workers_write_has_its_validator_before_the_fork() -> None:
    names = ("AttemptRecord", "Error", "KernelStart", "TrackingRecord")
    code = f"""
from pynb_dag_runner.worker import attempt
print(*[getattr(attempt, name).__pydantic_complete__ for name in {names}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True True True\n"
