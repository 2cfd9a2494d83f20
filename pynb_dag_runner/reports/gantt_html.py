"""The time chart as markup: names and bars in two SVG columns, so that bars stretch with the page and text does not.

Places along the axis are percentages. Rows come in blocks, which a browser lays out only when they scroll into view:
ten thousand rows open as fast as a hundred.
"""

from dataclasses import dataclass

from pynb_dag_runner.outcome import Outcome
from pynb_dag_runner.reports.gantt import Bar, Gantt, Row
from pynb_dag_runner.reports.templating import render
from pynb_dag_runner.reports.wording import cut, duration, state_word

_ROW_HEIGHT = 24
_ROWS_IN_BLOCK = 100
_NAME_COLUMNS = 30
_ROOM_FOR_TEXT = 0.22
"""Part of the axis that a bar's text may need on a narrow page."""

_ROOM_FOR_MARK = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class _DrawnBar:
    """A bar in percent of the axis."""

    bar: Bar
    left: str
    width: str
    queue_left: str
    queue_width: str
    has_mark: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _DrawnRow:
    """A row with its text, which stands after the last bar, before the first one, on the last one, or nowhere."""

    row: Row
    name: str
    bars: tuple[_DrawnBar, ...]
    text: str
    text_at: str
    text_side: str
    span_left: str
    span_right: str


def gantt_html(gantt: Gantt) -> str:
    """The chart's markup, for a page that has the styles and symbols; names link to the page's ``t<position>``."""
    rows = [_drawn_row(gantt, row) for row in gantt.rows]
    return render(
        "gantt.html",
        ticks=[(_percent(share := gantt.share(tick.at_s)), _edge(share), tick.label) for tick in gantt.ticks],
        blocks=[rows[first : first + _ROWS_IN_BLOCK] for first in range(0, len(rows), _ROWS_IN_BLOCK)],
        row_height=_ROW_HEIGHT,
    )


def _drawn_row(gantt: Gantt, row: Row) -> _DrawnRow:
    at, side = _text_place(gantt, row)
    return _DrawnRow(
        row=row,
        name=cut(row.name, _NAME_COLUMNS),
        bars=tuple(_drawn_bar(gantt, bar) for bar in row.bars),
        text=_text(row) if side != "nowhere" else "",  # the bar's title and the table say it
        text_at=_percent(at),
        text_side=side,
        span_left=_percent(gantt.share(row.bars[0].start_s)) if row.bars else "0%",
        span_right=_percent(gantt.share(row.bars[-1].end_s)) if row.bars else "0%",
    )


def _drawn_bar(gantt: Gantt, bar: Bar) -> _DrawnBar:
    queued, start, end = (gantt.share(at) for at in (bar.queued_s, bar.start_s, bar.end_s))
    return _DrawnBar(
        bar=bar,
        left=_percent(start),
        width=_percent(end - start),
        queue_left=_percent(queued),
        queue_width=_percent(start - queued) if start - queued > 0.0005 else "",
        has_mark=bar.state is not Outcome.SUCCEEDED and end - start >= _ROOM_FOR_MARK,
    )


def _text(row: Row) -> str:
    if not row.bars:
        return row.note
    last = row.bars[-1]
    words = [] if last.state is Outcome.SUCCEEDED else [state_word(last.state)]
    words.append(duration(last.end_s - last.start_s))
    if len(row.bars) > 1:
        words.append(f"attempt {last.number}")
    return " · ".join(words)


def _text_place(gantt: Gantt, row: Row) -> tuple[float, str]:
    if not row.bars:
        return 0.0, "after"
    first, last = gantt.share(row.bars[0].queued_s), gantt.share(row.bars[-1].end_s)
    if last <= 1 - _ROOM_FOR_TEXT:
        return last, "after"
    if first >= _ROOM_FOR_TEXT:
        return first, "before"
    wide = last - gantt.share(row.bars[-1].start_s) >= _ROOM_FOR_TEXT
    return last, "on" if wide else "nowhere"


def _edge(share: float) -> str:
    """On which side of its place a label must stand so that it is not cut off."""
    return "first" if share < 0.03 else "last" if share > 0.97 else ""


def _percent(share: float) -> str:
    return f"{share * 100:.5g}%" if share > 0.000001 else "0%"
