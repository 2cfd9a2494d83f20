"""Opening a run folder again: whose it must be, what is written down to go on, what is left of the old driver."""

import os
import subprocess
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import Pipeline, PipelineDefinition, RunFolderError, RunStatus, UsageError, read_run
from pynb_dag_runner.define.parameters import Text
from pynb_dag_runner.execute.clock import SystemClock
from pynb_dag_runner.execute.kept_values import UnavailableValueError, check_own, read_kept_value
from pynb_dag_runner.execute.reopening import prepare, reopened
from pynb_dag_runner.execute.request import RunRequest
from pynb_dag_runner.execute.run_records import given_again, given_records
from pynb_dag_runner.execute.runner import execute_run
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.records import AttemptRecord
from pynb_dag_runner.secrets.masking import NO_SECRETS
from pynb_dag_runner.worker import attempt as attempt_module
from tests.factories import attempt_started, edit_json, make_driver, make_run_record, this_driver, write_run

INLINE = RunSettings(executor="inline")


def succeed() -> int:
    return 1


def fail() -> None:
    raise ValueError("no")


def one_task(tmp_path: Path, function: Any = fail, **options: Any) -> Pipeline:
    pipeline = Pipeline("one", base_dir=tmp_path)
    pipeline.function(function, name="task", **options)
    return pipeline


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    folder = write_run(tmp_path)
    os.chown(folder, 12345, -1)
    with pytest.raises(RunFolderError, match="it belongs to user 12345, and you are user 0; only your own"):
        check_own(folder)
    with pytest.raises(RunFolderError, match="only your own runs can be resumed"), reopened(folder):
        pass


