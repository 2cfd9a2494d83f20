"""Repair notebooks that are not quite valid in memory, as far as it does not matter for running; refuse the rest.

Jupyter opens such files, and papermill runs them: their readers complain of what does not follow the schema, and go on.
What an earlier execution left (outputs, execution counts) is dropped in any case, so nothing is wrong with that.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import nbformat

from pynb_dag_runner.model.json_values import text_problem
from pynb_dag_runner.model.text import listed, short_repr

_TEXT_CELL = ("id", "cell_type", "metadata", "source", "attachments")
_CELLS = {
    "code": ("id", "cell_type", "metadata", "source", "outputs", "execution_count"),
    "markdown": _TEXT_CELL,
    "raw": _TEXT_CELL,
}
"""Types of cells and what each has."""
_MAJOR, _MINOR = 4, 5
_ID = re.compile(r"[a-zA-Z0-9-_]{1,64}")
_MAX_PLACES = 5


class BrokenNotebook(ValueError):
    """A notebook can't be run as it is; the message names the place, what was expected, and what there is."""


def from_json(text: str) -> Any:
    """The notebook in the text of an .ipynb file, as one of format 4 that may not be valid.

    Raises:
        BrokenNotebook: it is no JSON, no notebook, or of a format that is not known.
    """
    if not text.strip():
        raise BrokenNotebook("it is empty")
    try:
        notebook = json.loads(text)
    except RecursionError:
        raise BrokenNotebook("it is no JSON that can be read: it is nested too deeply") from None
    except ValueError as error:
        raise BrokenNotebook(f"it is no JSON: {error}") from None
    if not isinstance(notebook, dict):
        raise BrokenNotebook(f"it holds {_kind(notebook)}, expected a mapping with cells")
    major = notebook.get("nbformat", 4 if "cells" in notebook else None)
    if isinstance(major, str) and major.isdecimal():
        major = int(major)
    if not _is_int(major) or not 1 <= major <= _MAJOR:
        raise BrokenNotebook(f"nbformat: expected {_MAJOR} or an older format, got {_kind(major)}")
    if major < _MAJOR:
        return _converted(notebook)
    return nbformat.from_dict(notebook)


def _converted(notebook: dict[str, Any]) -> Any:
    """A notebook of an older format in the present one. There each code cell says its language, one for all."""
    sheets = notebook.get("worksheets") or [notebook]
    cells = (cell for sheet in sheets if isinstance(sheet, dict) for cell in sheet.get("cells") or ())
    language = next((cell["language"] for cell in cells if isinstance(cell, dict) and cell.get("language")), None)
    if not isinstance(notebook.get("metadata"), dict):
        notebook["metadata"] = {}
    converted = nbformat.convert(nbformat.reader.reads(json.dumps(notebook)), _MAJOR)
    if language:
        converted.metadata.setdefault("language_info", {"name": language})
    return converted


def repair(notebook: Any) -> list[str]:
    """Make a notebook of format 4 valid, in place.

    Args:
        notebook: as JSON gives it, or of nbformat's own types.

    Returns:
        The places that were not valid, such as ``metadata.kernelspec`` and ``tags of cell 3``.

    Raises:
        BrokenNotebook: what is wrong may matter for running.
    """
    places: list[str] = []
    if not isinstance(notebook.get("cells"), list):
        raise BrokenNotebook(f"cells: expected a list, got {_kind(notebook.get('cells'))}")
    if notebook.get("nbformat") != _MAJOR:
        places.append("nbformat")
        notebook["nbformat"] = _MAJOR
    minor = notebook.get("nbformat_minor")
    if not _is_int(minor) or minor > _MINOR:
        places.append("nbformat_minor")
    has_ids = _is_int(minor) and minor >= _MINOR
    notebook["nbformat_minor"] = _MINOR
    places += _drop_others(notebook, ("metadata", "nbformat", "nbformat_minor", "cells"))
    if not isinstance(notebook.get("metadata"), dict):
        places.append("metadata")
        notebook["metadata"] = {}
    places += _repair_metadata(notebook["metadata"])
    used: set[str] = set()
    for number, cell in enumerate(notebook["cells"], start=1):
        wrong = _repair_cell(cell, number)
        if _repair_id(cell, number, used) and has_ids:
            wrong.append("id")
        places += [f"{what} of cell {number}" for what in wrong]
    return places


def said(places: list[str]) -> str:
    """A sentence that names what was repaired."""
    return f"its file is not quite valid; repaired in memory: {listed(places, _MAX_PLACES)}"


def _repair_metadata(metadata: dict[str, Any]) -> list[str]:
    places = _drop_invalid(metadata, {"authors": list, "orig_nbformat": int})
    if "title" in metadata and not isinstance(metadata["title"], str):
        places.append("title")
        metadata["title"] = str(metadata["title"])
    if "kernelspec" in metadata and not _are_texts(metadata["kernelspec"], "name", "display_name"):
        places.append("kernelspec")
        _repair_kernelspec(metadata)
    if "language_info" in metadata and not _is_language_info(metadata["language_info"]):
        places.append("language_info")
        name = _text(metadata.pop("language_info"), "name")
        metadata |= {"language_info": {"name": name}} if name else {}
    if "jupytext" in metadata and not isinstance(metadata["jupytext"], dict):
        places.append("jupytext")
        del metadata["jupytext"]
    return [f"metadata.{place}" for place in places]


