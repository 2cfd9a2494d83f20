"""Convert TeX to MathML, which browsers draw by themselves: no script, no font, no network.

What can't be drawn right is shown as its source: a formula that says something else is worse than one that is not set.
"""

import html
import re
from xml.etree import ElementTree

MAX_CHARACTERS = 4_000
"""Of one formula; the converter takes a millisecond for a usual one, and too long for a page of them in one."""
_REPLACED = (
    # Environments that the converter does not know, by ones that are drawn the same.
    (re.compile(r"\\(begin|end)\{(?:aligned|alignedat|gathered|eqnarray\*|align\*|gather\*|gather)\}"), r"\\\1{split}"),
    (re.compile(r"\\(begin|end)\{eqnarray\}"), r"\\\1{align}"),
    (re.compile(r"&\s*(=|<|>|\\leq?|\\geq?|\\approx|\\equiv|\\sim)\s*&"), r"&\1"),
    # Bold letters are characters of their own; of others the weight would be lost without a word.
    (re.compile(r"\\(?:boldsymbol|bm|pmb)\s*\{\s*([A-Za-z])\s*\}"), r"\\mathbf{\1}"),
    (re.compile(r"\\operatorname\*"), r"\\operatorname"),
    # Names and numbers that a page has no use for.
    (re.compile(r"\\label\s*\{[^{}]*\}|\\(?:nonumber|notag)\b"), ""),
)
_NOT_DRAWN_RIGHT = re.compile(
    r"\\(?:not|b?cancel|xcancel|ce|href|tag|hline|widetilde|eqref|ref|boldsymbol|bm|pmb|textbf|textit)(?![A-Za-z])"
    r"|\\begin\{multline|\\begin\{array\}\s*\{[^}]*\||\\(?:text|mbox)\s*\{[^}]*\$"
)
"""What the converter draws as something else: numbers as factors, lines of tables lost, weights lost."""
_ROWS = re.compile(r"\\begin\{|\\substack\b")
_NOT_UNDERSTOOD = re.compile(r"^\\[A-Za-z]|^&$")
"""Text of an element that the converter took over as it was: a command or a column mark that it does not know."""
_ATTRIBUTES = re.compile(r"^(?:on|href|src|style|class|id|actiontype)", re.IGNORECASE)


def typeset(tex: str, *, display: bool) -> str:
    """A formula as HTML, safe to put into a page whoever wrote it.

    Args:
        tex: without the marks around it.
        display: on lines of its own, not in the text.
    """
    math = _mathml(tex, display=display)
    if math is None:
        marks = "$$" if display else "$"
        return f"<code>{html.escape(marks + tex + marks)}</code>"
    # In place of a div, which can't stand in a paragraph.
    return f'<span style="display:block;overflow-x:auto;overflow-y:hidden">{math}</span>' if display else math


def _mathml(tex: str, *, display: bool) -> str | None:
    for pattern, replacement in _REPLACED:
        tex = pattern.sub(replacement, tex)
    rows_without_a_table = r"\\" in tex and not _ROWS.search(tex)
    if not tex.strip() or len(tex) > MAX_CHARACTERS or rows_without_a_table or _NOT_DRAWN_RIGHT.search(tex):
        return None
    from latex2mathml.converter import convert_to_element

    try:
        root = convert_to_element(tex, display="block" if display else "inline")
        return _written(root)
    except Exception:  # noqa: BLE001 - its errors are of many kinds, and all mean that it can't read the formula
        return None


def _written(root: ElementTree.Element) -> str | None:
    """The text of the elements; None if the converter left something as it was."""
    for element in root.iter():
        # The converter keeps characters as references; written once more they would be shown as such.
        element.text = html.unescape(element.text or "") or None
        if element.text and element.tag != "mtext" and _NOT_UNDERSTOOD.match(element.text):
            return None
        if element.text and element.tag == "mtext" and re.match(r"^\\[A-Za-z]", element.text):
            return None
        for name in [name for name in element.attrib if _ATTRIBUTES.match(name)]:
            del element.attrib[name]
    return ElementTree.tostring(root, encoding="unicode")


def formula_in(text: str) -> str | None:
    """The formula of an output of the kind ``text/latex``, without the marks around it; None if it is more than one."""
    stripped = text.strip()
    for start, end in (("$$", "$$"), ("$", "$"), ("\\[", "\\]"), ("\\(", "\\)")):
        inner = stripped.removeprefix(start).removesuffix(end)
        if stripped.startswith(start) and stripped.endswith(end) and len(stripped) > len(start + end):
            return inner if "$" not in inner.replace("\\$", "") else None
    return stripped if stripped.startswith("\\begin{") else None
