"""Reading run folders: of ended runs, of runs that go on, of runs whose driver died."""

import json
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pynb_dag_runner.events import TaskSettled, Warned
from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.run_folder import TaskRun, find_runs, paths, read_attempt_details, read_run
from pynb_dag_runner.run_folder.reader import STALE_AFTER_S
from pynb_dag_runner.run_folder.records import SCHEMA_VERSION, Error, RunRecord
from tests.factories import (
    START,
    after,
    attempt_ended,
    attempt_started,
    make_attempt_record,
    make_driver,
    make_planned,
    make_run_record,
    make_task_record,
    make_verdict,
    this_driver,
    write_run,
    write_whole_run,
)

VERSIONS = ("1.0", "1.1")
"""Of the format: a sample of each was made once by ``tests/make_golden_run_folder.py``. Later readers must read all."""

BROKEN = Failure(kind="ValueError", message="no rows", traceback="ValueError: no rows\n")


def unended(*names: str, alive: bool = False) -> RunRecord:
    """A run without a last word, of tasks that do not need each other."""
    driver = this_driver() if alive else make_driver()
    tasks = [make_planned(name) for name in names or ("train",)]
    return make_run_record(*tasks, status=RunStatus.RUNNING, end=None, driver=driver)


def dead(folder: Path) -> Path:
    """Make it a long time ago that the driver, on a host that is not this one, gave a sign of life."""
    os.utime(folder / paths.EVENTS, (START.timestamp(), START.timestamp()))
    return folder


def only_task(folder: Path) -> TaskRun:
    (task,) = read_run(folder).tasks
    return task


@pytest.fixture(params=VERSIONS)
def golden(request: pytest.FixtureRequest) -> Path:
    """The sample run folder of a version of the format."""
    return Path(__file__).parents[1] / "golden" / f"run-folder-{request.param}"


def test_there_is_a_sample_of_the_current_version() -> None:
    assert VERSIONS[-1] == SCHEMA_VERSION


def test_the_golden_run_as_a_whole(golden: Path) -> None:
    run = read_run(golden)
    assert (run.pipeline, run.status) == ("orders", RunStatus.FAILED)
    assert golden.name == f"run-folder-{run.record.schema_version}"
    assert run.record.parameters == {"rows": 5, "rate": "Infinity", "data": "/home/ada/orders/data"}
    assert (run.record.driver.host, run.record.driver.user) == ("laptop", "ada")
    assert run.record.git is not None
    assert run.record.git.remote_url == "https://git.example.org/ada/orders.git"
    assert run.record.ci == {"GITHUB_REPOSITORY": "ada/orders", "GITHUB_RUN_ID": "17"}
    assert (run.report, run.summary) == (Path("report.html"), Path("summary.md"))


def test_the_golden_tasks_and_how_their_attempts_ended(golden: Path) -> None:
    read = [
        (task.name, task.kind, task.status.value, [attempt.outcome for attempt in task.attempts], task.blocked_by)
        for task in read_run(golden).tasks
    ]
    assert read == [
        ("load", "function", "SUCCEEDED", [Outcome.FAILED, Outcome.SUCCEEDED], None),
        ("explore", "notebook", "SUCCEEDED", [Outcome.SUCCEEDED], None),
        ("distinct", "function", "SUCCEEDED", [Outcome.SUCCEEDED], None),
        ("fit", "function", "FAILED", [Outcome.FAILED], None),
        ("wait: 60 s/1", "function", "TIMED_OUT", [Outcome.TIMED_OUT], None),
        ("publish", "function", "SKIPPED", [], "wait: 60 s/1"),
    ]


def test_a_golden_notebook(golden: Path) -> None:
    (attempt,) = read_run(golden).by_name["explore"].attempts
    assert (attempt.kernel, attempt.cells, attempt.cells_executed) == ("python3", 3, 3)
    assert attempt.parameters == {"values": [0, 1, 2, 3, 4], "data": "/home/ada/orders/data"}
    assert attempt.outputs == {"sum": 10}
    assert attempt.notebook == attempt.folder / "notebook.ipynb"
    assert attempt.html == attempt.folder / "notebook.html"
    assert attempt.log is not None
    assert (golden / attempt.log).read_text() == "10\n"


