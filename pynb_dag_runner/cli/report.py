"""``report``: draw the report of a run again."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pynb_dag_runner.cli.streams import stdout_for_result
from pynb_dag_runner.errors import UsageError

if TYPE_CHECKING:
    from pynb_dag_runner.run_folder import Run


@click.command(short_help="Write report.html and summary.md of a run again.")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--html", is_flag=True, help="Also make the pages of notebooks that have none.")
def report(run_dir: Path, html: bool) -> int:
    """Write report.html and summary.md into RUN_DIR again, from its files as they are now.

    On stdout stands the path of report.html.
    """
    from pynb_dag_runner.cli.run_dirs import read_run_dir
    from pynb_dag_runner.reports import write_reports
    from pynb_dag_runner.run_folder import paths

    if run_dir.is_file():
        raise UsageError(f"{str(run_dir)!r} is a file, expected a run folder; of an archive, extract it first")
    with stdout_for_result() as out:
        run = read_run_dir(run_dir)
        if html:
            _make_pages(run)
            run = read_run_dir(run_dir)
        try:
            write_reports(run)
        except OSError as error:
            raise UsageError(f"the report can't be written into {run_dir}: {error.strerror}") from None
        out.write(f"{run.folder / paths.REPORT}\n")
    return 0


def _make_pages(run: "Run") -> None:
    """Pages of the notebooks that have none, of attempts that have ended; what can't be made is said on stderr."""
    from pynb_dag_runner.execute.resume_state import missing_pages
    from pynb_dag_runner.model.outcomes import RunStatus
    from pynb_dag_runner.reports.pages.queue import PageProblem, Pages
    from pynb_dag_runner.run_folder import paths

    if run.status is RunStatus.RUNNING:
        raise UsageError(
            f"{run.folder} is a run that goes on; it makes its pages itself, or they can be made when it ended"
        )
    pages = Pages()
    try:
        for task in run.tasks:
            for page in missing_pages(task):
                folder = paths.attempt_folder(run.folder, page.task, page.number)
                pages.make(f"{page.task}#{page.number}", folder, page.task, page.outcome, page.failure)
        for said in pages.finish():
            if isinstance(said, PageProblem):
                click.echo(f"warning: {said.sentence}", err=True)
            else:
                click.echo(f"making {said.left} of {said.total} pages", err=True)
    finally:
        pages.close()
