"""Draw a graph as SVG: boxes and lines, or one small square for each task where there are too many."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pynb_dag_runner.model.outcomes import TaskStatus
from pynb_dag_runner.model.quantities import count
from pynb_dag_runner.model.text import columns, cut_to_columns
from pynb_dag_runner.reports.graph import Graph, Node, layers, numbered_edges
from pynb_dag_runner.reports.layout import Layout, Place, layered_layout
from pynb_dag_runner.reports.templating import render, text
from pynb_dag_runner.reports.wording import state_word

_MARGIN = 8
_LETTER = 7.6
"""Width of a letter in pixels at the font size of names, in the widest of the usual fonts (DejaVu Sans): SVG can't
measure text."""

_NARROWEST_BOX = 96
_LONGEST_NAME = 30
_LAYER_GAP = 52
_WIDE = 1_400
"""Width in pixels up to which a drawing goes from left to right in any case: a page's width."""

_COMFORTABLE_BREADTH = 26
"""With more boxes in a layer than this, boxes lose their second line."""

_SQUARE = 12
_SQUARES_IN_ROW = 100
_FIRST_ROW = 2 * _MARGIN + 20
_MAX_LAYER_ROWS = 200
"""With more layers than this the squares run on without a new row for each layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Box:
    """A task's place in pixels: the top left corner."""

    index: int
    node: Node
    left: float
    top: float
    name: str
    facts: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scale:
    """From places without a unit to pixels. ``down``: layers follow each other downwards, else to the right."""

    width: float
    height: float
    layer_step: float
    across_step: float
    down: bool

    def corner(self, place: Place) -> tuple[float, float]:
        """Left and top of the box at a place."""
        layer, across = place
        if self.down:
            return round(_MARGIN + across * self.across_step, 1), round(_MARGIN + layer * self.layer_step, 1)
        return round(_MARGIN + layer * self.layer_step, 1), round(_MARGIN + across * self.across_step, 1)

    def entry(self, place: Place) -> tuple[float, float]:
        """Where a line reaches a box."""
        left, top = self.corner(place)
        return (left + self.width / 2, top) if self.down else (left, top + self.height / 2)

    def exit(self, place: Place) -> tuple[float, float]:
        """Where a line leaves a box."""
        left, top = self.corner(place)
        return (left + self.width / 2, top + self.height) if self.down else (left + self.width, top + self.height / 2)


def graph_svg(graph: Graph, *, standalone: bool = True, anchors: bool = False) -> str:
    """The picture.

    Args:
        standalone: a file of its own, with styles and symbols; else for a page that has them.
        anchors: make each task a link to the element ``t<position>`` of the page.
    """
    layout = layered_layout(graph)
    if layout is None:
        return _overview(graph, standalone=standalone, anchors=anchors)
    scale = _scale(graph, layout)
    boxes = [_box(index, node, scale.corner(layout.places[index])) for index, node in enumerate(graph.nodes)]
    size = (layout.depth * scale.layer_step, layout.breadth * scale.across_step)
    width, height = reversed(size) if scale.down else size
    return render(
        "graph.svg",
        graph=graph,
        boxes=boxes,
        lines=[_line(layout, scale, before, after) for before, after in numbered_edges(graph)],
        box_width=scale.width,
        box_height=scale.height,
        width=round(width + 2 * _MARGIN - (scale.across_step - scale.width if scale.down else _LAYER_GAP)),
        height=round(height + 2 * _MARGIN - (_LAYER_GAP if scale.down else scale.across_step - scale.height)),
        standalone=standalone,
        anchors=anchors,
    )


def _scale(graph: Graph, layout: Layout) -> _Scale:
    roomy = layout.breadth <= _COMFORTABLE_BREADTH
    texts = [cut_to_columns(node.name, _LONGEST_NAME) for node in graph.nodes]
    if roomy:
        texts += [_facts(node) for node in graph.nodes]
    width = max(_NARROWEST_BOX, round(46 + _LETTER * max(map(columns, texts), default=0)))
    height, gap = (44, 14) if roomy else (22, 5)
    wide = layout.depth * (width + _LAYER_GAP)
    down = wide > _WIDE and layout.breadth * (width + 20) < wide
    return _Scale(
        width=width,
        height=height,
        layer_step=(height if down else width) + _LAYER_GAP,
        across_step=width + 20 if down else height + gap,
        down=down,
    )


