"""Show the last state of a notebook's widgets in its page, without a script.

No Python package brings the script that draws them outside of Jupyter. What they are for after a run, how far a bar
came and what was chosen, can be said without it.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"

_MODEL = "IPY_MODEL_"
_MOST = 2_000
_DEEPEST = 20
"""Widgets of one output, and in one another; a widget may contain itself."""
_COLUMNS = ("VBoxModel", "TabModel", "AccordionModel", "StackModel")
_TRUTHS = ("CheckboxModel", "ToggleButtonModel", "ValidModel")
_AS_HTML = ("HTMLModel", "HTMLMathModel")


class Widgets:
    """The widgets of one notebook.

    Args:
        metadata: the notebook's.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        saved = metadata.get("widgets")
        state = saved.get(STATE) if isinstance(saved, Mapping) else None
        models = state.get("state") if isinstance(state, Mapping) else None
        self._models = models if isinstance(models, Mapping) else {}

    def drawn(self, view: Any) -> str | None:
        """HTML of a widget; None: its state was not saved, or it is of a kind that is not known here.

        Args:
            view: what an output has of the kind :data:`VIEW`.
        """
        model = view.get("model_id") if isinstance(view, Mapping) else None
        return self._drawn(str(model), [_MOST], _DEEPEST)

    def _drawn(self, model_id: str, left: list[int], deep: int) -> str | None:
        model = self._models.get(model_id)
        left[0] -= 1
        if not isinstance(model, Mapping) or not isinstance(model.get("state"), Mapping) or min(left[0], deep) < 0:
            return None
        name, state = str(model.get("model_name")), model["state"]
        if isinstance(state.get("children"), Sequence) and not isinstance(state["children"], str):
            return self._container(name, state, left, deep - 1)
        if name == "OutputModel" and isinstance(state.get("outputs"), Sequence):
            return "".join(map(_output, state["outputs"]))
        value = _value(name, state, model)
        if value is None:
            return None
        label = str(state.get("description") or "")
        shown = label if name in _AS_HTML else html.escape(label)
        return f'<span class="pdr-widget">{f"<span>{shown}</span> " if label else ""}{value}</span>'

    def _container(self, name: str, state: Mapping[str, Any], left: list[int], deep: int) -> str:
        titles = state.get("titles") or state.get("_titles") or ()
        parts = []
        for number, child in enumerate(state["children"]):
            title = titles.get(str(number)) if isinstance(titles, Mapping) else None
            if isinstance(titles, Sequence) and not isinstance(titles, str) and number < len(titles):
                title = titles[number]
            drawn = self._drawn(str(child).removeprefix(_MODEL), left, deep)
            parts.append(f"<strong>{html.escape(str(title))}</strong>" if title else "")
            parts.append(drawn if drawn is not None else '<em class="pdr-note">[a widget]</em>')
            if left[0] < 0:
                break
        column = " pdr-column" if name in _COLUMNS else ""
        return f'<div class="pdr-widget{column}">{"".join(parts)}</div>'


def _value(name: str, state: Mapping[str, Any], model: Mapping[str, Any]) -> str | None:
    """What a single widget shows beside its description."""
    value = state.get("value")
    if name in ("FloatProgressModel", "IntProgressModel"):
        return _progress(state)
    if name in _TRUTHS:
        return "☑" if value else "☐"
    if name == "ButtonModel":
        return ""
    if name == "ImageModel":
        return _image(state, model)
    if name == "PasswordModel":
        return "••••"
    labels = state.get("_options_labels")
    if isinstance(labels, Sequence):
        index = state.get("index")
        chosen = index if isinstance(index, Sequence) else [index]
        return html.escape(", ".join(str(labels[at]) for at in chosen if isinstance(at, int) and 0 <= at < len(labels)))
    if isinstance(value, list | tuple):
        return html.escape(" – ".join(map(str, value)))
    if isinstance(value, str | int | float):
        return str(value) if name in _AS_HTML else html.escape(str(value))
    return None


def _progress(state: Mapping[str, Any]) -> str | None:
    try:
        value, least, most = (float(state.get(key, 0)) for key in ("value", "min", "max"))
    except (TypeError, ValueError):
        return None
    return f'<progress value="{value - least:g}" max="{most - least:g}">{value:g} of {most:g}</progress>'


def _image(state: Mapping[str, Any], model: Mapping[str, Any]) -> str | None:
    for buffer in model.get("buffers") or ():
        if isinstance(buffer, Mapping) and buffer.get("path") == ["value"] and buffer.get("encoding") == "base64":
            kind, data = html.escape(str(state.get("format", "png"))), html.escape(str(buffer.get("data")))
            return f'<img alt="" src="data:image/{kind};base64,{data}">'
    return None


def _output(output: Any) -> str:
    """What an output area that is a widget holds."""
    data = output.get("data", {}) if isinstance(output, Mapping) else {}
    if "image/png" in data:
        return f'<img alt="" src="data:image/png;base64,{html.escape(str(data["image/png"]))}">'
    if "text/html" in data:
        return str(data["text/html"])
    text = output.get("text") or data.get("text/plain") or output.get("evalue") or ""
    return f"<pre>{html.escape(str(text))}</pre>"