def _repair_kernelspec(metadata: dict[str, Any]) -> None:
    """Keep what says which kernel or language it is; without both there is nothing to keep."""
    old = metadata.pop("kernelspec")
    name, language = _text(old, "name"), _text(old, "language")
    if name or language:
        shown = _text(old, "display_name") or name or language
        spec = {"name": name, "display_name": shown, "language": language}
        metadata["kernelspec"] = {key: value for key, value in spec.items() if value or key == "name"}


def _is_language_info(value: Any) -> bool:
    if not _are_texts(value, "name") or not isinstance(value.get("codemirror_mode", ""), str | dict):
        return False
    return all(isinstance(value.get(key, ""), str) for key in ("file_extension", "mimetype", "pygments_lexer"))


def _repair_cell(cell: Any, number: int) -> list[str]:
    if not isinstance(cell, dict):
        raise BrokenNotebook(f"cell {number}: expected a mapping, got {_kind(cell)}")
    kind = cell.get("cell_type")
    if not isinstance(kind, str) or kind not in _CELLS:
        expected = " or ".join(repr(known) for known in _CELLS)
        raise BrokenNotebook(f"cell {number}: its cell_type is {_kind(kind)}, expected {expected}")
    wrong = []
    source = cell.get("source")
    if source is None:
        wrong.append("source")
        source = cell.pop("input", None) or ""  # which it was called in format 3
    lines = source if isinstance(source, list) else [source]
    if not all(isinstance(line, str) for line in lines):
        raise BrokenNotebook(f"cell {number}: its source is {_kind(source)}, expected a text or a list of lines")
    cell["source"] = "".join(lines)
    if problem := text_problem(cell["source"], "its source"):
        raise BrokenNotebook(f"cell {number}: {problem}")
    if not isinstance(cell.get("metadata"), dict):
        wrong.append("metadata")
        cell["metadata"] = {}
    wrong += _repair_cell_metadata(cell["metadata"])
    if "attachments" in cell and not _are_attachments(cell["attachments"]):
        wrong.append("attachments")
        del cell["attachments"]
    wrong += _drop_others(cell, _CELLS[kind])
    if kind == "code":
        cell["outputs"], cell["execution_count"] = [], None
    return wrong


def _repair_cell_metadata(metadata: dict[str, Any]) -> list[str]:
    wrong = []
    if "tags" in metadata:
        given = metadata["tags"]
        texts = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        words = (word.strip() for text in texts if isinstance(text, str) for word in text.split(","))
        tags = list(dict.fromkeys(word for word in words if word))
        if tags != given:
            wrong.append("tags")
            metadata["tags"] = tags
    if metadata.get("name", "-") == "":
        wrong.append("name")
        del metadata["name"]
    return wrong + _drop_invalid(
        metadata,
        {
            "name": str,
            "format": str,
            "collapsed": bool,
            "jupyter": dict,
            "scrolled": lambda value: isinstance(value, bool) or value == "auto",
            "execution": lambda value: isinstance(value, dict) and _are_texts(value, *value),
        },
    )


def _repair_id(cell: dict[str, Any], number: int, used: set[str]) -> bool:
    """Whether the cell had no id of its own that is one."""
    own = cell.get("id")
    if isinstance(own, str) and _ID.fullmatch(own) and own not in used:
        used.add(own)
        return False
    new, again = f"cell-{number}", 0
    while new in used:
        again += 1
        new = f"cell-{number}-{again}"
    used.add(new)
    cell["id"] = new
    return True


def _drop_invalid(mapping: dict[str, Any], rules: Mapping[str, "type | Callable[[Any], bool]"]) -> list[str]:
    """Remove what is not of its type, or does not pass its test; which keys these were."""
    wrong = [
        key
        for key, rule in rules.items()
        if key in mapping and not (isinstance(mapping[key], rule) if isinstance(rule, type) else rule(mapping[key]))
    ]
    for key in wrong:
        del mapping[key]
    return wrong


def _drop_others(mapping: dict[str, Any], keys: tuple[str, ...]) -> list[str]:
    others = [key for key in mapping if key not in keys]
    for key in others:
        del mapping[key]
    return others


def _are_attachments(value: Any) -> bool:
    bundles = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(bundle, dict) and all(map(_is_representation, bundle.items())) for bundle in bundles)


def _is_representation(item: tuple[str, Any]) -> bool:
    mime, value = item
    texts = value if isinstance(value, list) else [value]
    return bool(re.fullmatch(r"application/(.*\+)?json", mime)) or all(isinstance(text, str) for text in texts)


def _are_texts(value: Any, *keys: str) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in keys)


def _text(value: Any, key: str) -> str:
    text = value.get(key) if isinstance(value, dict) else None
    return text if isinstance(text, str) else ""


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """What there is instead, for a message."""
    if value is None:
        return "nothing"
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else short_repr(value, 40)
