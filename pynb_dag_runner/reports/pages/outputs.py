"""Replace outputs that would need a network: draw what their scripts would draw, or say what is missing."""

import html
import importlib.util
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pynb_dag_runner.reports.pages.mathematics import formula_in, typeset
from pynb_dag_runner.reports.pages.pictures import Pictures
from pynb_dag_runner.reports.pages.widgets import VIEW, Widgets

_DIAGRAM = "text/vnd.mermaid"
_FIGURE = "application/vnd.plotly.v1+json"
_SHOWN = {
    "image/svg+xml",
    "image/png",
    "text/html",
    "text/markdown",
    "image/jpeg",
    "text/plain",
    "text/latex",
    "application/javascript",
}
"""Kinds that nbconvert's template shows without the network."""
_MOST_JSON = 100_000
_FIGURE_HEIGHT = 450
"""In pixels; plotly's own default."""


class Outputs:
    """Makes the outputs of one notebook need nothing from elsewhere.

    Args:
        metadata: the notebook's.
        pictures: finds those in files.
    """

    def __init__(self, metadata: Mapping[str, Any], pictures: Pictures) -> None:
        self._widgets = Widgets(metadata)
        self._pictures = pictures
        self._script: str | None = None

    @property
    def scripts(self) -> str:
        """What the head of the page needs for outputs that were drawn: plotly's script, if it has such figures."""
        return f"<script>{self._script}</script>" if self._script else ""

    def self_contained(self, cell: Any) -> Any:
        """The cell, or a copy of it with other outputs."""
        outputs = [self._drawn(output) for output in cell.get("outputs", [])]
        return type(cell)(cell, outputs=outputs) if outputs else cell

    def _drawn(self, output: Any) -> Any:
        data = output.get("data")
        if data is None:
            return output
        drawn = self._data(dict(data))
        page = drawn.get("text/html", "")
        if isinstance(page, str) and "<img" in page.lower():
            drawn["text/html"] = self._pictures.in_html(page, {})
        return output if drawn == data else type(output)(output, data=type(data)(drawn))

    def _data(self, data: dict[str, Any]) -> dict[str, Any]:
        view, figure, diagram = data.pop(VIEW, None), data.pop(_FIGURE, None), data.pop(_DIAGRAM, None)
        page = self._widgets.drawn(view) if view is not None else None
        if page is None and isinstance(figure, Mapping):
            page = self._figure(figure)
        if page is None and not {"text/html", "text/markdown", "image/svg+xml"} & set(data):
            formula = formula_in(data.get("text/latex", ""))
            if formula is not None:
                page = typeset(formula, display=True)
            elif diagram is not None:
                page = f"<pre>{html.escape(str(diagram))}</pre>"
        if page is not None:
            return {"text/html": page, "text/plain": data.get("text/plain", "")}
        if _SHOWN & set(data):
            return data
        if "application/json" in data:
            return data | {"text/plain": json.dumps(data["application/json"], indent=2)[:_MOST_JSON]}
        kinds = [*data, *([VIEW] if view is not None else []), *([_FIGURE] if figure is not None else [])]
        return {"text/plain": f"[{_why_not(kinds)}]"} if kinds else data

    def _figure(self, figure: Mapping[str, Any]) -> str | None:
        """A figure of plotly's, drawn by the script that its package brings; None: there is none here."""
        self._script = self._script or _plotly_script()
        if self._script is None:
            return None
        layout, config = figure.get("layout") or {}, figure.get("config") or {}
        # Maps of the world would be asked from the network.
        config = {"responsive": True, "topojsonURL": "data:,", **config, "plotlyServerURL": ""}
        shown = {"data": figure.get("data"), "layout": layout, "config": config, "frames": figure.get("frames")}
        place = f"plotly-{uuid.uuid4()}"
        given = layout.get("height") if isinstance(layout, Mapping) else None
        height = given if isinstance(given, int | float) else _FIGURE_HEIGHT
        script = json.dumps(shown).replace("<", "\\u003c")
        return (
            f'<div id="{place}" style="height:{height:g}px;background:#fff;color:#000">'
            "A figure, which a script draws.</div>"
            f'<script>(place => {{ place.textContent = ""; Plotly.newPlot(place, {script}); }})'
            f'(document.getElementById("{place}"));</script>'
        )


def _plotly_script() -> str | None:
    found = importlib.util.find_spec("plotly")
    places = found.submodule_search_locations if found is not None else None
    for place in places or ():
        try:
            return (Path(place) / "package_data/plotly.min.js").read_text("utf-8")
        except OSError:
            continue
    return None


def _why_not(kinds: list[str]) -> str:
    if _FIGURE in kinds:
        return "a figure of plotly: a page shows it where the plotly package is installed beside pynb-dag-runner"
    if VIEW in kinds:
        return "a widget whose state was not saved"
    return f"an output of the kind {', '.join(kinds)}, which a page can't show"
