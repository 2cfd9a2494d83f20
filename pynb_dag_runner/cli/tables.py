"""Tables on stdout: with colour on a terminal, plain elsewhere."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import click
from rich.cells import cell_len
from rich.console import Console, ConsoleRenderable
from rich.style import Style
from rich.table import Table
from rich.text import Text

from pynb_dag_runner.console import STYLES

_NO_LIMIT = 10_000
"""Columns of a table. A narrow terminal wraps the lines: a path that was cut would be of no use."""


class _Rows(Table):
    """A table whose cells are short texts of one line and one style."""


def table(*columns: str) -> Table:
    """An empty table without lines."""
    made = _Rows(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        made.add_column(column, no_wrap=True)
    return made


def echo(item: ConsoleRenderable) -> None:
    """Print to stdout. Not by rich itself, which would end the process when the reader goes away."""
    console = Console(file=sys.stdout, highlight=False, width=_NO_LIMIT)
    if isinstance(item, _Rows) and all(_is_plain(cell) for column in item.columns for cell in column.cells):
        lines = list(_aligned(item, console))
    else:
        with console.capture() as capture:
            console.print(item, soft_wrap=isinstance(item, Text))
        lines = [line.rstrip() for line in capture.get().splitlines()]
    click.echo("\n".join(lines), color=True)


def _is_plain(cell: object) -> bool:
    """Whether a cell is drawn as it is: no lines or tabs in it, no markup."""
    text = cell.plain if isinstance(cell, Text) else str(cell)
    return not any(mark in text for mark in ("\n", "\t", "[" if isinstance(cell, str) else "\n"))


def _aligned(rows: Table, console: Console) -> Iterator[str]:
    """The lines of a table. Rich takes half a millisecond for each, which is long for ten thousand tasks."""
    columns = [[Text(str(column.header), style=rows.header_style), *column.cells] for column in rows.columns]
    texts = [[cell.plain if isinstance(cell, Text) else str(cell) for cell in column] for column in columns]
    lengths = [[cell_len(text) for text in column] for column in texts]
    widths = [max(column) + 2 for column in lengths]
    marks: dict[str | Style, tuple[str, str]] = {}
    for row in range(len(texts[0])):
        line = ""
        for column, cells in enumerate(columns):
            cell, text = cells[row], texts[column][row]
            style = cell.style if isinstance(cell, Text) else ""
            if style not in marks:
                marks[style] = _marks(style, console)
            begin, end = marks[style] if text else ("", "")
            line += f"{begin}{text}{end}{' ' * (widths[column] - lengths[column][row])}"
        yield line.rstrip()


def _marks(style: str | Style, console: Console) -> tuple[str, str]:
    """What comes before and after a text of this style."""
    with console.capture() as capture:
        console.print(Text("x", style=style), end="")
    begin, _, end = capture.get().partition("x")
    return begin, end


def status_text(status: str) -> Text:
    """A status in its colour."""
    return Text(status, style=STYLES.get(status, ""))


def time_text(time: datetime) -> str:
    """A time to the second, UTC, as in the run folder."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
