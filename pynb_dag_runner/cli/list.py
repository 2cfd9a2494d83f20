"""``list``: list the runs in a directory."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pynb_dag_runner.cli.json_output import json_text, run_document
from pynb_dag_runner.cli.reading import only_reading
from pynb_dag_runner.errors import RunFolderError, UsageError
from pynb_dag_runner.model.text import visible

if TYPE_CHECKING:
    from pynb_dag_runner.run_folder import Run


@click.command("list", short_help="List the runs in a directory.")
@click.argument("directory", type=click.Path(path_type=Path), default=Path("runs"), metavar="[DIR_OR_ZIP]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_runs(directory: Path, as_json: bool) -> int:
    """List the runs in a directory ("runs" if not given), or in a zip or tar, the newest last.

    A run folder that can't be read is listed with the reason.
    """
    if not os.path.exists(directory):  # noqa: PTH110 - Path.exists raises where a directory above is closed to us
        raise UsageError(f"there is no directory {str(directory)!r}")
    with only_reading():
        runs = list(_runs(directory))
    if as_json:
        click.echo(json_text([_document(folder, run) for folder, run in runs]), nl=False)
    elif runs:
        _echo_table(runs)
    else:
        click.echo(f"there are no runs in {str(directory)!r}", err=True)
    return 0


def _runs(directory: Path) -> "Iterator[tuple[Path, Run | RunFolderError]]":
    """Every run with its folder; of a run in an archive, its place there."""
    from pynb_dag_runner.run_folder import find_runs

    if directory.is_dir():
        yield from ((folder, _read(folder)) for folder in find_runs(directory, _warn))
        return
    from pynb_dag_runner.cli.run_dirs import archived_runs

    with archived_runs(directory) as folders:
        for folder, shown in folders:
            run = _read(folder)
            if isinstance(run, RunFolderError):
                inside = shown / run.file.relative_to(folder)
                yield shown, RunFolderError(inside, run.problem, run.key)
            else:
                yield shown, replace(run, folder=shown)


def _warn(directory: Path, reason: str) -> None:
    click.echo(f"warning: {visible(str(directory))} can't be looked into: {reason}", err=True)


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
    return sum(task.status.is_success for task in run.tasks)


def _echo_table(runs: "Sequence[tuple[Path, Run | RunFolderError]]") -> None:
    from pynb_dag_runner.cli.tables import aligned, echo, heading, status_text, time_text
    from pynb_dag_runner.model.text import printable
    from pynb_dag_runner.reports.styled_text import Styled, duration_text, shown_path

    rows = [heading("folder", "status", "start", "duration", "succeeded")]
    damaged = []
    for folder, run in runs:
        where = Styled(shown_path(folder, Path.cwd()))
        if isinstance(run, RunFolderError):
            rows.append((where, Styled("UNREADABLE", "bold red"), *[Styled("")] * 3))
            damaged.append((Styled(printable(str(run))),))
            continue
        succeeded = f"{_succeeded(run)} of {len(run.tasks)}"
        texts = (time_text(run.start), duration_text(run.duration_s), succeeded)
        rows.append((where, status_text(run.status), *map(Styled, texts)))
    echo([*aligned(rows), *damaged])
