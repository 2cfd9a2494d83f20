"""What a person sees of a run: plain lines, the live view, the last words."""

import io
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pynb_dag_runner.events import (
    AttemptEnded,
    AttemptStarted,
    AttemptWaits,
    EngineStarting,
    Event,
    PagesBeingMade,
    RunEnded,
    RunResumed,
    RunStarted,
    TaskSettled,
    Warned,
)
from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.model.task_options import TaskOptions
from pynb_dag_runner.reports.console import RunConsole, summary
from pynb_dag_runner.reports.styled_text import duration_text, shown_path
from pynb_dag_runner.run_folder import AttemptRun, TaskRun

START = datetime(2026, 11, 23, 5, 47, 12, tzinfo=UTC)
BAD = Failure(kind="ValueError", message="no such column: price\nand more")


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def run_started(*tasks: str) -> RunStarted:
    return RunStarted(time=START, pipeline="sales", run_id="r1", tasks=tasks)


def attempt_started(task: str, number: int = 1, at: float = 0.0) -> AttemptStarted:
    return AttemptStarted(time=after(at), task=task, number=number, host="here", pid=1)


def attempt_ended(
    task: str,
    outcome: Outcome = Outcome.FAILED,
    *,
    number: int = 1,
    at: float = 2.5,
    failure: Failure | None = BAD,
    retry_at: float | None = None,
) -> AttemptEnded:
    retry = None if retry_at is None else after(retry_at)
    return AttemptEnded(
        time=after(at), task=task, number=number, outcome=outcome, start=START, failure=failure, retry_at=retry
    )


def settled(
    task: str, status: TaskStatus = TaskStatus.FAILED, *, at: float = 2.5, by: str | None = None
) -> TaskSettled:
    return TaskSettled(time=after(at), task=task, status=status, blocked_by=by)


def task_run(
    name: str, status: TaskStatus = TaskStatus.FAILED, failure: Failure | None = BAD, retries: int = 0
) -> TaskRun:
    attempt = AttemptRun(
        folder=Path(f"tasks/{name}/attempt-1"),
        number=1,
        failure=failure,
        log=Path(f"tasks/{name}/attempt-1/output.log"),
    )
    options = TaskOptions(retries=retries)
    return TaskRun(name=name, kind="notebook", source="n.py", status=status, attempts=(attempt,), options=options)


def said(*events: Event, max_attempts: Mapping[str, int] | None = None, silent: bool = False) -> list[str]:
    """The plain lines for these events, without the time stamps."""
    stream = io.StringIO()
    with RunConsole(stream, max_attempts=max_attempts or {}, silent=silent) as console:
        for event in events:
            console(event)
    return [line.removeprefix("05:47:12Z ").removeprefix("05:47:14Z ") for line in stream.getvalue().splitlines()]


