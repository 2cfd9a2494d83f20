"""Bound the outputs of a notebook's cells as they come from the kernel: each one, and all together."""

import json
from collections.abc import Mapping
from typing import Any

import nbformat

from pynb_dag_runner.model.output_limits import (
    CELL_OUTPUTS,
    CELL_TEXT_CHARACTERS,
    CELL_TURNS,
    MARK,
    NOTEBOOK_OUTPUT_BYTES,
    NOTEBOOK_TEXT_CHARACTERS,
    OUTPUT_AT_LEAST_BYTES,
    OUTPUT_BYTES,
    TEXT_AT_LEAST_CHARACTERS,
)
from pynb_dag_runner.model.text import cut_middle
from pynb_dag_runner.worker.failures import MAX_TRACEBACK_CHARACTERS
from pynb_dag_runner.worker.notebook.printed import PrintedText

DISPLAYED = ("display_data", "execute_result", "update_display_data")
"""Types of messages that hold representations of a value."""


class Outputs:
    """What the cells of one notebook have put out so far, and how much room is left.

    Call :meth:`begin_cell` before a cell, and :meth:`refresh` before the notebook is looked at: text is kept in pieces
    until then, since appending each to what there is takes time in proportion to its square.
    """

    def __init__(self) -> None:
        self._text_left = NOTEBOOK_TEXT_CHARACTERS
        self._bytes_left = NOTEBOOK_OUTPUT_BYTES
        self._of_display: dict[str, int] = {}
        self._begin()

    def _begin(self) -> None:
        self._cell_text_left = min(CELL_TEXT_CHARACTERS, self._text_left)
        self._cell_text = 0
        self._cell_bytes = 0
        self._count = 0
        self._dropped = 0
        self._dropped_node: Any = None
        self._streams: dict[str, tuple[Any, PrintedText]] = {}
        self._turns = 0

    def begin_cell(self) -> None:
        """The next outputs are another cell's."""
        self._end_streams()
        self._begin()

    def cleared(self) -> None:
        """The cell removed all its outputs, so their room is free again."""
        self._end_streams()
        self._text_left += self._cell_text
        self._bytes_left += self._cell_bytes
        self._of_display.clear()
        self._begin()

    def stream(self, outputs: list[Any], name: str, text: str) -> None:
        """Add what the cell printed to ``outputs``, as part of the last output if that is the same stream.

        After many turns between streams, or much text, the rest of each stream is in one output.
        """
        if name not in self._streams:
            if self._streams and self._turns < CELL_TURNS and self._cell_text_left >= CELL_TEXT_CHARACTERS // 2:
                self._end_streams()
                self._turns += 1
            node = nbformat.v4.new_output("stream", name=name, text="")
            limit = max(self._cell_text_left, TEXT_AT_LEAST_CHARACTERS)
            self._streams[name] = (node, PrintedText(limit))
            outputs.append(node)
        self._streams[name][1].add(text)

    def displayed(self, outputs: list[Any], kind: str, content: dict[str, Any]) -> bool:
        """Bound what a cell displays, in place.

        Args:
            kind: type of the message, one of :data:`DISPLAYED`.
            content: its content.

        Returns:
            Whether there is room for it.
        """
        display_id = (content.get("transient") or {}).get("display_id", "")
        is_update = kind == "update_display_data"
        if kind == "display_data" and self._count >= CELL_OUTPUTS:
            self._drop(outputs)
            return False
        before = self._of_display.get(display_id, 0) if is_update else 0
        limit = max(min(OUTPUT_BYTES, self._bytes_left + before), OUTPUT_AT_LEAST_BYTES)
        content["data"], size = _bounded(content["data"], limit)
        if size_of(content.get("metadata")) > OUTPUT_AT_LEAST_BYTES:
            content["metadata"] = {}
        if is_update and display_id not in self._of_display:
            return True  # of an output that is not there: nobody keeps it
        self._bytes_left -= size - before
        self._cell_bytes += size - before
        if display_id:
            self._of_display[display_id] = size
        if not is_update:
            self._count += 1
            if self._count < CELL_OUTPUTS:
                self._end_streams()
        return True

    def refresh(self) -> None:
        """Put the text kept into its outputs."""
        for node, printed in self._streams.values():
            node["text"] = printed.text()
        if self._dropped_node is not None:
            why = f"a cell of an evaluated notebook has at most {CELL_OUTPUTS:,}"
            self._dropped_node["text"] = f"{MARK} {self._dropped:,} more outputs left out here; {why}\n"

    def _drop(self, outputs: list[Any]) -> None:
        self._dropped += 1
        if self._dropped_node is None:
            self._dropped_node = nbformat.v4.new_output("stream", name="stderr", text="")
            outputs.append(self._dropped_node)

    def _end_streams(self) -> None:
        """What is printed from now on comes after what was displayed meanwhile."""
        self.refresh()
        for node, _ in self._streams.values():
            size = len(node["text"])
            self._text_left -= size
            self._cell_text += size
            self._cell_text_left -= size
        self._streams = {}


def bounded_error(content: dict[str, Any]) -> dict[str, Any]:
    """The content of an error message without the middle of long texts."""
    texts = {key: cut_middle(str(content.get(key, "")), MAX_TRACEBACK_CHARACTERS) for key in ("ename", "evalue")}
    return {**content, **texts, "traceback": _bounded_lines(content.get("traceback", []))}


def _bounded_lines(lines: list[str]) -> list[str]:
    if sum(map(len, lines)) <= MAX_TRACEBACK_CHARACTERS:
        return lines
    return cut_middle("\n".join(lines), MAX_TRACEBACK_CHARACTERS).split("\n")


def size_of(value: object) -> int:
    """Characters that a value takes in the file, about."""
    return len(value) if isinstance(value, str) else len(json.dumps(value))


def _bounded(data: Mapping[str, Any], limit: int) -> tuple[dict[str, Any], int]:
    """Representations by MIME type, without those that are too large, and their size."""
    sizes = {mime: size_of(value) for mime, value in data.items()}
    if sizes.get("text/plain", 0) > limit and isinstance(data["text/plain"], str):
        data = {**data, "text/plain": cut_middle(data["text/plain"], limit // 10)}
        sizes["text/plain"] = limit // 10
    kept: dict[str, Any] = {}
    for mime in sorted(data, key=lambda mime: sizes[mime]):
        if sizes[mime] <= limit - sum(sizes[other] for other in kept):
            kept[mime] = data[mime]
    if len(kept) < len(data):
        left_out = ", ".join(f"{mime} of {sizes[mime]:,} bytes" for mime in data if mime not in kept)
        room = f"the limits are {OUTPUT_BYTES:,} bytes for an output and {NOTEBOOK_OUTPUT_BYTES:,} for a notebook"
        plain = f"\n{kept['text/plain']}" if "text/plain" in kept else ""
        kept["text/plain"] = f"{MARK} left out here: {left_out}; {room}{plain}"
    in_order = {mime: kept[mime] for mime in [*data, "text/plain"] if mime in kept}
    return in_order, sum(size_of(value) for value in kept.values())
