"""Read notebook files in every text format that Jupytext knows, and .ipynb. Nothing is ever written back."""

import codecs
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat

from pynb_dag_runner.model.text import first_line
from pynb_dag_runner.notebooks import languages
from pynb_dag_runner.notebooks.declared_parameters import Declared, declared_in
from pynb_dag_runner.notebooks.repairs import BrokenNotebook, from_json, repair, said
from pynb_dag_runner.processes.import_without import without

with without("tornado", "jupyter_server", "notebook"):  # or Jupytext imports a user's notebook.py for Jupyter's server
    import jupytext
    from jupytext.formats import NOTEBOOK_EXTENSIONS

SUFFIXES = tuple(NOTEBOOK_EXTENSIONS)
"""Endings of files that can be notebooks."""


@dataclass(frozen=True, kw_only=True)
class Notebook:
    """A notebook as read.

    Attributes:
        content: JSON of notebook format 4.
        metadata: the notebook's own.
        language: see :func:`pynb_dag_runner.notebooks.languages.of_notebook`.
        code: sources of its code cells.
        parameters: names assigned in the cell tagged ``parameters``; None if there is no such cell, it is no Python, or
            that can't be told.
        remark: what was repaired in the notebook as it was read, as a sentence; empty: nothing.
    """

    path: Path
    content: str
    metadata: Mapping[str, Any]
    language: str
    code: tuple[str, ...]
    parameters: Mapping[str, Declared] | None
    remark: str = ""


class UnreadableNotebook(Exception):
    """A file is no notebook; the message is one sentence without the file's name."""


def read_notebook(path: Path) -> Notebook:
    """Read a notebook file; one that did not change since is not parsed again.

    Raises:
        UnreadableNotebook: the file is missing, no text, or no notebook.
    """
    try:
        status = path.stat()
    except OSError:
        return _read(path, 0, 0)
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _read(path: Path, _modified: int, _size: int) -> Notebook:
    if path.suffix not in SUFFIXES:
        raise UnreadableNotebook(f"its ending {path.suffix!r} is none of a notebook: expected {_listed_suffixes()}")
    content = _content(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of nbformat, with paths and lines of its code
            notebook, places = _parsed(content, path.suffix)
            nbformat.validate(notebook)
    except BrokenNotebook as error:
        raise UnreadableNotebook(str(error)) from error
    except Exception as error:
        raise UnreadableNotebook(f"it can't be parsed as a notebook: {_reason(error)}") from error
    language = languages.of_notebook(notebook.metadata, path.suffix)
    return Notebook(
        path=path,
        content=nbformat.v4.writes(notebook),
        metadata=notebook.metadata,
        language=language,
        code=tuple(cell.source for cell in notebook.cells if cell.cell_type == "code"),
        # Of another language a cell can be Python by chance, and mean something else: `count <- 1` compares.
        parameters=_parameters(notebook) if language == languages.PYTHON else None,
        remark=said(places) if places else "",
    )


def _content(path: Path) -> str:
    """The text of a file, whatever its lines end in, without a mark of the byte order."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UnreadableNotebook("there is no such file") from None
    except IsADirectoryError:
        raise UnreadableNotebook("it is a directory") from None
    except OSError as error:
        raise UnreadableNotebook(f"it can't be read: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        encoding = " but in UTF-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""
        why = f": {error.reason} at byte {error.start}"
        raise UnreadableNotebook(f"it is no text in UTF-8{encoding or why}") from None


def _parsed(content: str, suffix: str) -> tuple[Any, list[str]]:
    """The notebook in a text, made valid, and the places where it was not."""
    if suffix != ".ipynb":
        notebook = jupytext.reads(content, fmt={"extension": suffix})
    else:
        notebook = from_json(content)
    return notebook, repair(notebook)


def _reason(error: Exception) -> str:
    """One line; where the schema was violated, with the place."""
    first = first_line(str(error), 200)
    if isinstance(error, nbformat.ValidationError):
        place = ".".join(str(part) for part in error.relative_path)
        return f"{place}: {first}" if place else first
    return f"{type(error).__name__}: {first}"


def _parameters(notebook: Any) -> dict[str, Declared] | None:
    for cell in notebook.cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", []):
            return declared_in(cell.source)
    return None


def _listed_suffixes() -> str:
    return ", ".join(SUFFIXES[:8]) + " or another of Jupytext's"
