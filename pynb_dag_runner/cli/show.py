"""``show``: print one run as its folder records it."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pynb_dag_runner.cli.json_output import json_text, run_document, task_document
from pynb_dag_runner.cli.reading import only_reading
from pynb_dag_runner.model.text import cut_end, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pynb_dag_runner.reports.styled_text import Line
    from pynb_dag_runner.run_folder import Run


@click.command(short_help="Show status, timings and errors of a run.")
@click.argument("run_dir", type=click.Path(path_type=Path), metavar="RUN_DIR_OR_ZIP")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(run_dir: Path, as_json: bool) -> int:
    """Show status, timings and errors of the run in a run folder, a zip or a tar."""
    with only_reading():
        from pynb_dag_runner.cli.run_dirs import read_run_dir_or_archive

        run = read_run_dir_or_archive(run_dir)
    if as_json:
        parameters = run.record.model_dump(mode="json")["parameters"]
        tasks = [task_document(task) for task in run.tasks]
        document = run_document(run) | {"parameters": parameters, "warnings": list(run.warnings), "tasks": tasks}
        click.echo(json_text(document), nl=False)
        return 0
    from pynb_dag_runner.cli.tables import echo

    echo(_lines(run, Path.cwd()))
    return 0


def _lines(run: "Run", cwd: Path) -> "Iterator[Line]":
    """Head, table of tasks, failures, warnings, and what to look at next."""
    from pynb_dag_runner.cli.tables import aligned
    from pynb_dag_runner.reports.styled_text import Styled, failure_lines, shown_path
    from pynb_dag_runner.reports.wording import kernel_notes
    from pynb_dag_runner.run_folder import paths

    lines = [line for task in run.tasks if task.failure for line in failure_lines(task, run.folder, cwd)]
    lines += [(Styled(f"  warning: {printable(warning)}", "yellow"),) for warning in run.warnings]
    lines += [(Styled(f"  {printable(note)}", "dim"),) for note in kernel_notes(run)]
    if run.report is None and run.folder.is_dir():  # not for a run in an archive
        folder = shlex.quote(shown_path(run.folder, cwd))
        lines.append((Styled(f"there is no {paths.REPORT} yet; pynb-dag-runner report {folder} writes it"),))
    yield from aligned(_head(run, cwd))
    yield ()
    yield from aligned(_tasks(run))
    if lines:
        yield from ((), *lines)


def _head(run: "Run", cwd: Path) -> "Iterator[Line]":
    """A row for each thing that is known of the run as a whole."""
    from pynb_dag_runner.cli.tables import status_text, time_text
    from pynb_dag_runner.reports.styled_text import Styled, duration_text, shown_path

    rows: list[tuple[str, str | Styled]] = [
        ("run", printable(run.id)),
        ("pipeline", printable(run.pipeline)),
        ("status", status_text(run.status)),
        ("start", time_text(run.start)),
        ("duration", duration_text(run.duration_s)),
    ]
    rows += [
        ("parameter", cut_end(printable(f"{name} = {value!r}"), 100)) for name, value in run.record.parameters.items()
    ]
    if git := run.record.git:
        changed = ", with changes that are not committed" if git.dirty else ""
        branch = f" on {git.branch}" if git.branch else ""
        rows.append(("git", printable(f"{git.commit[:12]}{branch}{changed}")))
    rows.append(("folder", shown_path(run.folder, cwd)))
    if run.report:
        rows.append(("report", shown_path(run.folder / run.report, cwd)))
    for name, value in rows:
        yield Styled(name, "dim"), value if isinstance(value, Styled) else Styled(value)


def _tasks(run: "Run") -> "Iterator[Line]":
    """The table's heading, and a row for each task."""
    from pynb_dag_runner.cli.tables import heading, status_text
    from pynb_dag_runner.reports.styled_text import Styled, duration_text, short_failure

    yield heading("task", "status", "started", "duration", "attempts", "error")
    for task in run.tasks:
        failure = short_failure(task.failure, limit=60) if task.failure else ""
        blocked = f"{printable(task.blocked_by)} did not succeed" if task.blocked_by else ""
        yield (
            Styled(printable(task.name)),
            status_text(task.status),
            Styled(f"+{duration_text(max(0.0, run.own_seconds(task.start)))}" if task.start else "-"),
            Styled(duration_text(task.duration_s)),
            Styled(f"{len(task.attempts)} of {task.most_attempts}"),
            Styled(failure or blocked),
        )
