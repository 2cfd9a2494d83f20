"""Lay a run out on a time axis: one row per task, one bar per attempt. The page and the summary draw the result.

Times are seconds since the run's start, so that a bar's place and an axis label say the same. The time in which a run
stood still before it was resumed is left out: beside days of nothing no bar would be seen.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pynb_dag_runner.model.outcomes import TaskStatus
from pynb_dag_runner.model.quantities import clock, duration
from pynb_dag_runner.reports.wording import State, state_of_attempt, state_of_task, state_word
from pynb_dag_runner.run_folder.run import AttemptRun, Run, TaskRun

_STEPS_S = (
    *(factor * 10.0**power for power in range(-3, 1) for factor in (1, 2, 5)),
    *(10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0),
    *(3_600.0 * hours for hours in (1, 2, 3, 6, 12)),
    *(86_400.0 * days for days in (1, 2, 7, 14, 30, 90, 365)),
)
"""Distances between labels that people read easily."""

_MOST_TICKS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One attempt.

    Attributes:
        number: of the attempt, from 1.
        state: its outcome, or RUNNING or INTERRUPTED.
        start_s, end_s: when it ran; an attempt without an end is drawn up to the last time that is known.
        queued_s: when it began to wait for a free slot; equals ``start_s`` where that is not known.
        is_open: whether the end is not known.
        title: all of this in words.
    """

    number: int
    state: State
    start_s: float
    end_s: float
    queued_s: float
    is_open: bool
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One task. ``index`` is its place in plan order; ``note`` says why there is no bar."""

    index: int
    name: str
    state: State
    bars: tuple[Bar, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A label on the axis."""

    at_s: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Gantt:
    """The chart: rows by first start, those that never started last, and the axis from ``start_s`` to ``end_s``."""

    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    start_s: float
    end_s: float

    def share(self, at_s: float) -> float:
        """Where a time lies on the axis: 0 at its start, 1 at its end."""
        return (at_s - self.start_s) / (self.end_s - self.start_s)


def gantt_of_run(run: Run) -> Gantt:
    """The chart of a run, of whatever status. The axis always has a length."""
    last = max(_known_times(run))
    rows = [_row(run, index, task, last) for index, task in enumerate(run.tasks)]
    rows.sort(key=lambda row: row.bars[0].start_s if row.bars else float("inf"))
    # An attempt may seem to start before the run: clocks of two hosts differ.
    start = min([0.0, *(bar.queued_s for row in rows for bar in row.bars)])
    end = max(last, start + 0.001)
    return Gantt(rows=tuple(rows), ticks=tuple(ticks(start, end)), start_s=start, end_s=end)


def ticks(start_s: float, end_s: float) -> Iterator[Tick]:
    """Labels at round times between two times, both included; at most ten."""
    step = next((step for step in _STEPS_S if (end_s - start_s) / step < _MOST_TICKS), None)
    if step is None:  # a run of years
        step = _STEPS_S[-1] * (1 + (end_s - start_s) // (_STEPS_S[-1] * _MOST_TICKS))
    first = -int(-start_s // step)
    for number in range(first, first + _MOST_TICKS + 1):
        if number * step <= end_s:
            yield Tick(at_s=number * step, label=_tick_label(number * step))


def _tick_label(at_s: float) -> str:
    if at_s < 0:
        return f"−{_tick_label(-at_s)}"
    if 0 < at_s < 60:
        return f"{at_s:g} s" if at_s >= 1 else f"{at_s * 1000:g} ms"
    return duration(at_s)


def _known_times(run: Run) -> Iterator[float]:
    """Everything that is known to have happened."""
    yield 0.0
    for time in (run.end, *(time for task in run.tasks for time in (task.start, task.end))):
        if time is not None:
            yield run.own_seconds(time)
    for task in run.tasks:
        for attempt in task.attempts:
            for time in (attempt.start, attempt.end):
                if time is not None:
                    yield run.own_seconds(time)


def _row(run: Run, index: int, task: TaskRun, last: float) -> Row:
    bars = tuple(bar for attempt in task.attempts if (bar := _bar(run, attempt, last)))
    state = state_of_task(run, task)
    note = "" if bars else f"skipped: {task.blocked_by} did not succeed" if task.blocked_by else state_word(state)
    if not bars and state is TaskStatus.PENDING:
        note = "not started"
    return Row(index=index, name=task.name, state=state, bars=bars, note=note)


def _bar(run: Run, attempt: AttemptRun, last: float) -> Bar | None:
    """The bar of an attempt; None if no time is known of it."""
    known_start = attempt.start or attempt.end
    if known_start is None:
        return None
    start = run.own_seconds(known_start)
    end = max(start, run.own_seconds(attempt.end) if attempt.end else last)
    state = state_of_attempt(run, attempt)
    return Bar(
        number=attempt.number,
        state=state,
        start_s=start,
        end_s=end,
        queued_s=start - _waited_s(attempt),
        is_open=attempt.end is None,
        title=_title(attempt, state),
    )


def _waited_s(attempt: AttemptRun) -> float:
    """Seconds in the queue; 0 where they are not known, or where a forged folder claims an endless wait."""
    waited = attempt.queue_s or 0.0
    return max(0.0, waited) if math.isfinite(waited) else 0.0


def _title(attempt: AttemptRun, state: State) -> str:
    took = "" if attempt.duration_s is None else f", {duration(attempt.duration_s)}"
    queued = f"\nwaited {duration(attempt.queue_s)} for a free slot" if attempt.queue_s else ""
    times = f"{clock(attempt.start)} to {clock(attempt.end)} UTC"
    return f"attempt {attempt.number}: {state_word(state)}{took}\n{times}{queued}"
