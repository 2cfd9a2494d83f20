"""One run on real Ray with real kernels in which everything happens that can happen to a task; its folder is read."""

import contextlib
import html
import os
import re
import time
from pathlib import Path
from textwrap import dedent

import nbformat
import psutil
import pytest

from pynb_dag_runner import Outcome, Pipeline, PipelineError, Run, RunResult, RunStatus, TaskStatus, read_run, tracking
from pynb_dag_runner.events import (
    AttemptEnded,
    AttemptStarted,
    EngineStarting,
    Event,
    RunEnded,
    RunStarted,
    TaskSettled,
)
from pynb_dag_runner.run_folder import read_attempt_details

GOOD = """
    # %% tags=["parameters"]
    size = 1
    where = None

    # %%
    import os
    from pynb_dag_runner import tracking

    print("size is", size, type(where).__name__, os.path.basename(os.getcwd()))
    tracking.log_metric("score", 0.5, step=1)
    tracking.log_metric("score", float("nan"), step=2)
    tracking.log_param("kind", "tree")
    tracking.set_tag("stage", "test")
    tracking.log_text("hello", "notes/hello.txt")
    name = "doubled"  # what is computed is not known before the run
    tracking.set_output(name, size * 2)
"""
FAILING = """
    # %%
    before = "kept"
    before
    # %%
    raise ValueError("the data is <bad>")
    # %%
    print("never reached")
"""
STUCK = """
    # %%
    print("before the sleep")
    # %%
    import signal, subprocess, time
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    subprocess.Popen(["setsid", "sleep", "4711"])
    time.sleep(600)
"""
DYING = """
    # %%
    import os
    os._exit(7)
"""
SECOND_TIME = """
    # %%
    import os
    assert os.environ["PYNB_DAG_RUNNER_ATTEMPT"] == "2", "fails the first time"
"""


class Opaque:
    """A value that JSON can't hold."""

    def __init__(self, number: int) -> None:
        self.number = number


def make_opaque(number: int) -> Opaque:
    tracking.log_metric("number", number)
    return Opaque(number)


def read_opaque(values: dict[str, Opaque]) -> int:
    return sum(value.number for value in values.values())


def sleep_long() -> None:
    time.sleep(600)


def swallow_everything() -> None:
    while True:
        with contextlib.suppress(BaseException):  # the worst of tasks
            time.sleep(600)


def leave() -> None:
    os._exit(3)


def never_called() -> None:
    raise AssertionError


@pytest.fixture(scope="module")
def heard() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, heard: list[Event]) -> RunResult:
    base = tmp_path_factory.mktemp("pipeline")
    sources = {"good": GOOD, "failing": FAILING, "stuck": STUCK, "dying": DYING, "second_time": SECOND_TIME}
    for name, source in sources.items():
        (base / f"{name}.py").write_text(dedent(source).lstrip())
    p = Pipeline("everything", base_dir=base, parameters={"size": 21})
    good = p.notebook("good.py", parameters={"size": 21, "where": base})
    again = p.notebook("good.py", name="again/with: a strange name", parameters={"size": good.output("doubled")})
    opaque = p.function(make_opaque, parameters={"number": good.output("doubled")})
    p.function(read_opaque, parameters={"values": {"first": opaque.output()}}, after=[again])
    failing = p.notebook("failing.py", retries=1)
    p.function(never_called, after=failing, name="below")
    p.function(never_called, after="below", name="further below")
    p.notebook("stuck.py", timeout_s=10)
    p.notebook("dying.py")
    p.notebook("second_time.py", retries=1, retry_delay_s=0.1)
    p.function(sleep_long, timeout_s=1)
    p.function(swallow_everything, timeout_s=1)
    p.function(leave, retries=1)
    p.function(read_opaque, name="missing", parameters={"values": {"x": good.output("tripled")}}, retries=2)
    p.notebook("good.py", name="unreceivable", parameters={"size": opaque.output()})
    return p.run(output_dir=base / "runs", num_cpus=2, progress=False, listeners=[heard.append])


@pytest.fixture(scope="module")
def run(result: RunResult) -> Run:
    return read_run(result.folder)


def text(run: Run, path: Path | None) -> str:
    assert path is not None
    return (run.folder / path).read_text()


def test_the_run_failed_since_some_task_did(result: RunResult, run: Run) -> None:
    assert result.status is RunStatus.FAILED
    assert run.status is RunStatus.FAILED
    assert run.warnings == ()


