"""``summary.md``: markdown that says what happened, whatever the names, within what CI systems show."""

import re

import pytest

from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.reports import render_summary
from pynb_dag_runner.reports.summary import MAX_BYTES, MAX_FAILURES, MAX_ROWS
from pynb_dag_runner.run_folder import TaskRun
from pynb_dag_runner.run_folder.records import GitRecord
from tests.reports.reported_runs import FAILURE, HOSTILE, make_attempt, make_run, make_task, skipped_task

LEFT_OUT = "Left out: the run is too large for a mermaid diagram."


def diagrams(text: str) -> list[str]:
    return re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)


def table(text: str) -> list[list[str]]:
    """Cells of the table's rows, unescaped, without the two lines of its head."""
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in rows]
    return [[re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell.strip()) for cell in row] for row in cells]


def chain(count: int) -> list[TaskRun]:
    return [make_task(f"t{number}", [f"t{number - 1}"] if number else []) for number in range(count)]


@pytest.mark.parametrize("status", RunStatus)
def test_the_heading_says_the_status(status: RunStatus) -> None:
    heading = render_summary(make_run(status=status)).splitlines()[0]
    assert re.fullmatch(rf"## \S+ digits: {status.value.lower()}", heading)


def test_the_head_says_what_was_run_and_how_it_went() -> None:
    git = GitRecord(commit="5c0ffee1d2a34b5c", branch="main", dirty=True)
    run = make_run(make_task("a"), skipped_task("b", "a"), parameters={"seed": 7}, git=git)
    assert render_summary(run).split("\n\n")[1:4] == [
        "2 tasks (1 succeeded, 1 skipped) · 10 s · started 2026-11-23 05:47:12 UTC · run `20261123T054712Z-9f3c`",
        "Commit `5c0ffee1d2a3` on main with uncommitted changes",
        "Parameters: seed = 7",
    ]


def test_the_graph_and_the_times_are_diagrams() -> None:
    attempts = [make_attempt("a", 1, 0, 2, Outcome.FAILED), make_attempt("a", 2, 3, 8)]
    graph, gantt = diagrams(render_summary(make_run(make_task("a", attempts=attempts))))
    assert '(["a<br/>succeeded, 8.0 s, 2 attempts"]):::succeeded' in graph
    assert gantt.splitlines()[3:] == [
        "  a #40;1#41; failed, 2.0 s :crit, 1795412832000, 1795412834000",
        "  a #40;2#41;, 5.0 s :1795412835000, 1795412840000",
    ]


def test_the_table_has_a_row_for_each_task() -> None:
    attempt = make_attempt("a", end=2.0, queue_s=0.5, cpu_time_s=1.5, peak_memory_bytes=1 << 20)
    rows = table(render_summary(make_run(make_task("a", attempts=[attempt]), skipped_task("b", "a"))))
    assert rows[0] == ["a", "✅ succeeded", "1", "2.0 s", "500 ms", "1.5 s", "1.0 MiB", ""]
    assert rows[1] == ["b", "⏭️ skipped", "0", "–", "–", "–", "–", "a did not succeed"]


def test_hostile_texts_stay_in_their_cells() -> None:
    tasks = [
        make_task(name, attempts=[make_attempt("a", failure=Failure(kind=name, message=f"{name}\n| x"))])
        for name in HOSTILE
    ]
    rows = table(render_summary(make_run(*tasks)))
    assert [row[0] for row in rows] == list(HOSTILE)
    assert [row[-1] for row in rows] == [f"{name}: {name} | x" for name in HOSTILE]


def test_hostile_texts_make_no_html_and_end_no_fence() -> None:
    failure = Failure(kind="<b>", message="", traceback="before\n```\n<script>\n````\nafter")
    tasks = [make_task(name, attempts=[make_attempt(failure=failure)]) for name in HOSTILE]
    text = render_summary(make_run(*tasks, pipeline="</details><img src=x>"))
    outside = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    tags = re.findall(r"(?<!\\)</?\w+", outside)
    assert set(tags) == {"<details", "<summary", "</summary", "</details"}
    assert "\n`````\nbefore\n" in text


def test_a_failure_has_its_tracebacks_end_folded_below() -> None:
    lines = "\n".join(f"line {number}" for number in range(100))
    task = make_task(attempts=[make_attempt(failure=Failure(kind="E", message="", traceback=lines))])
    text = render_summary(make_run(task))
    assert "<summary>a: E</summary>\n\n```\nline 60\n" in text
    assert "\nline 99\n```\n\n</details>" in text


def test_few_tracebacks_are_quoted_and_the_others_counted() -> None:
    tasks = [make_task(f"t{number}", status=TaskStatus.FAILED) for number in range(MAX_FAILURES + 3)]
    text = render_summary(make_run(*tasks))
    assert text.count("<details>") == MAX_FAILURES
    assert "And 3 errors more; `report.html` in the run folder has all." in text


def test_a_diagram_with_more_edges_than_mermaid_draws_is_left_out() -> None:
    assert len(diagrams(render_summary(make_run(*chain(501))))) == 2
    text = render_summary(make_run(*chain(502)))
    assert [diagram.split()[0] for diagram in diagrams(text)] == ["gantt"]
    assert f"### Graph\n\n{LEFT_OUT}" in text


def test_a_diagram_longer_than_mermaid_reads_is_left_out() -> None:
    tasks = [make_task(f"{'x' * 50}-{number}") for number in range(900)]
    text = render_summary(make_run(*tasks))
    assert diagrams(text) == []
    assert text.count(LEFT_OUT) == 2


def test_of_a_large_run_only_what_went_wrong_is_listed() -> None:
    tasks = [make_task(f"t{number}") for number in range(MAX_ROWS)]
    text = render_summary(make_run(*tasks, make_task("bad", status=TaskStatus.FAILED)))
    assert [row[0] for row in table(text)] == ["bad"]
    assert "### Tasks that did not succeed" in text


def test_no_summary_is_longer_than_a_ci_system_shows_and_it_says_so() -> None:
    failure = Failure(kind="|" * 5_000, message="\\" * 5_000, traceback=("<" * 5_000 + "\n") * 200)
    attempts = [make_attempt(failure=failure, outcome=Outcome.FAILED)]
    tasks = [make_task(f"{'<' * 3_000}{number}", status=TaskStatus.FAILED, attempts=attempts) for number in range(600)]
    text = render_summary(make_run(*tasks, parameters={f"p{number}": "*" * 1_000 for number in range(2_000)}))
    assert 500_000 < len(text.encode()) <= MAX_BYTES
    assert len(table(text)) == MAX_ROWS
    assert text.endswith("Some of it is left out here: there was too much. `report.html` in the run folder has all.\n")


def test_a_run_without_tasks_has_a_summary() -> None:
    assert render_summary(make_run(end=None, status=RunStatus.RUNNING)).split("\n\n")[1].startswith("0 tasks · started")


def test_an_interrupted_task_is_said_to_be_so() -> None:
    running = make_task("a", status=TaskStatus.PENDING, attempts=[make_attempt(outcome=None, end=None)])
    text = render_summary(make_run(running, status=RunStatus.INTERRUPTED))
    assert table(text)[0][1] == "⏸️ interrupted"
    assert "  a interrupted, 10 s :active, " in text


def test_warnings_are_listed() -> None:
    text = render_summary(make_run(make_task(status=TaskStatus.FAILED), warnings=("no *HTML*",)))
    assert text.endswith("### Warnings\n\n- no \\*HTML\\*\n")
    assert FAILURE.traceback in text
