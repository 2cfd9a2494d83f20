"""The graph that reports and the command ``graph`` draw: a small frozen value, made from a run or a pipeline."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pynb_dag_runner.model.graph import Dag
from pynb_dag_runner.model.quantities import count, duration
from pynb_dag_runner.reports.wording import State, state_of_task
from pynb_dag_runner.run_folder.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A task in a drawing.

    Attributes:
        name: the task's name, in full; a drawing may cut it.
        kind: ``notebook`` or ``function``.
        status: how it went; None where nothing ran.
        notes: short further words, such as a duration.
    """

    name: str
    kind: str
    status: State | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """What is drawn.

    Attributes:
        name: the pipeline's name.
        nodes: in plan order, with unique names.
        edges: names of an upstream and a downstream task; both are nodes; none twice.
    """

    name: str
    nodes: tuple[Node, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()


def graph_of_run(run: Run) -> Graph:
    """The graph of a run, with statuses, durations and numbers of attempts."""
    nodes = {}
    for task in run.tasks:
        notes = [] if task.duration_s is None else [duration(task.duration_s)]
        if len(task.attempts) > 1:
            notes.append(count(len(task.attempts), "attempt"))
        nodes[task.name] = Node(name=task.name, kind=task.kind, status=state_of_task(run, task), notes=tuple(notes))
    return Graph(
        name=run.pipeline,
        nodes=tuple(nodes.values()),
        edges=_edges(nodes, ((task.name, task.upstream) for task in run.tasks)),
    )


def graph_of_dag(dag: Dag) -> Graph:
    """The graph of a pipeline that has not run."""
    nodes = {task.name: Node(name=task.name, kind=task.kind) for task in dag.tasks}
    return Graph(name=dag.name, nodes=tuple(nodes.values()), edges=_edges(nodes, dag.upstream.items()))


def _edges(nodes: Mapping[str, Node], upstream: Iterable[tuple[str, Iterable[str]]]) -> tuple[tuple[str, str], ...]:
    """Edges between nodes that exist. A run folder from elsewhere may name others: they are not drawn."""
    found = {(name, task): None for task, names in upstream for name in names if name in nodes}
    return tuple(found)


def numbered_edges(graph: Graph) -> list[tuple[int, int]]:
    """The edges as positions in ``graph.nodes``."""
    position = {node.name: number for number, node in enumerate(graph.nodes)}
    return [(position[upstream], position[downstream]) for upstream, downstream in graph.edges]


def layers(graph: Graph) -> list[int]:
    """For each node the length of the longest path that leads to it: what could run at once has the same layer.

    A pipeline has no cycle. A run folder from elsewhere may claim one; what lies on it or behind it is put on one
    layer after all others.
    """
    downstream: list[list[int]] = [[] for _ in graph.nodes]
    missing: Counter[int] = Counter()
    for before, after in numbered_edges(graph):
        downstream[before].append(after)
        missing[after] += 1
    layer = [0] * len(graph.nodes)
    ready = [number for number in range(len(graph.nodes)) if not missing[number]]
    for number in ready:  # grows while it is walked
        for after in downstream[number]:
            layer[after] = max(layer[after], layer[number] + 1)
            missing[after] -= 1
            if not missing[after]:
                ready.append(after)
    if len(ready) < len(graph.nodes):
        last = max((layer[number] for number in ready), default=-1) + 1
        settled = set(ready)
        layer = [depth if number in settled else last for number, depth in enumerate(layer)]
    return layer
