"""``check``: find everything that is wrong with a pipeline, without running it."""

import sys
from pathlib import Path

import click

from pynb_dag_runner.cli.inputs import TARGET_HELP, build, given_parameters, parameter_options
from pynb_dag_runner.cli.streams import stdout_for_result
from pynb_dag_runner.errors import PipelineError


@click.command(short_help="Find what is wrong with a pipeline, without running it.", epilog=TARGET_HELP)
@click.argument("target")
@parameter_options
def check(target: str, parameter: dict[str, str], parameters_file: Path | None) -> int:
    """Build the pipeline TARGET, and list everything that is wrong with it."""
    from pynb_dag_runner.api.loading import load
    from pynb_dag_runner.define.checks import notes

    with stdout_for_result() as out:
        try:
            dag = build(load(target, Path.cwd()), given_parameters(parameter, parameters_file))
        except PipelineError as error:
            for problem in error.problems:
                print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - a line for each, as a linter would
            return 2
        for note in notes(dag.tasks):
            print(f"note: {note}", file=sys.stderr)  # noqa: T201
        count = "1 task" if len(dag.tasks) == 1 else f"{len(dag.tasks)} tasks"
        out.write(f"ok: pipeline {dag.name!r}, {count}\n")
    return 0
