"""``list``: the runs in a directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pynb_dag_runner.cli.json_output import json_text, run_document
from pynb_dag_runner.errors import RunFolderError, UsageError
from pynb_dag_runner.outcome import TaskStatus

if TYPE_CHECKING:
    from pynb_dag_runner.run_folder import Run


@click.command("list", short_help="The runs in a directory.")
@click.argument("directory", type=click.Path(path_type=Path), default=Path("runs"), metavar="[DIR]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def list_runs(directory: Path, as_json: bool) -> int:
    """List the runs in DIR ("runs" if not given), the newest last.

    A run folder that can't be read is listed with the reason.
    """
    from pynb_dag_runner.run_folder import find_runs

    if not directory.is_dir():
        raise UsageError(f"there is no directory {str(directory)!r}")
    runs = [(folder, _read(folder)) for folder in find_runs(directory)]
    if as_json:
        click.echo(json_text([_document(folder, run) for folder, run in runs]), nl=False)
    elif runs:
        _echo_table(runs)
    else:
        click.echo(f"there are no runs in {str(directory)!r}", err=True)
    return 0


def _read(folder: Path) -> "Run | RunFolderError":
    from pynb_dag_runner.run_folder import read_run

    try:
        return read_run(folder)
    except RunFolderError as error:
        return error


def _document(folder: Path, run: "Run | RunFolderError") -> dict[str, object]:
    if isinstance(run, RunFolderError):
        return {"run_id": folder.name, "folder": str(folder.absolute()), "error": str(run)}
    return run_document(run) | {"tasks": len(run.tasks), "tasks_succeeded": _succeeded(run)}


def _succeeded(run: "Run") -> int:
    return sum(task.status is TaskStatus.SUCCEEDED for task in run.tasks)


def _echo_table(runs: "Sequence[tuple[Path, Run | RunFolderError]]") -> None:
    from rich.text import Text

    from pynb_dag_runner.cli.tables import echo, status_text, table, time_text
    from pynb_dag_runner.console import duration_text, printable, shown_path

    rows = table("folder", "status", "start", "duration", "succeeded")
    damaged = []
    for folder, run in runs:
        where = Text(shown_path(folder, Path.cwd()))
        if isinstance(run, RunFolderError):
            rows.add_row(where, Text("UNREADABLE", "bold red"))
            damaged.append(Text(printable(str(run))))
            continue
        rows.add_row(
            where,
            status_text(run.status),
            time_text(run.start),
            duration_text(run.duration_s),
            f"{_succeeded(run)} of {len(run.tasks)}",
        )
    echo(rows)
    for line in damaged:
        echo(line)
