"""Keep what a cell printed: bounded, and as a terminal would show it."""

from collections import deque

from pynb_dag_runner.model.output_limits import MARK


class PrintedText:
    """Text that grows piece by piece, of which no more than its beginning and its end are kept.

    Args:
        limit: characters to keep, half of them of the beginning; at least 2.
    """

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head: list[str] = []
        self._head_size = 0
        self._tail: deque[str] | None = None
        self._tail_size = 0
        self._left_out = 0

    def add(self, text: str) -> None:
        """Append ``text``; takes time in proportion to its length."""
        start = 0
        while self._tail is None and start < len(text):
            piece = text[start : start + 2 * self._half + 1 - self._head_size]
            start += len(piece)
            self._head.append(piece)
            self._head_size += len(piece)
            if self._head_size > 2 * self._half:
                self._close_head()
        if start < len(text):
            self._add_to_tail(text, start)

    def text(self) -> str:
        """What is kept, with a line where something was left out."""
        head, tail = "".join(self._head), "".join(self._tail or ())
        start = max(0, len(tail) - self._half)
        left_out = self._left_out + start
        if not left_out:
            return as_shown(head + tail)
        mark = f"\n{MARK} {left_out:,} characters left out here; output.log holds more\n"
        return as_shown(head) + mark + as_shown(tail[start:])

    def _close_head(self) -> None:
        """Begin the end, unless lines that were overwritten took the room: a progress bar is one line in the end."""
        head = as_shown("".join(self._head))
        if len(head) <= self._half // 2:
            self._head, self._head_size = [head], len(head)
            return
        self._head, self._tail = [head[: self._half]], deque()
        self._add_to_tail(head, self._half)

    def _add_to_tail(self, text: str, start: int) -> None:
        assert self._tail is not None
        kept_from = max(start, len(text) - self._half)
        self._left_out += kept_from - start
        self._tail.append(text[kept_from:])
        self._tail_size += len(text) - kept_from
        while self._tail_size - len(self._tail[0]) >= self._half:
            self._tail_size -= len(self._tail[0])
            self._left_out += len(self._tail.popleft())


def as_shown(text: str) -> str:
    """``text`` without what carriage returns and backspaces overwrote, as a terminal shows it.

    Takes time in proportion to its length, unlike the patterns of nbclient for the same.
    """
    if "\r" not in text and "\b" not in text:
        return text
    return "\n".join(_line_as_shown(line) for line in text.split("\n"))


def _line_as_shown(line: str) -> str:
    if "\b" in line:
        kept: list[str] = []
        for character in line:
            if character != "\b":
                kept.append(character)
            elif kept:
                kept.pop()
        line = "".join(kept)
    shown = line.rstrip("\r")
    return shown.rpartition("\r")[2] + line[len(shown) :]