def test_a_pickle_of_somebody_else_is_not_read(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path = tmp_path / "attempt-1" / paths.RETURN_PICKLE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    os.chown(path, 12345, -1)
    with pytest.raises(UnavailableValueError, match="belongs to somebody else"):
        read_kept_value(tmp_path, Path("attempt-1"))


def test_a_pickle_behind_a_link_is_not_read(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.pkl"
    elsewhere.write_bytes(b"\x80\x04K\x01.")
    path = tmp_path / "attempt-1" / paths.RETURN_PICKLE
    path.parent.mkdir(parents=True)
    path.symlink_to(elsewhere)
    with pytest.raises(UnavailableValueError, match="link"):
        read_kept_value(tmp_path, Path("attempt-1"))


@pytest.mark.parametrize(
    ("given", "converted"),
    [
        (3, 3),
        (float("inf"), float("inf")),
        ({"a": [1.5, None, "x"]}, {"a": [1.5, None, "x"]}),
        (Path("data"), Path("data").absolute()),
        (Text("data"), Path("data").absolute()),
        (Text("data", Path("/then")), Path("/then/data")),
        (Text("2026-01-02"), date(2026, 1, 2)),
    ],
)
def test_what_was_given_can_be_given_again(given: Any, converted: Any) -> None:
    records = given_records({"x": given}, {"x": converted, "not given": 1}, NO_SECRETS)
    values, missing = given_again(records, Path("/then"))
    assert missing == ()

    def definition(p: Pipeline, x: Any) -> None: ...

    definition.__annotations__["x"] = type(converted)
    assert PipelineDefinition(definition).define(values).parameters == {"x": converted}


def test_what_was_given_is_converted_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first(p: Pipeline, n: float, m: float, data: Path) -> None: ...

    def second(p: Pipeline, n: str, m: Any, data: Path) -> None: ...

    (tmp_path / "then").mkdir()
    monkeypatch.chdir(tmp_path / "then")
    given: Any = {"n": Text("6"), "m": 6, "data": "x.csv"}
    dag_parameters = PipelineDefinition(first).define(given).parameters
    assert dag_parameters == {"n": 6.0, "m": 6.0, "data": tmp_path / "then" / "x.csv"}
    records = given_records(given, dag_parameters, NO_SECRETS)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # a run that was resumed can be resumed again
        again, _missing = given_again(records, tmp_path / "another")
        found = PipelineDefinition(second).define(again).parameters
        assert found == {"n": "6", "m": 6, "data": tmp_path / "then" / "x.csv"}
        assert type(found["m"]) is int
        records = given_records(again, found, NO_SECRETS)


def test_what_json_can_not_hold_is_given_again_as_it_was_converted() -> None:
    records = given_records({"x": (1, 2)}, {"x": [1, 2]}, NO_SECRETS)
    assert (records["x"].form, records["x"].value) == ("json", [1, 2])


def test_what_can_not_be_written_down_is_named() -> None:
    records = given_records({"x": object()}, {}, NO_SECRETS)
    assert records["x"].form == "none"
    assert given_again(records, None) == ({}, ("x",))


def test_a_value_that_was_not_written_down_must_be_given_again(tmp_path: Path) -> None:
    def define(p: Pipeline, x: Any) -> None:
        p.function(fail, parameters={})

    definition = PipelineDefinition(define, name="d", base_dir=tmp_path)
    quiet: dict[str, Any] = {"executor": "inline", "progress": False}
    result = definition.run(parameters={"x": object()}, output_dir=tmp_path, **quiet)
    with pytest.raises(UsageError, match="does not hold the values of 'x'"):
        definition.resume(result.folder, **quiet)
    assert definition.resume(result.folder, parameters={"x": 1}, **quiet).status is RunStatus.FAILED


def test_what_a_dead_driver_left_running_is_ended(tmp_path: Path) -> None:
    mark = "0123456789abcdef" * 2
    child = subprocess.Popen(["sleep", "600"], env={"PYNB_DAG_RUNNER_ENGINE": mark})
    other = subprocess.Popen(["sleep", "600"], env={"PYNB_DAG_RUNNER_ENGINE": mark[::-1]})
    try:
        driver = this_driver().model_copy(update={"pid": 2**22 + 1, "engine": mark})
        folder = write_run(tmp_path, make_run_record(status=RunStatus.RUNNING, end=None, driver=driver))
        with reopened(folder, to_write=False):
            assert child.poll() is None
        with reopened(folder) as run:
            assert run.status is RunStatus.INTERRUPTED
            child.wait(120)
        assert other.poll() is None
    finally:
        for process in (child, other):
            process.kill()
            process.wait()


def test_an_attempt_that_its_worker_finished_after_the_driver_died_counts(tmp_path: Path) -> None:
    pipeline = one_task(tmp_path, succeed)
    result = pipeline.run(output_dir=tmp_path, executor="inline", progress=False)
    edit_json(result.folder / paths.RUN, status="RUNNING", end=None, driver=make_driver().model_dump())
    events = (result.folder / paths.EVENTS).read_bytes().splitlines(keepends=True)
    (result.folder / paths.EVENTS).write_bytes(events[0])  # the driver had heard nothing yet
    os.utime(result.folder / paths.EVENTS, (0, 0))
    (result.folder / "tasks" / "task" / paths.TASK).unlink()
    resumed = pipeline.resume(result.folder, executor="inline", progress=False)
    assert resumed.status is RunStatus.SUCCEEDED
    assert [attempt.number for attempt in resumed.tasks["task"].attempts] == [1]
    assert resumed.tasks["task"].status == "REUSED"


def test_an_attempt_of_which_there_is_only_a_folder_is_not_written_over(tmp_path: Path) -> None:
    folder = write_run(tmp_path, make_run_record(status=RunStatus.RUNNING, end=None, pipeline="one"), events=())
    trace = folder / "tasks" / "task" / "attempt-1" / "output.log"
    trace.parent.mkdir(parents=True)
    trace.write_text("something")
    os.utime(folder / paths.EVENTS, (0, 0))
    resumed = one_task(tmp_path, succeed).resume(folder, executor="inline", progress=False)
    assert [attempt.number for attempt in resumed.tasks["task"].attempts] == [2]
    assert trace.read_text() == "something"


def test_a_resume_that_died_at_once_leaves_a_folder_that_says_so(tmp_path: Path) -> None:
    """The new run.json is there, and nothing else has happened yet."""
    pipeline = one_task(tmp_path, succeed)
    result = pipeline.run(output_dir=tmp_path, executor="inline", progress=False)
    changed = one_task(tmp_path, fail)
    with reopened(result.folder) as run:
        preparation = prepare(run, changed.build(), tmp_path)
    record = preparation.record(
        now=datetime.now(UTC), settings=INLINE, target=None, driver=make_driver(), git=None, ci={}, versions={}
    )
    (result.folder / paths.RUN).write_bytes(record.to_json())
    os.utime(result.folder / paths.EVENTS, (0, 0))
    between = read_run(result.folder)
    assert between.status is RunStatus.INTERRUPTED
    assert between.tasks[0].status == "PENDING"  # not what its old task.json and its old attempt say
    assert between.tasks[0].last_attempt is None
    again = changed.resume(result.folder, executor="inline", progress=False)
    assert [attempt.outcome for attempt in again.tasks["task"].attempts] == ["SUCCEEDED", "FAILED"]


class BackwardClock(SystemClock):
    """Each look at it, it is an hour earlier."""

    def __init__(self) -> None:
        self.time = datetime(2020, 11, 23, 12, tzinfo=UTC)

    def now(self) -> datetime:
        self.time -= timedelta(hours=1)
        return self.time


class LaterClock(SystemClock):
    """Is ahead."""

    def __init__(self, by: timedelta) -> None:
        self.by = by

    def now(self) -> datetime:
        return super().now() + self.by


def test_a_clock_that_goes_backwards_makes_no_negative_durations(tmp_path: Path) -> None:
    pipeline = one_task(tmp_path, fail, retries=2, retry_delay_s=0.01)
    request = RunRequest(
        dag=pipeline.build(), output_dir=tmp_path, clock=BackwardClock(), settings=INLINE, base_dir=tmp_path
    )
    result = execute_run(request)
    with reopened(result.folder) as run:
        assert run.end is not None
        assert run.end >= run.start
        execute_run(replace(request, clock=BackwardClock(), resumed=prepare(run, request.dag, tmp_path)))
    run = read_run(result.folder)
    assert run.end is not None
    assert run.record.resumes[0].start >= run.record.resumes[0].previous_end >= run.start
    assert run.end >= run.record.resumes[0].start
    assert run.duration_s is not None
    assert run.duration_s >= 0
    for attempt in run.tasks[0].attempts:
        assert attempt.start is not None
        assert attempt.end is not None
        assert attempt.end >= attempt.start
    assert len(run.tasks[0].attempts) == 6


def die() -> None:
    os._exit(3)


def test_a_death_seen_by_a_clock_that_was_set_back_is_no_earlier_than_the_start(tmp_path: Path) -> None:
    request = RunRequest(
        dag=one_task(tmp_path, die).build(),
        output_dir=tmp_path,
        clock=BackwardClock(),
        settings=RunSettings(executor="process", num_cpus=1),
        base_dir=tmp_path,
    )
    result = execute_run(request)
    (attempt,) = result.tasks["task"].attempts
    assert attempt.outcome == "CRASHED"
    assert attempt.start is not None
    assert attempt.end == attempt.start  # the driver's clock says years before


def test_a_worker_s_clock_that_is_set_back_makes_no_negative_durations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_module, "_now", BackwardClock().now)
    result = one_task(tmp_path, succeed).run(output_dir=tmp_path, executor="inline", progress=False)
    (path,) = result.folder.glob("tasks/task/attempt-1/attempt.json")
    record = AttemptRecord.model_validate_json(path.read_bytes())
    assert record.end == record.start


def test_time_between_drivers_is_no_time_of_the_run(tmp_path: Path) -> None:
    pipeline = one_task(tmp_path, fail)
    result = pipeline.run(output_dir=tmp_path, executor="inline", progress=False)
    days = timedelta(days=3)
    request = RunRequest(dag=pipeline.build(), settings=INLINE, base_dir=tmp_path, clock=LaterClock(days))
    with reopened(result.folder) as run:
        resumed = execute_run(replace(request, resumed=prepare(run, request.dag, tmp_path)))
    run = read_run(resumed.folder)
    assert run.end is not None
    assert run.end - run.start > days
    assert run.duration_s is not None
    assert run.duration_s < 60
    assert run.own_seconds(run.end) == run.duration_s
    (task,) = run.tasks
    assert task.start == task.attempts[1].start  # the first one does not count any more
    assert "Resumed" in (run.folder / paths.SUMMARY).read_text()


def test_a_live_run_of_this_host_is_refused_also_without_a_lock(tmp_path: Path) -> None:
    record = make_run_record(status=RunStatus.RUNNING, end=None, driver=this_driver())
    folder = write_run(tmp_path, record, events=[attempt_started()])
    with pytest.raises(UsageError, match=f"process {os.getpid()} on host"), reopened(folder):
        pass
