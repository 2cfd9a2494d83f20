"""Pictures of a graph: mermaid, dot, SVG, of a run and of a pipeline that has not run."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pynb_dag_runner.model.graph import FunctionSource, NotebookSource, Task, make_dag
from pynb_dag_runner.model.outcomes import Outcome, RunStatus, TaskStatus
from pynb_dag_runner.reports import GraphFormat, render_graph
from pynb_dag_runner.reports.graph import Graph, Node, graph_of_dag, graph_of_run
from pynb_dag_runner.reports.layout import MAX_EDGES, MAX_NODES
from tests.reports.reported_runs import HOSTILE, make_attempt, make_run, make_task, skipped_task

SVG = "{http://www.w3.org/2000/svg}"
Edges = Sequence[tuple[int, int]]
Place = tuple[float, float]


def graph_of(count: int, edges: Edges = (), **node: Any) -> Graph:
    nodes = tuple(Node(name=f"t{number}", kind="function", **node) for number in range(count))
    return Graph(name="g", nodes=nodes, edges=tuple((f"t{before}", f"t{after}") for before, after in edges))


def named(*names: str) -> Graph:
    return Graph(name=names[0], nodes=tuple(Node(name=name, kind="notebook") for name in names))


def picture(graph: Graph) -> ElementTree.Element:
    return ElementTree.fromstring(render_graph(graph, "svg"))


def corners(root: ElementTree.Element, css: str = "box") -> list[tuple[float, float]]:
    """Left and top of each task's box, in order."""
    boxes = [box for box in root.iter(f"{SVG}rect") if box.get("class") == css]
    return [(float(box.get("x", "")), float(box.get("y", ""))) for box in boxes]


def size(box: ElementTree.Element) -> tuple[float, float]:
    return float(box.get("width", "")), float(box.get("height", ""))


DOWNWARDS = (9, [*((before, after) for after in range(6) for before in range(after)), (5, 6), (6, 7), (7, 8)])
"""Number of tasks and edges of a graph that has a layer for each task, and is drawn from top to bottom."""
IN_PARTS = (11, [(2, 5), (8, 10), (1, 8), (0, 6), (3, 5), (1, 7), (2, 7), (5, 7), (3, 7)])
"""A graph in several parts; laid out in one go, the library takes a bend's number for a node's."""


