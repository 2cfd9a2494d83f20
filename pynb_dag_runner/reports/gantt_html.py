"""Draw the time chart as markup: names and bars in two SVG columns, so that bars stretch and text does not.

Places along the axis are percentages. Rows come in blocks, which a browser lays out only when they scroll into view:
ten thousand rows open as fast as a hundred. Rows are put together here and not in a template, which takes ten times as
long for each; all text in them goes through ``text``, the rest is numbers and words of our own.
"""

from dataclasses import dataclass
from itertools import cycle

from pynb_dag_runner.model.outcomes import Outcome
from pynb_dag_runner.model.quantities import duration
from pynb_dag_runner.model.text import cut_to_columns
from pynb_dag_runner.reports.gantt import Bar, Gantt, Row
from pynb_dag_runner.reports.templating import render, text
from pynb_dag_runner.reports.wording import state_word

_ROW_HEIGHT = 24
_ROWS_IN_BLOCK = 100
_NAME_COLUMNS = 30
_ROOM_FOR_TEXT = 0.22
"""Part of the axis that a bar's text may need on a narrow page."""

_ROOM_FOR_MARK = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class _DrawnRow:
    """A row as markup: what stands in the column of names, and what stands in that of bars."""

    name: str
    plot: str


def gantt_html(gantt: Gantt) -> str:
    """The chart's markup, for a page that has the styles and symbols; names link to the page's ``t<position>``."""
    rows = [
        _DrawnRow(name=_name(row, top), plot=_plot(gantt, row, top))
        for row, top in zip(gantt.rows, cycle(range(0, _ROWS_IN_BLOCK * _ROW_HEIGHT, _ROW_HEIGHT)), strict=False)
    ]
    return render(
        "gantt.html",
        ticks=[(_percent(share := gantt.share(tick.at_s)), _edge(share), tick.label) for tick in gantt.ticks],
        blocks=[rows[first : first + _ROWS_IN_BLOCK] for first in range(0, len(rows), _ROWS_IN_BLOCK)],
        row_height=_ROW_HEIGHT,
    )


def _name(row: Row, top: int) -> str:
    short, state = cut_to_columns(row.name, _NAME_COLUMNS), row.state.value
    title = f"<title>{text(row.name)}</title>" if short != row.name else ""
    return (
        f'<a href="#t{row.index}" class="s-{state}">{title}'
        f'<use class="i" href="#i-{state}" x="2" y="{top + 5.5}" width="13" height="13"/>'
        f'<text x="22" y="{top + 16}">{text(short)}</text></a>'
    )


def _plot(gantt: Gantt, row: Row, top: int) -> str:
    """Bars, a line through them if there are several, and a text after the last, before the first, on the last, or
    nowhere: the bar's title and the table say it, too.
    """
    parts = [_bar(gantt, bar, top) for bar in row.bars]
    if len(parts) > 1:
        left, right = _percent(gantt.share(row.bars[0].start_s)), _percent(gantt.share(row.bars[-1].end_s))
        parts.insert(0, f'<line class="span" x1="{left}" x2="{right}" y1="{top + 12}" y2="{top + 12}"/>')
    at, side = _text_place(gantt, row)
    if side != "nowhere" and (words := _text(row)):
        style, away = side if row.bars else f"{side} none", 6 if side == "after" else -6
        parts.append(f'<text class="{style}" x="{_percent(at)}" dx="{away}" y="{top + 16}">{text(words)}</text>')
    return "\n".join(parts)


def _bar(gantt: Gantt, bar: Bar, top: int) -> str:
    queued, start, end = (gantt.share(at) for at in (bar.queued_s, bar.start_s, bar.end_s))
    state, left, width, queue, mark = bar.state.value, _percent(start), _percent(end - start), "", ""
    if start - queued > 0.0005:
        queue = f'<rect class="queue" x="{_percent(queued)}" y="{top + 8}" width="{_percent(start - queued)}"/>'
    if bar.state is not Outcome.SUCCEEDED and end - start >= _ROOM_FOR_MARK:
        mark = (
            f'<svg x="{left}" y="{top + 6}" class="over">'
            f'<use class="mark" href="#i-{state}" x="3" width="12" height="12"/></svg>'
        )
    style = "bar open" if bar.is_open else "bar"
    shape = f'<rect class="{style}" x="{left}" y="{top + 4}" width="{width}"/>'
    return f'<g class="s-{state}"><title>{text(bar.title)}</title>{queue}{shape}{mark}</g>'


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
