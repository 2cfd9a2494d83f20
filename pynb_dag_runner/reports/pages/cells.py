"""Decide what a page shows of each cell: by its tags, as in Jupyter Book, and by how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_INJECTED = "injected-parameters"
_TRANSIENT = "transient"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Of one cell.

    Attributes:
        label: stands above it.
        failed: the one that a reader of a failed notebook wants to see.
        hide_cell: shown folded.
    """

    label: str = ""
    failed: bool = False
    hide_cell: bool = False


def marked(notebook: Any, *, failed: bool) -> tuple[list[Any], list[Mark]]:
    """The cells that a page shows, as copies without what is not to be seen, and a mark for each.

    The tags ``remove-cell``, ``remove-input``, ``remove-output``, ``hide-cell``, ``hide-input`` and ``hide-output``
    (also with ``_``) count, but not in the cell that failed.

    Args:
        failed: the notebook did not succeed.
    """
    at = _failed_at(notebook.cells) if failed else None
    shown = [
        (_shown(cell, tags), _mark(tags, failed=number == at))
        for number, cell in enumerate(notebook.cells)
        if "remove-cell" not in (tags := set() if number == at else _tags(cell))
    ]
    return [cell for cell, _ in shown], [mark for _, mark in shown]


def _failed_at(cells: Sequence[Any]) -> int | None:
    """The last cell with an error, else the last that ran: the process died in it, or it was stuck there."""
    code = [(number, cell) for number, cell in enumerate(cells) if cell.cell_type == "code"]
    errors = [number for number, cell in code if any(output.output_type == "error" for output in cell.outputs)]
    ran = [number for number, cell in code if cell.outputs or cell.get("execution_count") is not None]
    return next(reversed(errors or ran), None)


def _tags(cell: Any) -> set[str]:
    tags = cell.metadata.get("tags")
    return {str(tag).replace("_", "-") for tag in tags} if isinstance(tags, list | tuple) else set()


def _mark(tags: set[str], *, failed: bool) -> Mark:
    label = "Parameters of this run" if _INJECTED in tags else ""
    return Mark(label=label, failed=failed, hide_cell="hide-cell" in tags)


def _shown(cell: Any, tags: set[str]) -> Any:
    transient = {
        "remove_source": "remove-input" in tags,
        "hide_source": "hide-input" in tags,
        "hide_output": "hide-output" in tags,
    }
    shown = type(cell)(cell, metadata=type(cell.metadata)(cell.metadata, **{_TRANSIENT: transient}))
    if "remove-output" in tags and shown.cell_type == "code":
        shown.outputs = []
    return shown
