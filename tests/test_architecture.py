"""The shape of the house, read from the source: what imports what, how long things are, what they are called."""

import ast
import graphlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUNNER, BRIDGE = "pynb_dag_runner", "mlflow_bridge"

FLOORS = (
    # 0: values, and processes. Its rooms may know each other.
    {
        "fork_server",
        "errors",
        "marks",
        "outcome",
        "process_table",
        "private_directory",
        "module_files",
        "pickling",
        "captured",
        "project",
        "json_values",
        "dag",
        "declared",
        "events",
        "parameters",
        "python_cells",
        "references",
        "set_outputs",
        "settled",
        "stored_types",
        "own_names",
        "redaction",
        "source_code",
        "secret",
        "template_cache",
        "written_forms",
    },
    # 1: what decides, what executes, what is written; none knows another.
    {"plan", "executors", "run_folder", "tracking", "interrupts", "terminal"},
    # 2: one attempt, inside a worker; what is drawn from a read run; where a run came from.
    {"work", "reports", "provenance", "earlier", "kept_values", "resuming", "page_process"},
    # 3: attempts as the driver sees them, checks before a run, what is said about one, pages made beside it.
    {"attempts", "checks", "wiring", "telling", "fingerprints", "pages"},
    # 4: what is written down of a pipeline; the loop; the terminal that is told of it.
    {"recording", "run_loop", "warm", "console"},
    # 5: a run folder opened again.
    {"reopening"},
    # 6: where all of them meet.
    {"runner"},
    # 7: what a run needs that a Python program starts.
    {"programs"},
    # 8: how a pipeline is written down: as an object, ...
    {"pipelines"},
    # 9: ... or as a function.
    {"definitions"},
    # 10: from a target to a pipeline.
    {"loading"},
    # 11: the door, and the handle for an interpreter.
    {"cli"},
    {"__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

ONLY_IMPORTERS = {
    "ray": {"pynb_dag_runner.executors.on_ray", "pynb_dag_runner.executors.ray_relay"},  # its driver and its worker
    "papermill": {"pynb_dag_runner.work.local_papermill"},  # which keeps it from importing what starts threads
    "mlflow": {"mlflow_bridge.client", "mlflow_bridge.capture"},  # past runs to a store; what tasks log
}
"""Libraries that these files, or packages, alone may import: what they raise and change is dealt with there."""

BRIDGE_MAY_IMPORT = {"run_folder", "errors", "outcome"}
"""Rooms of the runner: a run folder is read through the reader, and nothing of how it was made is known."""

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
REASON = "lines"
"""What is longer has a reason in its docstring, in a sentence with this word."""


@dataclass(frozen=True)
class Import:
    """``module`` imports ``target`` in line ``line``; a late import inside a function is one, too."""

    module: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of both packages, parsed. The files that ``init`` writes are the user's, not ours."""
    paths = [path for package in (RUNNER, BRIDGE) for path in sorted((ROOT / package).rglob("*.py"))]
    found = {}
    for path in paths:
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "templates" not in parts:
            found[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


@cache
def imports() -> tuple[Import, ...]:
    """Every import statement, and every call of ``import_module`` with a name in it."""
    return tuple(Import(module, target, line) for module, tree in sources().items() for target, line in targets(tree))


def targets(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in sources() else str(node.module)), node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            for part in node.args:
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value, node.lineno


def room(module: str) -> str:
    """``work`` for ``pynb_dag_runner.work.kernels.specs``; empty for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def inside(package: str, module: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_the_source_is_found() -> None:
    assert {room(module) for module in sources() if inside(RUNNER, module)} >= {"errors", "runner", "cli"}
    assert any(target.target == "pynb_dag_runner.run_folder.paths" for target in imports())


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in sources() if inside(RUNNER, module)} - {""} == FLOOR_OF.keys()


def test_imports_go_down_only_and_rooms_on_a_floor_do_not_know_each_other() -> None:
    between_rooms = [
        (found, room(found.module), room(found.target))
        for found in imports()
        if inside(RUNNER, found.module) and inside(RUNNER, found.target) and room(found.module) != room(found.target)
    ]
    wrong = [
        str(found)
        for found, importer, imported in between_rooms
        if importer != ""  # the package itself offers the public names of all floors
        and not (
            imported != ""
            and (FLOOR_OF[imported] < FLOOR_OF[importer] or FLOOR_OF[imported] == FLOOR_OF[importer] == 0)
        )
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in sources()}
    for found in imports():
        # A package's __init__ is run by whoever imports one of its modules; that is no circle of ours.
        if found.target in graph and found.target != found.module and not inside(found.target, found.module):
            graph[found.module].add(found.target)
    del graph[RUNNER]  # offers names of all modules
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle


@pytest.mark.parametrize("library", ONLY_IMPORTERS)
def test_a_library_is_imported_in_one_place(library: str) -> None:
    found = {found.module for found in imports() if inside(library, found.target)}
    places = {place for place in ONLY_IMPORTERS[library] if any(inside(place, module) for module in found)}
    assert places == ONLY_IMPORTERS[library]
    assert [module for module in found if not any(inside(place, module) for place in places)] == []


def test_the_bridge_knows_run_folders_and_nothing_of_how_they_are_made() -> None:
    known = {room(found.target) for found in imports() if inside(BRIDGE, found.module) and inside(RUNNER, found.target)}
    assert known <= BRIDGE_MAY_IMPORT


def test_the_runner_does_not_know_the_bridge() -> None:
    assert [str(found) for found in imports() if inside(RUNNER, found.module) and inside(BRIDGE, found.target)] == []


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert [module for module in sources() if drawers & set(module.split("."))] == []


def test_no_class_manages() -> None:
    classes = [node.name for tree in sources().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if name.endswith("Manager")] == []


def test_a_long_file_has_a_reason() -> None:
    files = [path for top in (RUNNER, BRIDGE, "tests") for path in sorted((ROOT / top).rglob("*.py"))]
    long = {path: count for path in files if (count := len(path.read_text().splitlines())) > MAX_FILE_LINES}
    unreasoned = {
        str(path.relative_to(ROOT)): count
        for path, count in long.items()
        if not has_reason(ast.parse(path.read_text()))
    }
    assert unreasoned == {}


def test_a_long_function_has_a_reason() -> None:
    long = {
        f"{module}:{node.lineno} {node.name}": lines_of(node)
        for module, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and lines_of(node) > MAX_FUNCTION_LINES
        and not has_reason(node)
    }
    assert long == {}


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without those of its docstring."""
    assert function.end_lineno is not None
    count = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        count -= docstring.end_lineno - docstring.lineno + 1
    return count


def has_reason(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return REASON in (ast.get_docstring(node) or "").split()
