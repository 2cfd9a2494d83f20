"""Write a graph as text for other programs: mermaid, and dot for Graphviz."""

import re
from collections import Counter

from pynb_dag_runner.model.outcomes import RunStatus, TaskStatus
from pynb_dag_runner.model.text import cut_to_columns, printable
from pynb_dag_runner.reports.graph import Graph, Node, layers, numbered_edges
from pynb_dag_runner.reports.wording import State, state_word

MAX_LABEL = 60
"""Columns of a name in a picture; longer ones are cut."""

MAX_LAYERS_ACROSS = 8
"""A drawing from left to right with more layers than this gets too small to read where its width is limited."""

STATE_COLOURS: dict[State, tuple[str, str]] = {
    TaskStatus.SUCCEEDED: ("#dcf3e6", "#1a7f4e"),
    TaskStatus.REUSED: ("#eef8f2", "#1a7f4e"),
    TaskStatus.FAILED: ("#fde1e1", "#c62828"),
    TaskStatus.TIMED_OUT: ("#fdeacb", "#a85a00"),
    TaskStatus.CRASHED: ("#f3e0fa", "#8e24aa"),
    TaskStatus.CANCELLED: ("#e6e8eb", "#59636e"),
    TaskStatus.SKIPPED: ("#f3f4f6", "#6e7781"),
    TaskStatus.RUNNING: ("#dbeafe", "#1d5fd1"),
    TaskStatus.PENDING: ("#ffffff", "#6e7781"),
    RunStatus.INTERRUPTED: ("#e6e8eb", "#59636e"),
}
"""Fill and line. Text on them is dark, so that they read on a dark page too; the word stands beside the colour."""

_TEXT_COLOUR = "#1f2328"
_DASHED: frozenset[State] = frozenset((TaskStatus.SKIPPED, TaskStatus.PENDING))

_MERMAID_COMMAND = re.compile(
    r"(?:\d|(?:accDescr|accDescription|accTitle|axisFormat|call|click|dateFormat|excludes|gantt|href|includes"
    r"|inclusiveEndDates|section|tickInterval|title|todayMarker|topAxis|weekday|weekend)\b)",
    re.IGNORECASE,
)
"""What does not begin a task in a line of a Gantt chart (mermaid 11, its lexer's rules), and what may begin a list."""

_MERMAID_PUNCTUATION = re.compile(r"(?<!\w)[-._]|[-._](?!\w)|[!-+/:-@\[-^`{-~]")
"""All of ASCII's, but a comma, and not what joins a word such as ``train-1.5``."""

_MERMAID_SEQUENCE = re.compile(r"\$(?=\$)|\\(?=n)|:(?=fa-)")
"""What mermaid's drawing still acts on after entities are decoded: a formula, a line break, an icon."""


def mermaid_text(text: str) -> str:
    """``text`` so that mermaid shows it as it is, in a flowchart's label as at the start of a line of a Gantt chart.

    What could mean something becomes a numeric entity in mermaid's own spelling, ``#59;`` (mermaid's documentation,
    "Entity codes to escape characters"). Tried with mermaid 11.17.
    """
    unbroken = _MERMAID_SEQUENCE.sub(lambda match: match.group() + "\u200b", printable(text).replace("\n", " "))
    escaped = _MERMAID_PUNCTUATION.sub(lambda match: f"#{ord(match.group())};", unbroken)
    return f"#{ord(unbroken[0])};{escaped[1:]}" if _MERMAID_COMMAND.match(unbroken) else escaped


def mermaid(graph: Graph) -> str:
    """A mermaid flowchart, ending in a line break.

    Notebooks are boxes, functions are rounded; where tasks have a status, colour and a second line tell it.
    """
    lines = [f"flowchart {'LR' if _is_broad(graph) else 'TB'}"]
    for number, node in enumerate(graph.nodes):
        opened, closed = ('(["', '"])') if node.kind == "function" else ('["', '"]')
        label = "<br/>".join(mermaid_text(line) for line in _label_lines(node))
        state = f":::{_class_name(node.status)}" if node.status else ""
        lines.append(f"  t{number}{opened}{label}{closed}{state}")
    lines += [f"  t{before} --> t{after}" for before, after in numbered_edges(graph)]
    for status in dict.fromkeys(node.status for node in graph.nodes if node.status):
        fill, line = STATE_COLOURS[status]
        dashed = ",stroke-dasharray:4 3" if status in _DASHED else ""
        lines.append(f"  classDef {_class_name(status)} fill:{fill},stroke:{line},color:{_TEXT_COLOUR}{dashed}")
    return "\n".join(lines) + "\n"


def dot(graph: Graph) -> str:
    """A digraph in Graphviz's language, ending in a line break."""
    lines = [
        f"digraph {_dot_text(graph.name)} {{",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fillcolor="#ffffff", color="#6e7781", fontname="Helvetica"];',
        '  edge [color="#6e7781"];',
    ]
    for number, node in enumerate(graph.nodes):
        label = r"\n".join(_dot_escape(line) for line in _label_lines(node))
        attributes = [f'label="{label}"', f"tooltip={_dot_text(node.name)}"]
        if node.status:
            fill, line = STATE_COLOURS[node.status]
            style = "rounded,filled,dashed" if node.status in _DASHED else "rounded,filled"
            attributes += [f'fillcolor="{fill}"', f'color="{line}"', f'style="{style}"']
        elif node.kind == "function":
            attributes.append("shape=ellipse")
        lines.append(f"  t{number} [{', '.join(attributes)}];")
    lines += [f"  t{before} -> t{after};" for before, after in numbered_edges(graph)]
    return "\n".join([*lines, "}"]) + "\n"


def _is_broad(graph: Graph) -> bool:
    """Whether the drawing reads better from left to right: a long chain would be drawn tiny."""
    layer = layers(graph)
    return max(layer, default=0) < MAX_LAYERS_ACROSS or max(Counter(layer).values()) > MAX_LAYERS_ACROSS


def _label_lines(node: Node) -> list[str]:
    """The name, and below it what is known of how it went."""
    facts = [*([state_word(node.status)] if node.status else []), *node.notes]
    return [cut_to_columns(node.name, MAX_LABEL), *([", ".join(facts)] if facts else [])]


def _class_name(status: State) -> str:
    return status.value.lower()


def _dot_escape(text: str) -> str:
    """``text`` inside an ``escString``: its backslashes, quotes and HTML entities are taken literally."""
    escaped = printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return escaped.replace("&", "&amp;")


def _dot_text(text: str) -> str:
    return f'"{_dot_escape(text)}"'