def test_a_golden_failure(golden: Path) -> None:
    failure = read_run(golden).by_name["fit"].failure
    assert failure == Failure(
        kind="ValueError",
        message="rows 3 | 4 have no price",
        traceback="Traceback (most recent call last):\n"
        '  File "/home/ada/orders/pipeline.py", line 24, in fit\n'
        '    raise ValueError("rows 3 | 4 have no price")\n'
        "ValueError: rows 3 | 4 have no price\n",
    )


def test_a_golden_timeout(golden: Path) -> None:
    task = read_run(golden).by_name["wait: 60 s/1"]
    assert task.failure == Failure(kind="Timeout", message="timed out after 0.5 s")
    assert task.attempts[0].folder == Path("tasks", "wait%3A 60 s%2F1", "attempt-1")
    assert task.duration_s is not None
    assert 0.5 <= task.duration_s < 2


def test_what_a_golden_task_logged(golden: Path) -> None:
    run = read_run(golden)
    details = read_attempt_details(run, run.by_name["fit"].attempts[0])
    assert (details.params, details.tags) == ({"depth": "3"}, {"stage": "trial"})
    logged = [(metric.key, repr(metric.value), metric.step) for metric in details.metrics]
    assert logged == [("loss", "0.5", 0), ("loss", "0.25", 1), ("loss", "nan", 2)]
    assert details.artifacts == (Path("notes/rows.txt"),)
    assert run.by_name["fit"].outputs == {"worst": float("inf")}


def test_a_run_that_goes_on_in_a_process_of_this_host(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, unended("train", "test", alive=True), events=[attempt_started()]))
    assert (run.status, run.end, run.duration_s) == (RunStatus.RUNNING, None, None)
    assert [task.status for task in run.tasks] == [TaskStatus.RUNNING, TaskStatus.PENDING]


def test_a_task_that_waits_for_its_next_attempt_is_running(tmp_path: Path) -> None:
    ended = attempt_ended(Outcome.FAILED, failure=BROKEN, retry_at=after(30))
    record = make_attempt_record(outcome=Outcome.FAILED, error=Error.of(BROKEN))
    task = only_task(write_run(tmp_path, unended(alive=True), events=[attempt_started(), ended], attempts=[record]))
    assert (task.status, task.end, task.failure) == (TaskStatus.RUNNING, None, BROKEN)


def test_a_driver_whose_pid_another_process_has_now_is_gone(tmp_path: Path) -> None:
    driver = this_driver().model_copy(update={"process_start_s": this_driver().process_start_s - 5})
    run = read_run(write_run(tmp_path, unended().model_copy(update={"driver": driver})))
    assert run.status is RunStatus.INTERRUPTED


@pytest.mark.parametrize(
    ("silent_s", "status"),
    [(STALE_AFTER_S - 1, RunStatus.RUNNING), (STALE_AFTER_S + 1, RunStatus.INTERRUPTED)],
)
def test_a_driver_of_another_host_gives_signs_of_life(tmp_path: Path, silent_s: float, status: RunStatus) -> None:
    folder = dead(write_run(tmp_path, unended()))
    assert read_run(folder, now=START + timedelta(seconds=silent_s)).status is status


def test_an_interrupted_run_ends_with_the_last_thing_that_happened(tmp_path: Path) -> None:
    run = read_run(dead(write_run(tmp_path, unended(), events=[attempt_started(at=7)])))
    assert (run.status, run.end, run.duration_s) == (RunStatus.INTERRUPTED, after(7), 7.0)
    assert (run.tasks[0].status, run.tasks[0].attempts[0].outcome) == (TaskStatus.PENDING, None)
    assert (run.tasks[0].attempts[0].start, run.tasks[0].attempts[0].end) == (after(7), None)


def test_an_attempt_that_ended_after_its_driver_died_counts(tmp_path: Path) -> None:
    record = make_attempt_record(outputs={"score": 0.5})
    task = only_task(dead(write_run(tmp_path, unended(), events=[attempt_started()], attempts=[record])))
    assert (task.status, task.outputs) == (TaskStatus.SUCCEEDED, {"score": 0.5})


def test_what_the_driver_says_counts_where_a_worker_died(tmp_path: Path) -> None:
    died = Failure(kind="ProcessDied", message="killed by SIGKILL")
    verdict = make_verdict(outcome=Outcome.CRASHED, error=Error.of(died))
    task = make_task_record(status=TaskStatus.CRASHED, outcome=Outcome.CRASHED, attempts=(verdict,))
    unfinished = make_attempt_record(outcome=None, end=None, parameters={"n": 1})
    (attempt,) = only_task(write_run(tmp_path, tasks=[task], attempts=[unfinished])).attempts
    assert (attempt.outcome, attempt.failure, attempt.end) == (Outcome.CRASHED, died, after(11))
    assert attempt.parameters == {"n": 1}


