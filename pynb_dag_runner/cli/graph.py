"""``graph``: draw the DAG of a pipeline, or of a run with the statuses of its tasks."""

from pathlib import Path
from typing import Literal

import click

from pynb_dag_runner.cli.inputs import TARGET_HELP, build, given_parameters, parameter_options
from pynb_dag_runner.cli.streams import stdout_for_result
from pynb_dag_runner.errors import UsageError

_Format = Literal["mermaid", "dot", "svg"]
_FORMAT_OF_SUFFIX: dict[str, _Format] = {
    ".svg": "svg",
    ".dot": "dot",
    ".gv": "dot",
    **dict.fromkeys((".mmd", ".mermaid", ".md", ".txt", ""), "mermaid"),
}


@click.command(short_help="Draw a pipeline or a run as mermaid, dot or svg.", epilog=TARGET_HELP)
@click.argument("target", metavar="TARGET_OR_RUN_DIR")
@parameter_options
@click.option(
    "--format",
    "graph_format",
    type=click.Choice(["mermaid", "dot", "svg"]),
    help="Output format. Default: by the suffix of --output, else mermaid.",
)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to this file instead of stdout.")
def graph(
    target: str,
    parameter: dict[str, str],
    parameters_file: Path | None,
    graph_format: _Format | None,
    output: Path | None,
) -> int:
    """Draw the DAG of the pipeline TARGET, or of a run."""
    graph_format = graph_format or _format_of(output)
    with stdout_for_result() as out:
        text = _draw(target, parameter, parameters_file, graph_format)
        if output is None:
            out.write(text if text.endswith("\n") else text + "\n")
            return 0
        try:
            output.write_text(text, "utf-8")
        except OSError as error:
            raise UsageError(f"the file {str(output)!r} can't be written: {error.strerror}") from None
    return 0


def _format_of(output: Path | None) -> _Format:
    """What a file's suffix says; a picture that we can't draw is not filled with text."""
    suffix = output.suffix.lower() if output else ""
    if suffix not in _FORMAT_OF_SUFFIX:
        known = ", ".join(name for name in _FORMAT_OF_SUFFIX if name)
        raise UsageError(f"--output: got {str(output)!r}, expected a name that ends in one of {known}, or a --format")
    return _FORMAT_OF_SUFFIX[suffix]


def _draw(target: str, parameter: dict[str, str], parameters_file: Path | None, graph_format: _Format) -> str:
    from pynb_dag_runner.reports import render_graph
    from pynb_dag_runner.reports.graph import graph_of_dag, graph_of_run

    if Path(target).is_dir():
        if parameter or parameters_file:
            raise UsageError("parameters are for drawing a pipeline; a run has its own")
        from pynb_dag_runner.cli.run_dirs import read_run_dir

        return render_graph(graph_of_run(read_run_dir(Path(target))), graph_format)
    from pynb_dag_runner.api.loading import load

    dag = build(load(target, Path.cwd()), given_parameters(parameter, parameters_file))
    return render_graph(graph_of_dag(dag), graph_format)
