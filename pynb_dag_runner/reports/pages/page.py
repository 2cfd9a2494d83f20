"""Make an HTML page of an evaluated notebook: one file, with all pictures inside, that needs no network.

``python -m pynb_dag_runner.reports.pages.page PID NICENESS`` makes pages on request: a line of JSON on
standard input for each, a line on standard output when it is made, and one when it is ready for the first. nbconvert
takes half a second of processor time until then and 10 ms and more for each notebook, so one process at low priority
does it beside the tasks rather than each worker in the middle of them.
"""

import contextlib
import copy
import functools
import html
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import nbformat

from pynb_dag_runner.model.outcomes import Failure, Outcome
from pynb_dag_runner.model.text import first_line, plain
from pynb_dag_runner.processes.changed_names import note, notes
from pynb_dag_runner.processes.fork_server.child import die_with
from pynb_dag_runner.reports.pages.cells import marked
from pynb_dag_runner.reports.pages.pictures import Pictures
from pynb_dag_runner.run_folder.writer import write_atomically

if TYPE_CHECKING:
    from pynb_dag_runner.reports.pages.exporter import PageExporter

_MOST_COLOURS = 5_000
"""nbconvert's time for a text with colours is its length times their number: half a minute for 1 MB."""


def to_html(
    notebook: Any, title: str, outcome: Outcome, why: Failure | None, pictures: Pictures | None = None
) -> bytes:
    """The page of an evaluated notebook, with a banner on top if it did not succeed.

    Args:
        notebook: as evaluated; not changed.
        title: of the page.
        pictures: finds those in files; None: none are read.

    Raises:
        Exception: whatever nbconvert meets in odd outputs; the notebook itself is safe on disk by then.
    """
    from pynb_dag_runner.reports.pages.outputs import Outputs

    pictures = pictures or Pictures()
    failed = outcome is not Outcome.SUCCEEDED
    shown = copy.copy(notebook)
    cells, marks = marked(notebook, failed=failed)
    outputs = Outputs(notebook.metadata, pictures)
    shown.cells = [outputs.self_contained(_with_few_colours(cell)) for cell in cells]
    shown.metadata = type(notebook.metadata)(notebook.metadata)
    shown.metadata.pop("widgets", None)  # they are drawn by now
    kind, message = (why.kind, why.message) if why else ("", "")
    run = {
        "outcome": outcome.value if failed else "",
        "kind": kind,
        "message": message,
        "failed_cell": any(mark.failed for mark in marks),
    }
    try:
        page = _exporter().page(shown, title, pictures, {"run": run, "marks": marks, "scripts": outputs.scripts})
    except Exception as error:  # noqa: BLE001 - odd outputs, or another release of nbconvert's
        _exporter.cache_clear()  # who knows in which state it was left
        try:
            page = _plain_page(shown, title, f"{run['outcome']} {kind} {message}".strip())
        except Exception:  # noqa: BLE001 - then it is the notebook, or nbconvert does not work at all
            raise error from None
        note("nbconvert", f"{type(error).__name__}: {error}", "the page is the one that it makes by itself")
    return page.encode("utf-8", "replace")


def _plain_page(shown: Any, title: str, banner: str) -> str:
    """nbconvert's own page, which reads no file and asks no network."""
    from nbconvert.exporters import HTMLExporter

    nowhere = {name: "" for name in HTMLExporter.class_trait_names() if name.endswith("_url")}
    exporter = HTMLExporter(optimistic_validation=True, **nowhere)
    if banner:
        shown.cells = [nbformat.v4.new_markdown_cell(f"<pre>{html.escape(banner)}</pre>"), *shown.cells]
    page, _ = exporter.from_notebook_node(shown, resources={"metadata": {"name": title}})
    return page


@functools.cache
def _exporter() -> "PageExporter":
    """The exporter of all pages of this process."""
    from pynb_dag_runner.reports.pages.exporter import PageExporter

    return PageExporter()