def test_every_task_has_its_status(result: RunResult) -> None:
    assert {name: task.status.value for name, task in result.tasks.items()} == {
        "good": "SUCCEEDED",
        "again/with: a strange name": "SUCCEEDED",
        "make_opaque": "SUCCEEDED",
        "read_opaque": "SUCCEEDED",
        "failing": "FAILED",
        "below": "SKIPPED",
        "further below": "SKIPPED",
        "stuck": "TIMED_OUT",
        "dying": "CRASHED",
        "second_time": "SUCCEEDED",
        "sleep_long": "TIMED_OUT",
        "swallow_everything": "TIMED_OUT",
        "leave": "CRASHED",
        "missing": "FAILED",
        "unreceivable": "FAILED",
    }


def test_attempts_are_counted_as_declared(result: RunResult) -> None:
    counts = {name: len(task.attempts) for name, task in result.tasks.items()}
    assert (counts["failing"], counts["second_time"], counts["leave"], counts["missing"], counts["below"]) == (
        2,
        2,
        2,
        1,
        0,
    )


def test_outputs_go_downstream(result: RunResult) -> None:
    assert result.tasks["good"].outputs == {"doubled": 42}
    assert result.tasks["again/with: a strange name"].outputs == {"doubled": 84}
    assert result.tasks["read_opaque"].outputs == {"return": 42}
    assert result.tasks["make_opaque"].outputs == {}


def test_a_notebook_runs_in_its_own_directory_with_its_parameters(run: Run) -> None:
    attempt = run.by_name["good"].attempts[0]
    assert text(run, attempt.log) == f"size is 21 PosixPath {run.folder.parents[2].name}\n"
    assert attempt.parameters == {"size": 21, "where": str(run.folder.parents[2])}


def test_what_a_task_tracked_is_read_back(run: Run) -> None:
    details = read_attempt_details(run, run.by_name["good"].attempts[0])
    assert (details.params, details.tags) == ({"kind": "tree"}, {"stage": "test"})
    assert [(metric.key, repr(metric.value), metric.step) for metric in details.metrics] == [
        ("score", "0.5", 1),
        ("score", "nan", 2),
    ]
    assert details.artifacts == (Path("notes/hello.txt"),)


def test_a_failed_notebook_keeps_its_outputs_and_its_traceback(run: Run) -> None:
    attempt = run.by_name["failing"].attempts[1]
    assert attempt.failure is not None
    assert (attempt.failure.kind, attempt.failure.message) == ("ValueError", "the data is <bad>")
    notebook = nbformat.reads(text(run, attempt.notebook), as_version=4)
    assert [cell.get("execution_count") for cell in notebook.cells] == [1, 2, None]
    assert notebook.cells[0].outputs[0].data["text/plain"] == "'kept'"
    page = text(run, attempt.html)
    assert "ValueError" in page
    assert "the data is &lt;bad&gt;" in page


def test_a_stuck_notebook_is_ended_with_what_it_had_done(run: Run) -> None:
    (attempt,) = run.by_name["stuck"].attempts
    assert attempt.outcome is Outcome.TIMED_OUT
    assert attempt.failure is not None
    assert attempt.failure.message == "timed out in cell 2 after 10 s"
    assert "before the sleep" in text(run, attempt.notebook)
    assert "TIMED_OUT" in text(run, attempt.html)
    assert text(run, attempt.log) == "before the sleep\n"


def test_no_process_that_a_task_started_is_left(run: Run) -> None:
    left = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"]
        and any("4711" in part or str(run.folder) in part for part in process.info["cmdline"])
    ]
    assert left == []


def test_a_dead_kernel_is_a_crash_with_its_exit_code(run: Run) -> None:
    failure = run.by_name["dying"].failure
    assert failure is not None
    assert (failure.kind, failure.message) == ("ProcessDied", "the kernel died in cell 1: exit code 7")


def test_a_dead_worker_is_a_crash_that_counts_as_an_attempt(run: Run) -> None:
    task = run.by_name["leave"]
    assert [attempt.outcome for attempt in task.attempts] == [Outcome.CRASHED, Outcome.CRASHED]
    assert all(attempt.failure and attempt.failure.kind == "ProcessDied" for attempt in task.attempts)


