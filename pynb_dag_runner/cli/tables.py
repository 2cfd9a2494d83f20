"""Tables and lines on stdout: with colour on a terminal, plain elsewhere."""

import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache

import click
from rich.cells import cell_len

from pynb_dag_runner.lines import Line, Piece

_HEAD = "dim"
_ASKS_FOR_COLOUR = ("FORCE_COLOR", "TTY_COMPATIBLE")
"""Environment variables by which rich takes something else for a terminal."""


class Table:
    """Rows of cells, each a text of one line, below each other; no line is cut.

    Args:
        columns: their names; none for a table without a head.
    """

    def __init__(self, *columns: str) -> None:
        self.rows: list[list[Piece]] = [[Piece(name, _HEAD) for name in columns]] if columns else []

    def add(self, *cells: str | Piece) -> None:
        """Add a row; it may have fewer cells than there are columns."""
        self.rows.append([Piece(cell) if isinstance(cell, str) else cell for cell in cells])


def echo(table: Table) -> None:
    """Print a table to stdout."""
    _print(_aligned(table))


def echo_lines(*lines: Line) -> None:
    """Print lines to stdout."""
    _print(iter(lines))


def _aligned(table: Table) -> Iterator[Line]:
    widths: dict[int, int] = {}
    for row in table.rows:
        for column, cell in enumerate(row):
            widths[column] = max(widths.get(column, 0), cell_len(_on_one_line(cell.text)))
    for row in table.rows:
        line = []
        for column, cell in enumerate(row):
            text = _on_one_line(cell.text)
            line += [Piece(text, cell.style), Piece(" " * (widths[column] + 2 - cell_len(text)))]
        yield line


def _on_one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ") if "\n" in text or "\t" in text else text


def _print(lines: Iterator[Line]) -> None:
    """Not by rich, which would end the process when the reader goes away, and takes half a millisecond a line."""
    marks = _marks()
    texts = []
    for line in lines:
        text = ""
        for piece in line:
            begin, end = marks(piece.style) if piece.style and piece.text else ("", "")
            text += f"{begin}{piece.text}{end}"
        texts.append(text.rstrip())
    click.echo("\n".join(texts), color=True)


def _marks() -> Callable[[str], tuple[str, str]]:
    """What comes before and after a text of a style, from rich, which knows terminals and what users ask for."""
    if not sys.stdout.isatty() and not any(os.environ.get(name) for name in _ASKS_FOR_COLOUR):
        return lambda style: ("", "")
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)

    @cache
    def around(style: str) -> tuple[str, str]:
        with console.capture() as capture:
            console.print(Text("x", style=style), end="")
        begin, _, end = capture.get().partition("x")
        return begin, end

    return around


def time_text(time: datetime) -> str:
    """A time to the second, UTC, as in the run folder."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