@st.composite
def dags(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Number of tasks and edges; with a chain through all tasks, nine or more are drawn from top to bottom."""
    count = draw(st.integers(1, 11))
    chain = [(number, number + 1) for number in range(count - 1)] if draw(st.booleans()) else []
    pairs = [(before, after) for after in range(count) for before in range(after)]
    others = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=30)) if pairs else []
    return count, list(dict.fromkeys([*others, *chain]))


def ends(upstream: Place, downstream: Place, box: Place, *, down: bool) -> Any:
    """Start and end of a line between two boxes, given by their corners and size: in the middle of a side."""
    (x1, y1), (x2, y2), (width, height) = upstream, downstream, box
    if down:
        return pytest.approx([x1 + width / 2, y1 + height, x2 + width / 2, y2], abs=0.2)
    return pytest.approx([x1 + width, y1 + height / 2, x2, y2 + height / 2], abs=0.2)


def test_the_graph_of_a_run_tells_how_each_task_went() -> None:
    attempts = [make_attempt("a", 1, 0, 2, Outcome.FAILED), make_attempt("a", 2, 3, 8)]
    graph = graph_of_run(make_run(make_task("a", attempts=attempts), skipped_task("b", "a")))
    assert graph.nodes == (
        Node(name="a", kind="function", status=TaskStatus.SUCCEEDED, notes=("8.0 s", "2 attempts")),
        Node(name="b", kind="function", status=TaskStatus.SKIPPED),
    )
    assert graph.edges == (("a", "b"),)


def test_a_task_that_ran_when_the_driver_died_is_interrupted() -> None:
    running = make_task("a", status=TaskStatus.PENDING, attempts=[make_attempt(outcome=None, end=None)])
    assert graph_of_run(make_run(running, status=RunStatus.INTERRUPTED)).nodes[0].status is RunStatus.INTERRUPTED


def test_edges_of_a_forged_folder_to_unknown_tasks_are_left_out() -> None:
    assert graph_of_run(make_run(make_task("a", ["nobody"]))).edges == ()


def test_the_graph_of_a_pipeline_has_kinds_and_no_status() -> None:
    first = Task(name="nb", source=NotebookSource(path=Path("/nb.py")))
    second = Task(name="f", source=FunctionSource(function=print), parameters={"x": [first.output("y")]})
    graph = graph_of_dag(make_dag("p", [first, second]))
    assert graph.nodes == (Node(name="nb", kind="notebook"), Node(name="f", kind="function"))
    assert graph.edges == (("nb", "f"),)


def test_mermaid_draws_kinds_statuses_and_edges() -> None:
    run = make_run(make_task("a", kind="notebook"), skipped_task("b", "a"))
    assert render_graph(graph_of_run(run), "mermaid").splitlines() == [
        "flowchart LR",
        '  t0["a<br/>succeeded, 1.0 s"]:::succeeded',
        '  t1(["b<br/>skipped"]):::skipped',
        "  t0 --> t1",
        "  classDef succeeded fill:#dcf3e6,stroke:#1a7f4e,color:#1f2328",
        "  classDef skipped fill:#f3f4f6,stroke:#6e7781,color:#1f2328,stroke-dasharray:4 3",
    ]


def test_mermaid_draws_a_long_chain_downwards() -> None:
    chain = [(number, number + 1) for number in range(20)]
    assert render_graph(graph_of(21, chain), "mermaid").startswith("flowchart TB\n")


@pytest.mark.parametrize("name", [*HOSTILE, "click", "1. list", "- x", "50%", "a#35;b", "section 2"])
def test_mermaid_shows_any_name_as_it_is(name: str) -> None:
    (line,) = re.findall(r'^  t0\["(.*)"\]$', render_graph(named(name), "mermaid"), re.MULTILINE)
    assert not re.search(r'["<>`|{}()\[\]\\]|#(?!\d+;)|(?<!\d);', line)
    shown = re.sub(r"#(\d+);", lambda match: chr(int(match.group(1))), line).replace("\u200b", "")
    assert shown == name


@pytest.mark.parametrize("word", ["click", "Section", "title", "gantt", "2026-01-01"])
def test_mermaid_takes_no_name_for_a_command(word: str) -> None:
    assert f'["#{ord(word[0])};{word[1:]}"]' in render_graph(named(word), "mermaid")


def test_ordinary_names_stay_readable_in_mermaid() -> None:
    assert '  t0["train_model-1.5"]' in render_graph(named("train_model-1.5"), "mermaid")


@pytest.mark.parametrize("name", HOSTILE)
def test_dot_quotes_any_name(name: str) -> None:
    text = render_graph(named(name), "dot")
    (label,) = re.findall(r'^  t0 \[label="((?:[^"\\]|\\.)*)", tooltip="(?:[^"\\]|\\.)*"\];$', text, re.MULTILINE)
    assert re.sub(r"\\(.)", r"\1", label).replace("&amp;", "&") == name


def test_dot_draws_edges_and_statuses() -> None:
    text = render_graph(graph_of(2, [(0, 1)], status=TaskStatus.FAILED), "dot")
    assert "\n  t0 -> t1;\n" in text
    assert r'label="t0\nfailed"' in text
    assert 'fillcolor="#fde1e1"' in text


@pytest.mark.parametrize("name", HOSTILE)
def test_svg_shows_any_name_as_it_is(name: str) -> None:
    root = picture(named(name, "other"))
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert titles == [f"{name}: notebook", "other: notebook"]
    assert root.get("aria-label") == f"Graph of {name}"


def test_svg_cuts_a_long_name_in_the_picture_only() -> None:
    name = "a-very-long-name-of-a-task-that-nobody-can-read-anyway-400"
    root = picture(named(name))
    (shown,) = [text.text or "" for text in root.iter(f"{SVG}text") if text.get("class") == "name"]
    assert len(shown) == 30
    assert shown.startswith("a-very-long")
    assert "…" in shown
    assert shown.endswith("way-400")
    assert next(root.iter(f"{SVG}title")).text == f"{name}: notebook"


def test_svg_shows_a_status_as_symbol_and_word() -> None:
    root = picture(graph_of(1, status=TaskStatus.TIMED_OUT))
    assert [use.get("href") for use in root.iter(f"{SVG}use")] == ["#i-TIMED_OUT"]
    assert [text.text for text in root.iter(f"{SVG}text")] == ["t0", "timed out"]


def test_a_graph_without_tasks_has_a_picture() -> None:
    assert corners(picture(Graph(name="empty"))) == []


@settings(deadline=None)  # a busy machine is no reason to fail
@given(dags())
@example(DOWNWARDS)
@example(IN_PARTS)
def test_boxes_never_overlap_and_stay_in_the_picture(dag: tuple[int, list[tuple[int, int]]]) -> None:
    root = picture(graph_of(*dag))
    boxes = [box for box in root.iter(f"{SVG}rect") if box.get("class") == "box"]
    places = corners(root)
    width, height = size(boxes[0])
    assert len(places) == dag[0]
    for index, (left, top) in enumerate(places):
        assert 0 <= left <= size(root)[0] - width
        assert 0 <= top <= size(root)[1] - height
        assert all(abs(left - x) >= width or abs(top - y) >= height for x, y in places[:index])


@settings(deadline=None)  # a busy machine is no reason to fail
@given(dags())
@example(DOWNWARDS)
def test_each_edge_is_a_line_from_its_upstream_to_its_downstream(dag: tuple[int, list[tuple[int, int]]]) -> None:
    root = picture(graph_of(*dag))
    places, box = corners(root), size(next(root.iter(f"{SVG}rect")))
    lines = [line.get("d", "") for line in root.iter(f"{SVG}path") if line.get("class") == "edge"]
    numbers = [[float(number) for number in re.findall(r"-?[\d.]+", line)] for line in lines]
    found = [[*line[:2], *line[-2:]] for line in numbers]
    pairs = [(places[before], places[after]) for before, after in dag[1]]
    assert any(found == [ends(*pair, box, down=down) for pair in pairs] for down in (False, True))


@settings(deadline=None)  # a busy machine is no reason to fail
@given(dags())
@example(DOWNWARDS)
@example(IN_PARTS)
def test_a_line_passes_beside_boxes_not_through_them(dag: tuple[int, list[tuple[int, int]]]) -> None:
    root = picture(graph_of(*dag))
    width, height = size(next(root.iter(f"{SVG}rect")))
    lines = " ".join(line.get("d", "") for line in root.iter(f"{SVG}path") if line.get("class") == "edge")
    passed = [(float(x), float(y)) for x, y in re.findall(r"L([\d.]+) ([\d.]+)", lines)]
    for left, top in corners(root):
        assert not [(x, y) for x, y in passed if left <= x <= left + width and top <= y <= top + height]


@settings(deadline=None)  # a busy machine is no reason to fail
@given(dags())
@example(DOWNWARDS)
@example(IN_PARTS)
def test_a_line_goes_straight_through_each_layer_that_it_passes(dag: tuple[int, list[tuple[int, int]]]) -> None:
    root = picture(graph_of(*dag))
    lines = [line.get("d", "") for line in root.iter(f"{SVG}path") if line.get("class") == "edge"]
    straight = [line.count("L") for line in lines]
    passed = []
    for places in zip(*corners(root), strict=True):  # from left to right, from top to bottom
        layers = sorted(set(places))
        passed.append([layers.index(places[after]) - layers.index(places[before]) - 1 for before, after in dag[1]])
    assert straight in passed


@settings(deadline=None)  # a busy machine is no reason to fail
@given(dags())
@example(DOWNWARDS)
@example(IN_PARTS)
def test_lines_stay_in_the_picture(dag: tuple[int, list[tuple[int, int]]]) -> None:
    root = picture(graph_of(*dag))
    lines = " ".join(line.get("d", "") for line in root.iter(f"{SVG}path") if line.get("class") == "edge")
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", lines)]
    assert all(0 < x < size(root)[0] for x in numbers[::2])
    assert all(0 < y < size(root)[1] for y in numbers[1::2])


def test_parts_that_do_not_hang_together_stand_below_each_other_with_their_lines() -> None:
    first, second = [(0, 1), (1, 2), (0, 2)], [(3, 4), (4, 5), (3, 5)]
    root = picture(graph_of(6, [*first, *second]))
    boxes = [top for _, top in corners(root)]
    lines = [line.get("d", "") for line in root.iter(f"{SVG}path") if line.get("class") == "edge"]
    (passed,) = re.findall(r"L[\d.]+ ([\d.]+)", lines[-1])
    assert max(boxes[:3]) < min([*boxes[3:], float(passed)])


def test_tasks_of_a_kind_stand_in_plan_order() -> None:
    fan = [
        edge
        for branch in range(2, 6)
        for edge in ((1, branch), (branch, branch + 4), (1, branch + 4), (branch + 4, 10))
    ]
    tops = [top for _, top in corners(picture(graph_of(11, [(0, 1), *fan])))]
    assert tops[2:6] == sorted(tops[2:6])


@settings(deadline=None)  # a busy machine is no reason to fail
@given(dags())
@example(DOWNWARDS)
def test_what_a_task_needs_stands_left_of_it_or_above_it(dag: tuple[int, list[tuple[int, int]]]) -> None:
    root = picture(graph_of(*dag))
    places, box = corners(root), size(next(root.iter(f"{SVG}rect")))
    assert any(
        all(places[before][axis] + box[axis] < places[after][axis] for before, after in dag[1]) for axis in (0, 1)
    )


def test_a_long_chain_goes_downwards() -> None:
    places = corners(picture(graph_of(30, [(number, number + 1) for number in range(29)])))
    assert len({left for left, _ in places}) == 1
    assert [top for _, top in places] == sorted(top for _, top in places)


def test_the_same_graph_gives_the_same_picture_in_any_process() -> None:
    code = (
        "from tests.reports.test_graph_drawings import graph_of, render_graph; import hashlib\n"
        "edges = [(i, j) for j in range(30) for i in range(j) if (i * j + i) % 7 == 1]\n"
        "print(hashlib.sha256(render_graph(graph_of(30, edges), 'svg').encode()).hexdigest())"
    )
    said = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(said) == 1


@pytest.mark.parametrize(
    ("count", "edges"),
    [
        (MAX_NODES + 1, []),
        (200, [(before, after) for before in range(100) for after in range(100, 100 + MAX_EDGES // 100 + 1)]),
        (300, [*((number, number + 1) for number in range(299)), *((0, number) for number in range(2, 300))]),
    ],
    ids=["tasks", "edges", "bends"],
)
def test_what_is_too_much_for_boxes_becomes_squares_and_says_so(count: int, edges: Edges) -> None:
    root = picture(graph_of(count, edges))
    assert len(set(corners(root, "square"))) == count
    assert "are too many to draw one by one" in (next(root.iter(f"{SVG}text")).text or "")


def test_squares_show_any_name_as_it_is() -> None:
    names = [*HOSTILE, *(f"t{number}" for number in range(MAX_NODES))]
    root = picture(named(*names))
    assert [title.text for title in root.iter(f"{SVG}title")] == names
    assert len(corners(root, "square")) == len(names)


def test_squares_are_rows_by_layer_with_a_mark_where_something_is_wrong() -> None:
    edges = [(number, number + 1000) for number in range(1000)]
    states = [TaskStatus.FAILED, *([TaskStatus.SUCCEEDED] * 1999)]
    nodes = [Node(name=f"t{number}", kind="function", status=state) for number, state in enumerate(states)]
    root = picture(Graph(name="g", nodes=tuple(nodes), edges=graph_of(2000, edges).edges))
    places = corners(root, "square")
    assert max(top for _, top in places[:1000]) < min(top for _, top in places[1000:])
    assert [use.get("href") for use in root.iter(f"{SVG}use")] == ["#i-FAILED"]


@pytest.mark.parametrize("form", ["mermaid", "dot", "svg"])
def test_a_circle_in_a_forged_folder_is_drawn_all_the_same(form: GraphFormat) -> None:
    assert "t3" in render_graph(graph_of(4, [(0, 1), (1, 2), (2, 1), (3, 3)]), form)


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(ValueError) as error:
        render_graph(graph_of(1), cast(GraphFormat, "png"))
    assert str(error.value) == "got graph format 'png', expected one of mermaid, dot, svg"


def test_importing_reports_loads_neither_templates_nor_layout_nor_an_engine() -> None:
    heavy = ["jinja2", "fast_sugiyama", "ray", "mlflow", "papermill", "nbconvert", "IPython"]
    code = f"import sys, pynb_dag_runner.reports; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_library_that_places_the_boxes_logs_nothing() -> None:
    program = """
import logging
logging.basicConfig(level=logging.DEBUG)
from pynb_dag_runner import Pipeline
from pynb_dag_runner.reports import render_graph
from pynb_dag_runner.reports.graph import graph_of_dag
p = Pipeline("it")
def first(): ...
def second(value): ...
a = p.function(first)
p.function(second, parameters={"value": a.output()})
print(render_graph(graph_of_dag(p.build()), "svg"))
"""
    drawn = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "<svg" in drawn.stdout
    assert [line for line in drawn.stderr.splitlines() if "asyncio" not in line] == []
