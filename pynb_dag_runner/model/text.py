"""Text as files, pages, terminals and people can take it: cleaned, cut, listed. Standard library only.

What is cleaned comes from user code and from strangers' run folders: error messages, names, printed lines.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""ECMA-48, sections 5.4 (control sequences) and 8.3 (operating system commands)."""

_STEERING = "\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff"
_UNPRINTABLE = re.compile(f"[\x00-\x08\x0b-\x1f{_STEERING}]")
"""What XML 1.0 can't hold (section 2.2), the other control characters but tab and line feed, and those that turn the
direction of text."""
_INVISIBLE = re.compile(f"[\x00-\x1f\u2028\u2029{_STEERING}]")
"""The same, and what ends a line or widens it."""


def storable(text: str) -> str:
    """``text`` in characters that a file can hold.

    Half of a surrogate pair can't be written as UTF-8; Python puts some into messages about file names that are none.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def plain(text: str) -> str:
    """``text`` without escape sequences of terminals (colours, titles), in characters that a file can hold."""
    return storable(_ESCAPE_SEQUENCE.sub("", text))


def printable(text: str) -> str:
    """``text`` as HTML, XML and a terminal can show it, in as many lines.

    Escape sequences of terminals go. Every other character that HTML or XML can't hold, that steers a terminal, or
    that hides others, is spelled out: ``\\x07``. Line ends become line feeds.
    """
    if text.isprintable():  # most are, and the page of a large run holds half a million
        return text
    return _UNPRINTABLE.sub(_spelled_out, _ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n"))


def visible(text: str) -> str:
    """``text`` in one line, with all that is not seen spelled out, escape sequences and line ends too: ``\\x1b``."""
    return _INVISIBLE.sub(_spelled_out, text)


def _spelled_out(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()


def one_line(text: str) -> str:
    """``text`` as a terminal and a page can show it, in one line, with single spaces."""
    return " ".join(printable(text).split())


def first_line(text: str, limit: int) -> str:
    """The first line of ``text`` that is not blank, printable, cut to ``limit`` characters; empty if there is none."""
    return cut_end(next((line.strip() for line in printable(text).splitlines() if line.strip()), ""), limit)


def cut_end(text: str, limit: int) -> str:
    """``text`` without its end if it is longer than ``limit`` characters, which the result never is."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def cut_middle(text: str, limit: int) -> str:
    """``text`` without its middle if it is longer than ``limit`` characters: both ends of a traceback tell most.

    A line in its place says how much is missing; the result is longer by that line.
    """
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters left out ...]\n{text[-half:]}"


def cut_to_columns(text: str, width: int) -> str:
    """``text`` if it is at most ``width`` columns wide, else its beginning and end with an ellipsis between.

    Names of one family mostly differ at the end (``train-400``, ``train-500``), so both ends are kept.
    """
    if columns(text) <= width:
        return text
    head, tail = text, text[-(width // 3) :]
    while columns(tail) > width // 3:
        tail = tail[1:]
    head = head[: width - 1 - columns(tail)]
    while columns(head) > width - 1 - columns(tail):
        head = head[:-1]
    return f"{head}…{tail}"


def columns(text: str) -> int:
    """Width of ``text`` in columns: two for a wide character (Unicode annex 11), none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def listed(names: Sequence[str], most: int) -> str:
    """``a``, ``a and b``, ``a, b and c``, and of more than ``most`` names ``a, b, c and 1,200 more``."""
    more = len(names) - most
    last = f"{more:,} more" if more > 0 else names[-1] if names else ""
    before = names[:most] if more > 0 else names[:-1]
    return f"{', '.join(before)} and {last}" if before else last


def short_repr(value: Any, limit: int = 60) -> str:
    """``repr(value)`` in characters that a file can hold, cut to ``limit`` characters.

    A ``repr`` that raises must not hide what we are about to report.
    """
    try:
        text = storable(repr(value))
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        text = f"<its repr raises {type(error).__name__}>"
    return cut_end(text, limit)