@pytest.mark.parametrize("name", ["sleep_long", "swallow_everything"])
def test_a_function_past_its_timeout_is_ended(run: Run, name: str) -> None:
    (attempt,) = run.by_name[name].attempts
    assert attempt.failure is not None
    assert attempt.failure.message == "timed out after 1 s"


def test_a_skipped_task_names_the_one_that_failed(run: Run) -> None:
    assert run.by_name["below"].blocked_by == "failing"
    assert run.by_name["further below"].blocked_by == "failing"


def test_an_output_that_was_never_set_fails_the_task_in_words(run: Run) -> None:
    failure = run.by_name["missing"].failure
    assert failure is not None
    assert failure.message == "task 'good' never set the output 'tripled'; it set 'doubled'"


def test_a_notebook_refuses_what_it_cannot_receive(run: Run) -> None:
    failure = run.by_name["unreceivable"].failure
    assert failure is not None
    assert "the return value of task 'make_opaque' is none that JSON can hold" in failure.message


def test_the_report_and_the_summary_name_every_task(run: Run) -> None:
    pages = [html.unescape(text(run, path)).replace("\\", "") for path in (run.report, run.summary)]
    assert [name for name in run.by_name if any(name not in page for page in pages)] == []


def test_listeners_hear_each_attempt_and_each_task_once(heard: list[Event], run: Run) -> None:
    assert [type(event) for event in heard[:2]] == [EngineStarting, RunStarted]
    assert isinstance(heard[-1], RunEnded)
    settled = [event.task for event in heard if isinstance(event, TaskSettled)]
    assert sorted(settled) == sorted(run.by_name)
    ended = [(event.task, event.number) for event in heard if isinstance(event, AttemptEnded)]
    assert sorted(ended) == sorted((task.name, attempt.number) for task in run.tasks for attempt in task.attempts)
    started = [(event.task, event.number) for event in heard if isinstance(event, AttemptStarted)]
    assert set(started) <= set(ended)


def test_a_downstream_task_starts_after_its_upstream_ended(run: Run) -> None:
    for task in run.tasks:
        for name in task.upstream:
            upstream = run.by_name[name]
            if task.start is not None and upstream.status is TaskStatus.SUCCEEDED:
                assert upstream.end is not None
                assert task.start >= upstream.end


def test_times_and_usage_are_recorded(run: Run) -> None:
    attempt = run.by_name["good"].attempts[0]
    assert attempt.duration_s is not None
    assert attempt.duration_s > 0
    assert attempt.cpu_time_s is not None
    assert attempt.cpu_time_s > 0
    assert attempt.peak_memory_bytes is not None
    assert attempt.peak_memory_bytes > 10_000_000


def fail_when_the_other_runs(flag: str) -> None:
    while not Path(flag).exists():
        time.sleep(0.01)
    raise RuntimeError("first")


def sleep_and_say_so(flag: str) -> None:
    Path(flag).touch()
    time.sleep(600)


def test_fail_fast_cancels_what_runs_and_what_waits(tmp_path: Path) -> None:
    p = Pipeline("hasty", base_dir=tmp_path)
    flag = str(tmp_path / "runs-now")
    p.function(fail_when_the_other_runs, name="fails", parameters={"flag": flag}, retries=0)
    running = p.function(sleep_and_say_so, name="runs", parameters={"flag": flag}, retries=5)
    p.function(never_called, name="waits", after=running)
    p.function(never_called, name="below", after="fails")
    result = p.run(output_dir=tmp_path, num_cpus=2, progress=False, fail_fast=True)
    assert result.status is RunStatus.FAILED
    assert {name: task.status.value for name, task in result.tasks.items()} == {
        "fails": "FAILED",
        "runs": "CANCELLED",
        "waits": "CANCELLED",
        "below": "SKIPPED",
    }
    assert len(result.tasks["runs"].attempts) == 1


def test_what_can_never_be_given_is_refused_before_anything_runs(tmp_path: Path) -> None:
    p = Pipeline("greedy", base_dir=tmp_path)
    p.function(never_called, num_cpus=3, resources={"fpga": 1})
    wanted = (
        "task 'never_called' asks for more than any node has: num_cpus=3 (there are 2), resource 'fpga'=1 (there are 0)"
    )
    with pytest.raises(PipelineError, match=re.escape(wanted)):
        p.run(output_dir=tmp_path / "runs", num_cpus=2, progress=False)
    assert list((tmp_path / "runs" / "greedy").iterdir()) == []
