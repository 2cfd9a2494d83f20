"""Place the nodes and edges of a layered drawing: fast-sugiyama orders and places them, this module scales the result.

Places are pairs (layer, across) without a unit and without a direction: the drawing decides which axis is which.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pynb_dag_runner.reports.graph import Graph, layers, numbered_edges

MAX_NODES = 600
MAX_EDGES = 2_000
MAX_BENDS = 3_000
"""Above these a drawing of single boxes and lines is a tangle that nobody can read, and laying it out gets slow: an
edge across n layers has n - 1 bends, and time grows faster than their number (100,000 bends: 10 s)."""

_TRANSPOSE_NODES = 300
"""Up to here neighbours are also swapped while that saves crossings: better drawings, at several times the cost."""

_BEND_WIDTH = 0.5
"""Space that an edge takes beside nodes, as a part of a node's."""

Place = tuple[float, float]
Edge = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A layered layout.

    Attributes:
        places: for each node its layer and its place across; neighbours of one layer are at least 1 apart.
        bends: for an edge that spans several layers the places where it passes those between.
        depth: number of layers.
        breadth: largest place across, of a node or of a bend, plus 1.
    """

    places: tuple[Place, ...]
    bends: Mapping[Edge, tuple[Place, ...]]
    depth: int
    breadth: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A connected part of the graph: places across by node, and by edge of the bends on its way."""

    across: Mapping[int, float]
    bends: Mapping[Edge, tuple[float, ...]]

    @property
    def breadth(self) -> float:
        return max([*self.across.values(), *(place for bends in self.bends.values() for place in bends)]) + 1


def layered_layout(graph: Graph) -> Layout | None:
    """Lay out a graph; None if it is too large or too dense to be drawn box by box."""
    layer = layers(graph)
    # An edge that does not lead to a higher layer lies on a cycle, which only a forged run folder has.
    edges = [edge for edge in numbered_edges(graph) if layer[edge[0]] < layer[edge[1]]]
    number_of_bends = sum(layer[after] - layer[before] - 1 for before, after in edges)
    if len(layer) > MAX_NODES or len(graph.edges) > MAX_EDGES or number_of_bends > MAX_BENDS:
        return None
    placed: dict[int, Place] = {}
    bends: dict[Edge, tuple[Place, ...]] = {}
    offset = 0.0
    for part in (_part(together, layer) for together in _connected(edges)):
        placed |= {number: (layer[number], across + offset) for number, across in part.across.items()}
        for edge, places in part.bends.items():
            bends[edge] = tuple((layer[edge[0]] + step, place + offset) for step, place in enumerate(places, start=1))
        offset += part.breadth
    grid = _grid([number for number in range(len(layer)) if number not in placed], max(layer, default=0) + 1, offset)
    placed |= grid
    return Layout(
        places=tuple(placed[number] for number in range(len(layer))),
        bends=bends,
        depth=int(max((depth for depth, _ in placed.values()), default=-1)) + 1,
        breadth=max((across + 1 for _, across in grid.values()), default=offset),
    )


def _connected(edges: Sequence[Edge]) -> list[list[Edge]]:
    """The edges of each connected part of the graph, in plan order."""
    members: dict[int, set[int]] = {}
    for before, after in edges:
        if after not in members.get(before, ()):
            joined = members.get(before, {before}) | members.get(after, {after})
            members |= dict.fromkeys(joined, joined)
    found: dict[int, list[Edge]] = defaultdict(list)
    for edge in edges:
        found[min(members[edge[0]])].append(edge)
    return [found[first] for first in sorted(found)]


def _part(edges: Sequence[Edge], layer: Sequence[int]) -> _Part:
    """Places for the nodes and bends of a connected part, given by its edges."""
    from fast_sugiyama import from_edges

    for name in ("rust-sugiyama", "connected_components"):  # they tell each step, where a pipeline shows what is logged
        logging.getLogger(name).setLevel(logging.WARNING)
    # The library numbers bends upwards from the number of nodes. That holds for one connected part with nodes numbered
    # without gaps; given several parts at once it also gives bends the numbers of nodes.
    nodes = sorted({number for edge in edges for number in edge})
    position = {number: index for index, number in enumerate(nodes)}
    ((positions, _, _, pieces),) = from_edges(
        [(position[before], position[after]) for before, after in edges],
        vertex_spacing=1,
        dummy_size=_BEND_WIDTH,
        ranking_type="up",  # the layers of graph.layers(); the default ranking takes minutes for a thousand nodes
        transpose=len(nodes) <= _TRANSPOSE_NODES,
        check_layout=False,  # it would lay out again and again until its check passes, for seconds
    )
    across = {int(key): float(place) for key, (place, _) in positions}
    if _runs_against_plan({nodes[key]: place for key, place in across.items() if key < len(nodes)}, layer):
        largest = max(across.values())
        across = {key: largest - place for key, place in across.items()}
    return _Part(
        across={number: across[key] for key, number in enumerate(nodes)},
        bends={edge: tuple(across[bend] for bend in chain) for edge, chain in _chains(pieces or (), nodes).items()},
    )


def _chains(pieces: Iterable[tuple[Any, Any]], nodes: Sequence[int]) -> dict[Edge, list[int]]:
    """For each edge with bends their numbers, in order, from the library's pieces of edges."""
    pieces = [(int(before), int(after)) for before, after in pieces]
    following = {before: after for before, after in pieces if before >= len(nodes)}
    chains: dict[Edge, list[int]] = {}
    for before, after in pieces:
        chain = []
        while before < len(nodes) <= after:
            chain.append(after)
            after = following[after]
        if chain:
            chains[nodes[before], nodes[after]] = chain
    return chains


def _runs_against_plan(across: Mapping[int, float], layer: Sequence[int]) -> bool:
    """Whether within the layers nodes mostly stand in reverse plan order: then the part is drawn mirrored."""
    rows: dict[int, list[int]] = defaultdict(list)
    for number in sorted(across):
        rows[layer[number]].append(number)
    steps = [after - before for row in rows.values() for before, after in pairwise(across[number] for number in row)]
    return sum(step < 0 for step in steps) > len(steps) / 2


def _grid(numbers: Sequence[int], depth: int, offset: float) -> dict[int, Place]:
    """Places for nodes without any edge: rows below everything else, as many to a row as there are layers, or more."""
    wide = max(depth, math.ceil(math.sqrt(len(numbers) / 2)))
    return {number: (float(index % wide), offset + index // wide) for index, number in enumerate(numbers)}
