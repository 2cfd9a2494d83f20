"""Tables on stdout: with colour on a terminal, plain elsewhere."""

import sys
from datetime import UTC, datetime

import click
from rich.console import Console, ConsoleRenderable
from rich.table import Table
from rich.text import Text

from pynb_dag_runner.console import STYLES

_NO_LIMIT = 10_000
"""Columns of a table. A narrow terminal wraps the lines: a path that was cut would be of no use."""


def table(*columns: str) -> Table:
    """An empty table without lines."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        made.add_column(column, no_wrap=True)
    return made


def echo(item: ConsoleRenderable) -> None:
    """Print to stdout. Not by rich itself, which would end the process when the reader goes away."""
    console = Console(file=sys.stdout, highlight=False, width=_NO_LIMIT)
    with console.capture() as capture:
        console.print(item, soft_wrap=isinstance(item, Text))
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()), color=True)


def status_text(status: str) -> Text:
    """A status in its colour."""
    return Text(status, style=STYLES.get(status, ""))


def time_text(time: datetime) -> str:
    """A time to the second, UTC, as in the run folder."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