def _with_few_colours(cell: Any) -> Any:
    """The cell, or a copy in which texts with very many colours have none."""
    outputs = [_output_with_few_colours(output) for output in cell.get("outputs", [])]
    return type(cell)(cell, outputs=outputs) if outputs else cell


def _output_with_few_colours(output: Any) -> Any:
    kind = output.output_type
    if kind == "stream" and _is_very_colourful(output.text):
        return type(output)(output, text=plain(output.text))
    if kind == "error" and any(map(_is_very_colourful, output.traceback)):
        return type(output)(output, traceback=[plain(line) for line in output.traceback])
    text = output.get("data", {}).get("text/plain", "")
    if _is_very_colourful(text):
        return type(output)(output, data=type(output.data)(output.data, **{"text/plain": plain(text)}))
    return output


def _is_very_colourful(text: str) -> bool:
    return text.count("\x1b[") > _MOST_COLOURS


def main() -> None:
    """Serve requests from standard input. The arguments are the pid of whoever asks, and a niceness."""
    # Its input ends, too, but that it would see after its imports, on a busy machine half a minute later.
    die_with(int(sys.argv[1]))
    _serve_all(sys.stdin, int(sys.argv[2]))


def run(arguments: Sequence[str], descriptors: Sequence[int]) -> None:
    """Serve requests, in a process that was forked.

    Args:
        arguments: a niceness.
        descriptors: the one they come from.
    """
    (descriptor,) = descriptors
    with os.fdopen(descriptor) as requests:
        _serve_all(requests, int(arguments[0]))


def _serve_all(requests: TextIO, niceness: int) -> None:
    """Serve until there are no more.

    A request has the keys ``notebook``, ``page``, ``title``, ``outcome`` and perhaps ``kind`` and ``message``, or
    ``directory`` and ``root`` for pictures; the answer has ``problem``, which is null if the page is made or there is
    no notebook, and ``remarks``, of which each is made once.
    """
    if niceness:
        _give_way(niceness)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever libraries print must not pass for an answer
    _warm_up()
    answers.write("ready\n")
    answers.flush()
    told: set[str] = set()
    for line in requests:
        problem = _serve(json.loads(line))
        remarks = [remark for remark in notes() if remark not in told]
        told.update(remarks)
        answers.write(json.dumps({"problem": problem, "remarks": remarks}) + "\n")
        answers.flush()


def _give_way(niceness: int) -> None:
    """Let everything else go first.

    Where Linux groups processes by session (``autogroup``), niceness counts only between those of one session, and the
    group has one of its own. There is no way back: when only pages are left, another process is asked for them.
    """
    os.nice(niceness)
    with contextlib.suppress(OSError):  # not everywhere, and not in every container
        Path("/proc/self/autogroup").write_text(str(niceness))


def _warm_up() -> None:
    """Make a page of nothing: imports, templates and rules for colours are ready when the first notebook comes."""
    cells = [nbformat.v4.new_markdown_cell("$x$"), nbformat.v4.new_code_cell("x")]
    language = {"name": "python", "pygments_lexer": "ipython3"}
    nothing = nbformat.v4.new_notebook(cells=cells, metadata={"language_info": language})
    with contextlib.suppress(Exception):  # whatever it is, each page that is asked for meets it too, and says so
        to_html(nothing, "", Outcome.SUCCEEDED, None)


def _serve(request: dict[str, Any]) -> str | None:
    path = Path(request["notebook"])
    if not path.exists():
        return None  # its attempt died before there was anything to save
    why = Failure(kind=request["kind"], message=request["message"]) if "kind" in request else None
    try:
        notebook = nbformat.read(path, as_version=4)
        places = [Path(request[key]) for key in ("directory", "root") if key in request]
        page = to_html(notebook, request["title"], Outcome(request["outcome"]), why, Pictures(*places))
        write_atomically(Path(request["page"]), page)
    except Exception as error:  # noqa: BLE001 - odd outputs must not end the service; the run says which page is missing
        return f"{type(error).__name__}: {first_line(str(error), 200)}"
    return None


if __name__ == "__main__":
    main()