class Terminal(io.StringIO):
    """Remembers everything that was ever drawn."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def drawn(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name, value in (("TERM", "xterm"), ("COLUMNS", "100"), ("LINES", "30")):
        monkeypatch.setenv(name, value)
    return Terminal()


def summary_text(
    *tasks: TaskRun, status: RunStatus = RunStatus.FAILED, folder: Path = Path("/r/sales/r1")
) -> list[str]:
    return [line.plain for line in summary(status, folder, tasks, duration_s=12.34, cwd=Path("/r"))]


def test_each_line_starts_with_the_time_of_what_happened() -> None:
    stream = io.StringIO()
    RunConsole(stream, max_attempts={})(attempt_started("load", at=1))
    assert stream.getvalue() == "05:47:13Z load: started\n"


def test_a_task_that_succeeds_at_once_has_two_lines() -> None:
    lines = said(
        run_started("load"),
        attempt_started("load"),
        attempt_ended("load", Outcome.SUCCEEDED, failure=None),
        settled("load", TaskStatus.SUCCEEDED),
    )
    assert lines == ["run r1 of pipeline sales: 1 task", "load: started", "load: SUCCEEDED in 2.5 s"]


def test_what_attempts_wait_for_is_said_once() -> None:
    def waits(task: str, reason: str = "importing pandas (preload)") -> AttemptWaits:
        return AttemptWaits(time=START, task=task, number=1, reason=reason)

    lines = said(waits("a"), waits("b"), waits("c", "importing torch (preload)"), attempt_started("a"))
    assert lines == ["importing pandas (preload)", "importing torch (preload)", "a: started"]


def test_a_retry_says_why_and_when() -> None:
    lines = said(attempt_ended("load", retry_at=12.5), attempt_started("load", 2), max_attempts={"load": 3})
    assert lines == [
        "load: attempt 1 of 3 FAILED after 2.5 s, next in 10 s; ValueError: no such column: price",
        "load: attempt 2 of 3 started",
    ]


def test_a_failed_task_says_its_error_and_its_last_attempt() -> None:
    lines = said(attempt_started("load"), attempt_ended("load", number=2), settled("load"), max_attempts={"load": 2})
    assert lines[-1] == "load: FAILED in 2.5 s, attempt 2 of 2; ValueError: no such column: price"


def test_a_skipped_task_names_what_blocked_it() -> None:
    lines = said(settled("plot", TaskStatus.SKIPPED, by="load"))
    assert lines == ["plot: SKIPPED because load did not succeed"]


def test_tasks_that_are_taken_over_are_not_told_one_by_one() -> None:
    resumed = RunResumed(time=START, pipeline="sales", run_id="r1", host="here", pid=1, tasks=("a", "b"))
    events = (resumed, settled("a", TaskStatus.REUSED), attempt_started("b", number=3))
    assert said(*events, max_attempts={"a": 1, "b": 4}) == ["b: attempt 3 of 4 started"]


def test_a_warning_names_its_task() -> None:
    assert said(Warned(time=START, message="no HTML", task="plot")) == ["warning: plot: no HTML"]


def test_escape_sequences_of_user_code_do_not_reach_the_terminal() -> None:
    failure = Failure(kind="E", message="\x1b[31mred\x1b[0m \x1b]0;title\x07 bell\x07")
    assert said(attempt_ended("a", failure=failure), settled("a"))[-1] == "a: FAILED; E: red  bell\\x07"


def test_silence_until_the_summary() -> None:
    assert said(run_started("a"), attempt_started("a"), attempt_ended("a"), settled("a"), silent=True) == []


@pytest.mark.parametrize(
    ("silent", "status", "lines"),
    [
        (True, RunStatus.SUCCEEDED, False),  # nothing to say
        (True, RunStatus.FAILED, True),  # the final error summary comes in any case
        (False, RunStatus.SUCCEEDED, True),
    ],
)
def test_a_silent_console_sums_up_failures_only(silent: bool, status: RunStatus, lines: bool) -> None:
    stream = io.StringIO()
    RunConsole(stream, max_attempts={}, silent=silent).summarise(status, Path("/r"), [task_run("a")])
    assert bool(stream.getvalue()) is lines


def test_duration_is_that_between_start_and_end() -> None:
    console = RunConsole(None, max_attempts={})
    console(run_started("a"))
    assert console.duration_s is None
    console(RunEnded(time=after(90), status=RunStatus.SUCCEEDED))
    assert console.duration_s == 90.0


def test_summary_counts_by_status() -> None:
    tasks = [task_run("a", TaskStatus.SUCCEEDED, None), task_run("b"), task_run("c", TaskStatus.SKIPPED, None)]
    assert summary_text(*tasks)[1] == "FAILED in 12 s: 1 succeeded, 1 failed, 1 skipped"


def test_summary_tells_of_each_failure_where_to_look() -> None:
    assert summary_text(task_run("load", retries=1))[2:] == [
        "  load FAILED (attempt 1 of 2)",
        "    ValueError: no such column: price",
        "    and more",
        "    log: sales/r1/tasks/load/attempt-1/output.log",
        "run folder  sales/r1",
    ]


def test_summary_cuts_long_messages_and_long_lists() -> None:
    failure = Failure(kind="E", message="\n".join(f"line {number}" for number in range(20)))
    lines = summary_text(*(task_run(f"t{number}", failure=failure) for number in range(50)))
    assert lines[11] == "    ... 12 more lines"
    assert "  and 30 more; the report has them all" in lines


def test_summary_names_the_report_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "report.html").touch()
    assert summary_text(folder=tmp_path)[-1] == f"report      {tmp_path}/report.html"


def test_live_view_shows_running_attempts_and_counts(terminal: Terminal) -> None:
    with RunConsole(terminal, max_attempts={"load": 3, "plot": 1}, live=True) as console:
        console(run_started("load", "plot"))
        console(attempt_started("load", 2))
        console(Warned(time=START, message="draws the view again"))
    assert re.search(r"load +\d+ s  attempt 2 of 3", terminal.drawn())
    assert re.search(r"0 of 2 tasks · 1 running · \d+ s", terminal.drawn())


def test_live_view_shows_what_attempts_wait_for(terminal: Terminal) -> None:
    with RunConsole(terminal, max_attempts={"load": 1}, live=True) as console:
        console(AttemptWaits(time=START, task="load", number=1, reason="importing pandas (preload)"))
    assert "importing pandas (preload): 1 task waiting" in terminal.drawn()


def test_live_view_prints_what_is_finished_for_good(terminal: Terminal) -> None:
    with RunConsole(terminal, max_attempts={"load": 1}, live=True) as console:
        console(attempt_started("load"))
        console(attempt_ended("load"))
        console(settled("load"))
    assert "✗ load FAILED in 2.5 s; ValueError: no such column: price" in terminal.drawn()


def test_live_view_lists_ten_of_a_thousand_running_tasks(terminal: Terminal) -> None:
    names = [f"t{number}" for number in range(1000)]
    with RunConsole(terminal, max_attempts=dict.fromkeys(names, 1), live=True) as console:
        for name in names:
            console(attempt_started(name))
        console(Warned(time=START, message="last"))
    last = terminal.drawn().rpartition("warning: last")[2]
    assert "and 990 more running" in last
    assert len(re.findall(r"t\d+ +\d+ s", last.split("and 990")[0])) == 10


def test_live_view_does_not_list_a_thousand_skipped_tasks(terminal: Terminal) -> None:
    with RunConsole(terminal, max_attempts={}, live=True) as console:
        for number in range(1000):
            console(settled(f"t{number}", TaskStatus.SKIPPED, by="load"))
    assert terminal.drawn().count("because load did not succeed") == 5
    assert terminal.drawn().count("more tasks are skipped") == 1


def test_a_stream_that_can_only_do_ascii_gets_no_glyphs() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    with RunConsole(stream, max_attempts={"a": 2}, live=True) as console:
        console(attempt_started("a"))
        console(attempt_ended("a", retry_at=2.5))
    assert b"~ a attempt 1 of 2 FAILED after 2.5 s, trying again" in raw.getvalue()


def test_a_run_goes_on_when_stderr_is_closed() -> None:
    stream = io.StringIO()
    with RunConsole(stream, max_attempts={}) as console:
        stream.close()
        console(run_started("a"))
        console.summarise(RunStatus.FAILED, Path("/r"), [task_run("a")])


def test_a_run_goes_on_without_a_stderr() -> None:
    with RunConsole(None, max_attempts={}, live=True) as console:
        console(run_started("a"))


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (0.424, "424 ms"), (59.96, "1 min"), (7620, "2 h 7 min")])
def test_durations_are_worded_as_in_the_reports(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


def test_paths_below_the_current_directory_are_shown_relative() -> None:
    assert shown_path(Path("/r/runs/a"), Path("/r")) == "runs/a"
    assert shown_path(Path("/other/a"), Path("/r")) == "/other/a"


def test_what_takes_long_is_said_where_there_is_no_live_view() -> None:
    making = [PagesBeingMade(time=after(60 + waited), left=left, total=4) for left, waited in ((2, 1), (1, 2), (1, 12))]
    lines = said(EngineStarting(time=START, message="starting Ray"), run_started("a"), *making)
    assert [line.split("Z ")[-1] for line in (lines[0], *lines[2:])] == [
        "starting Ray",
        "making 2 of 4 pages",
        "making 1 of 4 pages",
    ]


def test_the_live_view_says_what_is_waited_for() -> None:
    console = RunConsole(io.StringIO(), max_attempts={}, live=True)
    for event, words in (
        (EngineStarting(time=START, message="starting Ray"), "starting Ray"),
        (run_started("a"), "0 of 1 task"),
        (PagesBeingMade(time=START, left=2, total=4), "making 2 of 4 pages"),
    ):
        console(event)
        with console.console.capture() as shown:
            console.console.print(console._view())
        assert words in shown.get()
        assert ("starting Ray" in shown.get()) == (words == "starting Ray")
