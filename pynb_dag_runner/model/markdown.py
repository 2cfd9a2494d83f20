"""Text of user code and strangers in markdown that GitHub and MLflow show as it is."""

import re
from collections.abc import Iterable

from pynb_dag_runner.model.text import one_line, printable

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|~&!:@$]|(?<=www)\.", re.IGNORECASE)


def markdown_text(text: str) -> str:
    """``text`` in one line that markdown, also inside a table, shows as it is.

    Colons, ``@`` and the point of ``www.`` are escaped too: GitHub and MLflow make links of addresses that stand alone.
    """
    return _SPECIAL.sub(r"\\\g<0>", one_line(text))


def code_span(text: str) -> str:
    """``text`` as code in a line, where nothing can be escaped."""
    shown = one_line(text).replace("`", "'")
    return f"`{shown}`"


def code_block(lines: Iterable[str], language: str = "") -> str:
    """A block of code; its fence is longer than any run of backticks inside."""
    text = printable("\n".join(lines))
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
