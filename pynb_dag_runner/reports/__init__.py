"""What people see of a run: its report, its notebooks' pages, and lines on a terminal.

Reports are drawn from a read run alone, so that the folder of any old run can be drawn again.

``report.html`` is for people with a browser, ``summary.md`` for the job summaries of CI systems; graphs also come as
mermaid, dot or SVG. Nothing here runs or decides anything.

It may import values, processes and the run folder; it must not know how a run is executed.
"""

from typing import TYPE_CHECKING, Literal, get_args

from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.run import Run

if TYPE_CHECKING:
    from pynb_dag_runner.reports.graph import Graph  # knows pipelines, which who only needs the wording does not

GraphFormat = Literal["mermaid", "dot", "svg"]
"""The formats of :func:`render_graph`."""

__all__ = [
    "GraphFormat",
    "render_graph",
    "render_html",
    "render_summary",
    "write_reports",
]


def write_reports(run: Run) -> None:
    """Write ``report.html`` and ``summary.md`` into the run's folder; older ones are replaced, each at once.

    Raises:
        OSError: the folder can't be written.
    """
    from pynb_dag_runner.run_folder.writer import write_atomically

    write_atomically(run.folder / paths.REPORT, render_html(run).encode())
    write_atomically(run.folder / paths.SUMMARY, render_summary(run).encode())


def render_html(run: Run) -> str:
    """The text of ``report.html``: one file without any outside resource, for any status of the run."""
    from pynb_dag_runner.reports import html

    return html.render_html(run)


def render_summary(run: Run) -> str:
    """The text of ``summary.md``: GitHub flavoured markdown with mermaid diagrams, at most 1 MiB."""
    from pynb_dag_runner.reports import summary

    return summary.render_summary(run)


def render_graph(graph: "Graph", format: GraphFormat) -> str:  # noqa: A002 - the word that users type
    """The text of a picture of ``graph``.

    Raises:
        ValueError: there is no such format.
    """
    from pynb_dag_runner.reports import graph_svg, graph_text

    if format == "mermaid":
        return graph_text.mermaid(graph)
    if format == "dot":
        return graph_text.dot(graph)
    if format == "svg":
        return graph_svg.graph_svg(graph)
    raise ValueError(f"got graph format {format!r}, expected one of {', '.join(get_args(GraphFormat))}")
