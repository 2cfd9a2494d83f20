"""The time chart: every attempt, whatever became of it, on one axis."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pynb_dag_runner.model.outcomes import Outcome, RunStatus, TaskStatus
from pynb_dag_runner.reports import render_html
from pynb_dag_runner.reports.gantt import Bar, gantt_of_run, ticks
from tests.reports.reported_runs import FAILURE, make_attempt, make_run, make_task, parse_page, skipped_task


def spans(bars: Iterable[Bar]) -> list[tuple[int, str, float, float]]:
    return [(bar.number, bar.state.value, bar.start_s, bar.end_s) for bar in bars]


def test_retries_are_bars_of_one_row() -> None:
    attempts = [make_attempt("a", 1, 1, 3, Outcome.FAILED), make_attempt("a", 2, 4, 9, Outcome.SUCCEEDED)]
    (row,) = gantt_of_run(make_run(make_task(attempts=attempts))).rows
    assert spans(row.bars) == [(1, "FAILED", 1, 3), (2, "SUCCEEDED", 4, 9)]


def test_the_wait_for_a_slot_stands_before_the_bar() -> None:
    (row,) = gantt_of_run(make_run(make_task(attempts=[make_attempt(start=5, queue_s=2.0)]))).rows
    assert row.bars[0].queued_s == 3.0


def test_rows_come_by_start_and_tasks_that_never_ran_last() -> None:
    late, early = make_task("late", attempts=[make_attempt(start=5)]), make_task("early")
    chart = gantt_of_run(make_run(skipped_task("blocked", "x"), late, early))
    assert [(row.name, row.index) for row in chart.rows] == [("early", 2), ("late", 1), ("blocked", 0)]


def test_a_skipped_task_has_a_note_instead_of_a_bar() -> None:
    (row,) = gantt_of_run(make_run(skipped_task("b", "a"))).rows
    assert (row.bars, row.note) == ((), "skipped: a did not succeed")


def test_a_task_that_was_never_started_says_so() -> None:
    (row,) = gantt_of_run(make_run(make_task(status=TaskStatus.PENDING))).rows
    assert row.note == "not started"


@pytest.mark.parametrize(("status", "word"), [(RunStatus.RUNNING, "RUNNING"), (RunStatus.INTERRUPTED, "INTERRUPTED")])
def test_an_attempt_without_an_end_reaches_to_the_last_time_known(status: RunStatus, word: str) -> None:
    open_one = make_task("a", status=TaskStatus.PENDING, attempts=[make_attempt("a", 1, 2, None, None)])
    done = make_task("b", attempts=[make_attempt("b", 1, 0, 7)])
    run = make_run(open_one, done, status=status, end=None)
    bar = next(row.bars[0] for row in gantt_of_run(run).rows if row.name == "a")
    assert (bar.state.value, bar.start_s, bar.end_s, bar.is_open) == (word, 2, 7, True)


def test_an_attempt_that_ended_before_it_ran_is_a_point() -> None:
    (row,) = gantt_of_run(make_run(make_task(attempts=[make_attempt("a", 1, None, 4, Outcome.CANCELLED)]))).rows
    assert spans(row.bars) == [(1, "CANCELLED", 4, 4)]


def test_clocks_that_differ_move_the_axis_not_the_bars() -> None:
    chart = gantt_of_run(make_run(make_task(attempts=[make_attempt(start=-3, end=2)])))
    assert (chart.start_s, chart.share(-3)) == (-3, 0)


@pytest.mark.parametrize("waited", [float("nan"), float("inf"), -5.0])
def test_a_forged_wait_does_not_stretch_the_axis(waited: float) -> None:
    run = make_run(make_task(attempts=[make_attempt(start=1, queue_s=waited)]))
    assert gantt_of_run(run).start_s == 0
    parse_page(render_html(run))


@pytest.mark.parametrize(
    ("end", "labels"),
    [
        (0.004, ["0 s", "1 ms", "2 ms", "3 ms", "4 ms"]),
        (3, ["0 s", "500 ms", "1 s", "1.5 s", "2 s", "2.5 s", "3 s"]),
        (32, ["0 s", "5 s", "10 s", "15 s", "20 s", "25 s", "30 s"]),
        (128, ["0 s", "15 s", "30 s", "45 s", "1 min", "1 min 15 s", "1 min 30 s", "1 min 45 s", "2 min"]),
        (6 * 3600, ["0 s", "1 h", "2 h", "3 h", "4 h", "5 h", "6 h"]),
        (3 * 86_400, ["0 s", "12 h", "1 d", "1 d 12 h", "2 d", "2 d 12 h", "3 d"]),
    ],
)
def test_the_axis_has_round_labels(end: float, labels: list[str]) -> None:
    assert [tick.label for tick in ticks(0, end)] == labels


@settings(deadline=None)  # a busy machine is no reason to fail
@given(start=st.floats(-1e6, 1e6), length=st.floats(1e-3, 1e12))
def test_any_axis_has_few_labels_and_all_on_it(start: float, length: float) -> None:
    places = [tick.at_s for tick in ticks(start, start + length)]
    assert len(places) <= 11
    assert all(start - length * 1e-6 <= place <= start + length for place in places)


def test_bars_are_drawn_where_they_belong() -> None:
    attempts = [make_attempt("a", 1, 1, 3, Outcome.TIMED_OUT, failure=FAILURE), make_attempt("a", 2, 5, 10)]
    text = render_html(make_run(make_task(attempts=attempts), end=10))
    plot = re.findall(r'<svg class="g-plot".*?\n</svg>', text, re.DOTALL)[1]
    groups = list(ElementTree.fromstring(plot).iter("g"))
    drawn = [(group.get("class"), bar.get("x"), bar.get("width")) for group in groups for bar in group.iter("rect")]
    assert drawn == [("s-TIMED_OUT", "10%", "20%"), ("s-SUCCEEDED", "50%", "50%")]
    assert "attempt 1: timed out, 2.0 s" in "".join(groups[0].itertext())


@pytest.mark.parametrize(
    ("last_start", "place"),
    [(2.0, "on"), (9.5, None)],  # a last bar that has room for its text, and one that has not
)
def test_a_text_stands_where_there_is_room_or_nowhere(last_start: float, place: str | None) -> None:
    attempts = [make_attempt("a", 1, 0, 1, Outcome.FAILED), make_attempt("a", 2, last_start, 10)]
    text = render_html(make_run(make_task(attempts=attempts), end=10))
    plot = re.findall(r'<svg class="g-plot".*?\n</svg>', text, re.DOTALL)[1]
    places = [
        found.get("class") for found in ElementTree.fromstring(plot).iter("text") if "attempt" in (found.text or "")
    ]
    assert places == ([] if place is None else [place])