def _box(index: int, node: Node, corner: tuple[float, float]) -> _Box:
    left, top = corner
    return _Box(
        index=index,
        node=node,
        left=left,
        top=top,
        name=cut_to_columns(node.name, _LONGEST_NAME),
        facts=_facts(node),
        title=_title(node),
    )


def _facts(node: Node) -> str:
    return " · ".join(node.notes or ([state_word(node.status)] if node.status else [node.kind]))


def _title(node: Node) -> str:
    words = [node.name, ": ", *([state_word(node.status), ", "] if node.status else []), node.kind]
    return "".join(words) + "".join(f", {note}" for note in node.notes)


def _line(layout: Layout, scale: _Scale, before: int, after: int) -> str:
    """The path of an edge: straight through the layers it passes, curved between them."""
    here = scale.exit(layout.places[before])
    path = [f"M{here[0]:.6g} {here[1]:.6g}"]
    for bend in layout.bends.get((before, after), ()):
        path += [_curve(here, scale.entry(bend), scale.down), "L{:.6g} {:.6g}".format(*scale.exit(bend))]
        here = scale.exit(bend)
    path.append(_curve(here, scale.entry(layout.places[after]), scale.down))
    return "".join(path)


def _curve(start: tuple[float, float], end: tuple[float, float], down: bool) -> str:
    """A curve that leaves and arrives in the direction in which layers follow each other."""
    (x1, y1), (x2, y2) = start, end
    if down:
        middle = (y1 + y2) / 2
        return f"C{x1:.6g} {middle:.6g} {x2:.6g} {middle:.6g} {x2:.6g} {y2:.6g}"
    middle = (x1 + x2) / 2
    return f"C{middle:.6g} {y1:.6g} {middle:.6g} {y2:.6g} {x2:.6g} {y2:.6g}"


_WITHOUT_MARK = frozenset((TaskStatus.SUCCEEDED, TaskStatus.SKIPPED, TaskStatus.PENDING))


def _overview(graph: Graph, *, standalone: bool, anchors: bool) -> str:
    """One square for each task, in rows by layer, without edges, and a sentence that says so."""
    layer = layers(graph)
    order = sorted(range(len(layer)), key=lambda index: layer[index])
    by_layer = [list(group) for _, group in groupby(order, key=layer.__getitem__)]
    in_rows = len(by_layer) <= _MAX_LAYER_ROWS
    runs = by_layer if in_rows else [order]
    meaning = "each row of squares is a layer, and what it needs is in rows above" if in_rows else "in order of need"
    return render(
        "overview.svg",
        graph=graph,
        squares=_squares(graph, runs, anchors),
        note=(
            f"{count(len(graph.nodes), 'task')} and {count(len(graph.edges), 'edge')} are too many to draw one by one: "
            f"a square is a task, {meaning}; edges are left out."
        ),
        width=max(820, 2 * _MARGIN + _SQUARE * min(_SQUARES_IN_ROW, max(map(len, runs)))),
        height=_FIRST_ROW + sum(map(_rows_of, runs)) * _SQUARE + _MARGIN,
        standalone=standalone,
    )


def _squares(graph: Graph, runs: Sequence[Sequence[int]], anchors: bool) -> Iterator[str]:
    row = 0
    for members in runs:
        for position, index in enumerate(members):
            left = _MARGIN + position % _SQUARES_IN_ROW * _SQUARE
            top = _FIRST_ROW + (row + position // _SQUARES_IN_ROW) * _SQUARE
            yield _square(graph.nodes[index], left, top, f"t{index}" if anchors else None)
        row += _rows_of(members)


def _rows_of(members: Sequence[int]) -> int:
    return -(-len(members) // _SQUARES_IN_ROW)


def _square(node: Node, left: int, top: int, anchor: str | None) -> str:
    """A task's square as markup. Not from a template, which takes ten times as long for each."""
    state, side, mark = node.status.value if node.status else "", _SQUARE - 2, ""
    title = f"{node.name}: {state_word(node.status)}" if node.status else node.name
    if node.status and node.status not in _WITHOUT_MARK:
        place = f'x="{left + 1}" y="{top + 1}" width="{side - 2}" height="{side - 2}"'
        mark = f'<use class="mark" href="#i-{state}" {place}/>'
    style, tag = f"s-{state}" if state else "n", "g" if anchor is None else "a"
    link = "" if anchor is None else f' href="#{anchor}"'
    shape = f'<rect class="square" x="{left}" y="{top}" width="{side}" height="{side}" rx="2"/>'
    return f'<{tag}{link} class="{style}"><title>{text(title)}</title>{shape}{mark}</{tag}>'
