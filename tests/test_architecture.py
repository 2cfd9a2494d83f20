"""The shape of the house, read from the source: what imports what, how long things are, what they are called."""

import ast
import graphlib
import importlib

import pytest

from tests.house import (
    BRIDGE,
    BRIDGE_MAY_IMPORT,
    DRAWING,
    FLOOR_OF,
    FLOORS,
    MAP,
    ROOT,
    RUNNER,
    drawn,
    imports,
    inside,
    package_of,
    room,
    sources,
    svg,
)

MOST_FLOORS = 9
MOST_ENTRIES = 16
NO_ROOMS = {"__init__", "__main__", "__pycache__", "py.typed"}
"""What Python and type checkers want to see on a package's top level."""

ONLY_IMPORTERS = {
    "ray": {"pynb_dag_runner.executors.on_ray"},  # its session in the driver, and its workers
    "papermill": {"pynb_dag_runner.notebooks.papermill"},  # which keeps it from importing what starts threads
    # Past runs to a store; what tasks log; what both use that MLflow does not promise.
    "mlflow": {"mlflow_bridge.store", "mlflow_bridge.capture", "mlflow_bridge.mlflow_internals"},
}
"""Libraries that these files, or packages, alone may import: what they raise and change is dealt with there."""

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
REASON = "lines"
"""What is longer has a reason in its docstring, in a sentence with this word."""


def test_the_source_is_found() -> None:
    assert {room(module) for module in sources() if inside(RUNNER, module)} >= {"errors", "execute", "cli"}
    assert any(target.target == "pynb_dag_runner.run_folder.paths" for target in imports())


def test_every_room_has_a_floor() -> None:
    assert {(package_of(module), room(module)) for module in sources() if room(module)} == FLOOR_OF.keys()


def test_a_package_shows_its_rooms_at_a_glance() -> None:
    for package, floors in FLOORS.items():
        rooms = {path.name.removesuffix(".py") for path in (ROOT / package).iterdir()} - NO_ROOMS
        assert rooms == {room for floor in floors for room in floor} - NO_ROOMS
        assert len(rooms) <= MOST_ENTRIES
        assert len(floors) <= MOST_FLOORS


@pytest.mark.parametrize("package", [RUNNER, BRIDGE])
def test_each_room_says_what_it_is_for_and_what_it_may_not_know(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py") if "templates" not in path.parts}
    silent = []
    for folder in folders - {ROOT / package}:
        init = folder / "__init__.py"
        said = ast.get_docstring(ast.parse(init.read_text())) if init.exists() else None
        if said is None or "may import" not in said or "must not know" not in said:
            silent.append(str(folder.relative_to(ROOT)))
    assert sorted(silent) == []


@pytest.mark.parametrize("package", [RUNNER, BRIDGE])
def test_imports_go_down_only_and_rooms_on_a_floor_do_not_know_each_other(package: str) -> None:
    between_rooms = [
        (found, FLOOR_OF[package, room(found.module)], FLOOR_OF.get((package, room(found.target)), MOST_FLOORS))
        for found in imports()
        # The package itself offers the public names of all floors.
        if inside(package, found.module) and room(found.module) and inside(package, found.target)
        if room(found.module) != room(found.target)
    ]
    wrong = [
        str(found) for found, importer, imported in between_rooms if imported > importer or imported == importer != 0
    ]
    assert wrong == []


def test_the_map_is_current() -> None:
    # Out of date? python -m tests.house
    assert DRAWING.read_text() == svg()
    assert MAP.read_text() == drawn(MAP.read_text())


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in sources()}
    for found in imports():
        # A package's __init__ is run by whoever imports one of its modules; that is no circle of ours.
        if found.target in graph and found.target != found.module and not inside(found.target, found.module):
            graph[found.module].add(found.target)
    del graph[RUNNER], graph[BRIDGE]  # they offer names of all modules
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle


@pytest.mark.parametrize("library", ONLY_IMPORTERS)
def test_a_library_is_imported_in_one_place(library: str) -> None:
    found = {found.module for found in imports() if inside(library, found.target)}
    places = {place for place in ONLY_IMPORTERS[library] if any(inside(place, module) for module in found)}
    assert places == ONLY_IMPORTERS[library]
    assert [module for module in found if not any(inside(place, module) for place in places)] == []


def test_the_bridge_knows_run_folders_and_nothing_of_how_they_are_made() -> None:
    known = {room(found.target) for found in imports() if inside(BRIDGE, found.module) and inside(RUNNER, found.target)}
    assert known <= set(BRIDGE_MAY_IMPORT)


def test_the_runner_does_not_know_the_bridge() -> None:
    assert [str(found) for found in imports() if inside(RUNNER, found.module) and inside(BRIDGE, found.target)] == []


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert [module for module in sources() if drawers & set(module.split("."))] == []


@pytest.mark.parametrize("package", [RUNNER, BRIDGE])
def test_no_public_name_is_that_of_a_room(package: str) -> None:
    """Python puts a room that is imported in the place of a function of that name."""
    public = importlib.import_module(package).__all__
    assert [name for name in public if (ROOT / package / name).is_dir()] == []


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
