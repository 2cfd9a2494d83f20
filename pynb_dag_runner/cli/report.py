"""``report``: draw a run again."""

from pathlib import Path

import click

from pynb_dag_runner.cli.streams import stdout_for_result
from pynb_dag_runner.errors import UsageError


@click.command(short_help="Write report.html and summary.md of a run again.")
@click.argument("run_dir", type=click.Path(path_type=Path))
def report(run_dir: Path) -> int:
    """Write report.html and summary.md into RUN_DIR again, from what its files say now.

    On stdout stands the path of report.html.
    """
    from pynb_dag_runner.cli.run_dirs import read_run_dir
    from pynb_dag_runner.reports import write_reports
    from pynb_dag_runner.run_folder import paths

    if run_dir.is_file():
        raise UsageError(f"{str(run_dir)!r} is a file, expected a run folder; of an archive, extract it first")
    with stdout_for_result() as out:
        run = read_run_dir(run_dir)
        try:
            write_reports(run)
        except OSError as error:
            raise UsageError(f"the report can't be written into {run_dir}: {error.strerror}") from None
        out.write(f"{run.folder / paths.REPORT}\n")
    return 0
