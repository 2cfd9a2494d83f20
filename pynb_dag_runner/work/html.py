"""Evaluated notebooks as HTML: one file each, with all pictures inside, that needs no network."""

import copy
import html
from typing import Any

import nbformat

from pynb_dag_runner.outcome import Failure, Outcome

_BANNER = (
    '<div role="alert" style="border-left:6px solid #c62828;background:#fdecea;color:#5f1412;padding:0.8em 1em;'
    'font-family:sans-serif"><strong>{outcome}</strong> {kind}: {message}</div>'
)


def to_html(notebook: Any, title: str, outcome: Outcome, why: Failure | None) -> bytes:
    """The page of an evaluated notebook, with a banner on top if it did not succeed.

    Args:
        notebook: as evaluated; not changed.
        title: of the page.

    Raises:
        Exception: whatever nbconvert meets in odd outputs; the notebook itself is safe on disk by then.
    """
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(embed_images=True)
    # By default the page asks content delivery networks for these; without a network it would wait for them in vain.
    exporter.require_js_url = ""
    exporter.mathjax_url = ""
    exporter.jquery_url = ""
    exporter.mermaid_js_url = ""
    exporter.jupyter_widgets_base_url = ""
    shown = copy.copy(notebook)
    if outcome is not Outcome.SUCCEEDED:
        kind, message = (why.kind, why.message) if why else ("", "")
        banner = _BANNER.format(outcome=outcome.value, kind=html.escape(kind), message=html.escape(message))
        shown.cells = [nbformat.v4.new_markdown_cell(banner), *notebook.cells]
    page, _ = exporter.from_notebook_node(shown, resources={"metadata": {"name": title}})
    return str(page).encode("utf-8", "replace")