def test_the_traceback_of_another_failure_is_not_taken_for_the_one_that_counts(tmp_path: Path) -> None:
    said = Error(kind="Cancelled", message="the run was cancelled")
    verdict = make_verdict(outcome=Outcome.CANCELLED, error=said)
    task = make_task_record(status=TaskStatus.CANCELLED, outcome=Outcome.CANCELLED, attempts=(verdict,))
    failed_later = make_attempt_record(outcome=Outcome.FAILED, error=Error.of(BROKEN))
    read = only_task(write_run(tmp_path, tasks=[task], attempts=[failed_later]))
    assert read.failure == Failure(kind="Cancelled", message="the run was cancelled")


def test_an_attempt_that_never_ran_has_no_start(tmp_path: Path) -> None:
    verdict = make_verdict(outcome=Outcome.CANCELLED, start=None)
    task = make_task_record(status=TaskStatus.CANCELLED, outcome=Outcome.CANCELLED, start=None, attempts=(verdict,))
    (attempt,) = only_task(write_run(tmp_path, tasks=[task])).attempts
    assert (attempt.outcome, attempt.start, attempt.duration_s) == (Outcome.CANCELLED, None, None)


def test_a_last_event_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path, unended(alive=True), events=[attempt_started(), attempt_ended()])
    events = (folder / paths.EVENTS).read_bytes()
    (folder / paths.EVENTS).write_bytes(events[:-10])
    task = only_task(folder)
    assert (task.status, task.attempts[0].outcome) == (TaskStatus.RUNNING, None)


def test_a_last_metric_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    run = read_run(write_whole_run(tmp_path))
    line = json.dumps({"key": "loss", "value": 1, "step": 0, "timestamp": START.isoformat()})
    (run.folder / run.tasks[0].attempts[0].folder / paths.METRICS).write_text(f"{line}\n{line[:20]}")
    assert len(read_attempt_details(run, run.tasks[0].attempts[0]).metrics) == 1


def test_events_that_are_missing_do_not_hide_what_task_files_say(tmp_path: Path) -> None:
    folder = write_whole_run(tmp_path)
    (folder / paths.EVENTS).unlink()
    assert read_run(folder).status is RunStatus.SUCCEEDED
    assert [attempt.outcome for attempt in only_task(folder).attempts] == [Outcome.SUCCEEDED]


def test_warnings_are_kept_in_order(tmp_path: Path) -> None:
    events = [Warned(time=after(n), message=f"warning {n}", task="train") for n in range(2)]
    settled = TaskSettled(time=after(3), task="train", status=TaskStatus.SUCCEEDED)
    assert read_run(write_run(tmp_path, events=[*events, settled])).warnings == ("warning 0", "warning 1")


def test_a_folder_reads_the_same_after_it_was_moved(tmp_path: Path) -> None:
    folder = write_whole_run(tmp_path / "here")
    before = read_run(folder)
    folder.rename(tmp_path / "there")
    assert read_run(tmp_path / "there").tasks == before.tasks


def test_reading_leaves_no_trace(tmp_path: Path) -> None:
    folder = dead(write_run(tmp_path, unended(), events=[attempt_started()], attempts=[make_attempt_record()]))
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}
    run = read_run(folder)
    read_attempt_details(run, run.tasks[0].attempts[0])
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")} == before


def test_runs_are_found_from_every_level_above_them(tmp_path: Path) -> None:
    first = write_run(tmp_path, make_run_record(run_id="20260101T000000Z-0001", pipeline="b"))
    second = write_run(tmp_path, make_run_record(run_id="20260102T000000Z-0001", pipeline="a"))
    (tmp_path / "link").symlink_to(first.parent)
    assert find_runs(tmp_path) == [first, second]
    assert find_runs(first.parent) == [first]
    assert find_runs(first) == [first]
    assert find_runs(tmp_path / "nothing here") == []


def test_the_driver_of_this_host_is_told_by_name(tmp_path: Path) -> None:
    gone = make_driver(host=socket.gethostname(), pid=2**22 + 1)  # above the largest pid that Linux gives
    run = read_run(write_run(tmp_path, unended().model_copy(update={"driver": gone})), now=datetime.now(UTC))
    assert run.status is RunStatus.INTERRUPTED  # although its events are fresh
