"""Private names of a library are used in one file for it, its border; read from the source of both packages."""

import ast
import re
from collections.abc import Iterator

import pytest

from pynb_dag_runner.executors.on_ray.internals import TESTED_RELEASES
from tests.house import ROOT, inside, sources

BORDERS = {
    "pynb_dag_runner.executors.on_ray": "pynb_dag_runner.executors.on_ray.internals",
    "pynb_dag_runner.executors.ray_local": "pynb_dag_runner.executors.on_ray.internals",
    "pynb_dag_runner.executors.ray_cluster": "pynb_dag_runner.executors.on_ray.internals",
}
"""Modules, and packages, that work with a library; the file in which they may use what it has no public name for."""

FACTS = {"pynb_dag_runner.executors.on_ray.internals": ("gcs_server", "raylet", "ray.scripts", "health-check")}
"""What borders know of a library beside names in Python: of its programs, processes and files."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names() -> frozenset[str]:
    """What both packages define themselves: functions, classes, arguments, variables, attributes of ``self``."""
    found = set()
    for tree in sources().values():
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name)
                case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                    found.add(name)
                case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                    found.add(name)
    return frozenset(found)


def foreign_private_names(tree: ast.Module, own: frozenset[str]) -> Iterator[str]:
    """Where the source has an attribute, an import, an option or a string that is a private name of somebody else's."""
    for node in ast.walk(tree):
        names: list[str | None] = []
        match node:
            case ast.Attribute(attr=name):
                names = [name]
            case ast.ImportFrom(module=module, names=aliases):
                names = [*str(module).split("."), *(alias.name for alias in aliases)]
            case ast.Import(names=aliases):
                names = [part for alias in aliases for part in alias.name.split(".")]
            case ast.keyword(arg=name):
                names = [name]
            case ast.Constant(value=str(text)) if re.fullmatch(r"_[a-z]\w*", text):
                names = [text]
        for name in names:
            if name is not None and is_private(name) and name not in own:
                yield name


@pytest.mark.parametrize("place", BORDERS)
def test_private_names_are_used_in_the_border_alone(place: str) -> None:
    own, border = own_names(), BORDERS[place]
    modules = {module: tree for module, tree in sources().items() if inside(place, module) and module != border}
    assert modules
    found = {module: sorted(set(foreign_private_names(tree, own))) for module, tree in modules.items()}
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize("border", FACTS)
def test_a_border_alone_knows_a_library_s_programs(border: str) -> None:
    found = {
        module: [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in FACTS[border]
        ]
        for module, tree in sources().items()
        if module != border
    }
    assert {module: facts for module, facts in found.items() if facts} == {}


def test_what_is_looked_for_is_found() -> None:
    source = (
        "import ray._private.node\nfrom ray._private import worker\nx._raylet\ninit(_temp_dir=1)\ngetattr(x, '_node')"
    )
    found = sorted(foreign_private_names(ast.parse(source), frozenset()))
    assert found == ["_node", "_private", "_private", "_raylet", "_temp_dir"]


def test_docs_and_lower_bound_name_the_tested_releases() -> None:
    oldest, newest = TESTED_RELEASES
    assert f"ray>={oldest}\n" in (ROOT / "setup.cfg").read_text()
    assert f"Ray {oldest} to {newest}" in (ROOT / "docs/cluster.md").read_text()
