"""Extract the Python code of a notebook's cell, without IPython's own syntax, so that it can be parsed."""

import re

_HARMLESS_LINE = re.compile(
    r"(\s*)(?:%(?:matplotlib|load_ext|reload_ext|autoreload|config|precision|pip|conda|cd|time|timeit)\b|!).*"
)
_ONLY_IPYTHON = re.compile(r"\s*[%!?]")
_CELL_MAGIC = re.compile(r"\s*%%(\w+)[^\n]*\n?")
_AROUND_PYTHON = {"time", "timeit", "capture", "prun"}
_OTHER_LANGUAGES = {"bash", "sh", "html", "HTML", "javascript", "js", "latex", "markdown", "svg", "writefile"}


def python_of(cell: str) -> str | None:
    """The cell's code, perhaps none; None where a magic may do things that its text does not tell.

    Args:
        cell: source of a code cell of a notebook in Python.
    """
    if magic := _CELL_MAGIC.match(cell):
        if magic[1] in _OTHER_LANGUAGES:
            return ""
        if magic[1] not in _AROUND_PYTHON:
            return None
        cell = cell[magic.end() :]
    lines = [_HARMLESS_LINE.sub(r"\1pass", line) for line in cell.split("\n")]
    return None if any(_ONLY_IPYTHON.match(line) for line in lines) else "\n".join(lines)
