"""Text as files and people can take it: cleaned and cut."""

import re

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def plain(text: str) -> str:
    """``text`` without terminal colours, in characters that a file can hold.

    Half of a surrogate pair can't be written as UTF-8; Python puts some into messages about file names that are none.
    """
    return _ANSI.sub("", text).encode("utf-8", "backslashreplace").decode()


def shortened(text: str, limit: int) -> str:
    """``text`` without its middle if it is longer than ``limit`` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
