"""Print lines and tables on stdout: with colour on a terminal, plain elsewhere.

Rich is not asked: its import, and half a millisecond for each row, would be most of what ``show`` and ``list`` take.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import zip_longest

import click

from pynb_dag_runner.reports.styled_text import STYLES, Line, Styled

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "magenta": "35", "cyan": "36"}
"""ECMA-48, section 8.3.117 (select graphic rendition)."""


def echo(lines: Iterable[Line]) -> None:
    """Print to stdout. Nothing is cut to a terminal's width: a path that was cut would be of no use."""
    paint = _painter()
    texts = ("".join(paint(part) for part in whole).rstrip() for line in lines for whole in _whole_lines(line))
    click.echo("\n".join(texts), color=True)


def aligned(rows: Iterable[Sequence[Styled]]) -> Iterator[Line]:
    """The lines of a table: each column as wide as its widest text, and two blanks between them."""
    lines = [line for row in rows for line in _lines_of_row(row)]
    lengths = [[_width(cell.text) for cell in line] for line in lines]
    widths = [max(column) + 2 for column in zip(*lengths, strict=True)]
    for line, used in zip(lines, lengths, strict=True):
        yield tuple(
            part
            for cell, length, width in zip(line, used, widths, strict=True)
            for part in (cell, Styled(" " * (width - length)))
        )


def heading(*columns: str) -> Line:
    """The first row of a table."""
    return tuple(Styled(column, "dim") for column in columns)


def status_text(status: str) -> Styled:
    """A status in its colour."""
    return Styled(status, STYLES.get(status, ""))


def time_text(time: datetime) -> str:
    """A time to the second, UTC, as in the run folder."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _painter() -> Callable[[Styled], str]:
    """What puts a style's codes around a text, if stdout is to have any."""
    if not _has_styles():
        return lambda part: part.text
    colourless = os.environ.get("NO_COLOR", "") != ""

    def paint(part: Styled) -> str:
        codes = [_CODES[word] for word in part.style.split()]
        code = ";".join(code for code in codes if not (colourless and code.startswith("3")))
        return f"\x1b[{code}m{part.text}\x1b[0m" if code and part.text else part.text

    return paint


def _has_styles() -> bool:
    """Whether stdout shows styles. The variables are those that rich goes by, which draws the live view on stderr."""
    if (compatible := os.environ.get("TTY_COMPATIBLE")) in ("0", "1"):
        is_terminal = compatible == "1"
    elif (forced := os.environ.get("FORCE_COLOR")) is not None:
        is_terminal = forced != ""
    else:
        is_terminal = sys.stdout.isatty()
    return is_terminal and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def _lines_of_row(row: Sequence[Styled]) -> Iterator[Line]:
    """A row's lines: more than one where a text in it has some."""
    if all(cell.text.isprintable() for cell in row):
        yield tuple(row)
        return
    columns = [[Styled(text, cell.style) for text in cell.text.expandtabs().split("\n")] for cell in row]
    yield from zip_longest(*columns, fillvalue=Styled(""))


def _whole_lines(line: Line) -> Iterator[Line]:
    """A line without line feeds and tabs, or the lines that come of it where it has some."""
    if all(part.text.isprintable() for part in line):
        yield line
        return
    begun: list[Styled] = []
    for part in line:
        first, *more = part.text.expandtabs().split("\n")
        begun.append(Styled(first, part.style))
        for text in more:
            yield tuple(begun)
            begun = [Styled(text, part.style)]
    yield tuple(begun)


def _width(text: str) -> int:
    """Columns of a text on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # as wide as in the live view

    return cell_len(text)
