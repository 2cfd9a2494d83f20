"""What libraries do not promise stands in one file for each: no other file uses a private name of theirs.

Seen are imports, names that begin with an underscore on what was imported (through aliases, classes that derive from it
and calls of ``super()`` in these), and text given to ``getattr`` and the like.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pynb_dag_runner", "mlflow_bridge")
DOCUMENTED = {"os._exit", "sys._getframe", "ctypes._SimpleCData"}
"""Have an underscore and a place in Python's documentation."""
BORDERS = ("_internals.py", "on_ray/internals.py")
ACCESS = {"getattr", "hasattr", "setattr", "delattr"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def private_names(source: str) -> Iterator[str]:
    """The private names of other libraries that a file uses, each with its line."""
    tree = ast.parse(source)
    foreign: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                foreign[alias.asname or alias.name.partition(".")[0]] = alias.name
                if not alias.name.startswith(PACKAGES) and any(map(is_private, alias.name.split("."))):
                    yield f"{node.lineno}: import {alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                foreign[alias.asname or alias.name] = full
                is_own = full.startswith((*PACKAGES, "__future__"))
                if not is_own and any(map(is_private, full.split("."))):
                    yield f"{node.lineno}: from {node.module} import {alias.name}"
    foreign = {name: full for name, full in foreign.items() if not full.startswith(PACKAGES)}
    for node in ast.walk(tree):
        yield from _of_attribute(node, foreign)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from _of_class(node, foreign)


def _of_attribute(node: ast.AST, foreign: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and is_private(node.attr):
        root: ast.AST = node.value
        while isinstance(root, ast.Attribute | ast.Call):
            root = root.value if isinstance(root, ast.Attribute) else root.func
        if isinstance(root, ast.Name) and root.id in foreign and f"{root.id}.{node.attr}" not in DOCUMENTED:
            yield f"{node.lineno}: {ast.unparse(node)}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ACCESS and len(node.args) > 1:
        owner, name = node.args[:2]
        is_foreign = isinstance(owner, ast.Name) and owner.id in foreign
        if is_foreign and isinstance(name, ast.Constant) and is_private(str(name.value)):
            yield f"{node.lineno}: {ast.unparse(node)}"


def _of_class(node: ast.ClassDef, foreign: dict[str, str]) -> Iterator[str]:
    """Private names on ``super()``, in a class that derives from a foreign one, are that one's."""
    bases = [ast.unparse(base).partition(".")[0].partition("[")[0] for base in node.bases]
    if not any(base in foreign for base in bases):
        return
    for part in ast.walk(node):
        is_super = (
            isinstance(part, ast.Attribute)
            and is_private(part.attr)
            and isinstance(part.value, ast.Call)
            and isinstance(part.value.func, ast.Name)
            and part.value.func.id == "super"
        )
        if is_super:
            assert isinstance(part, ast.Attribute)
            yield f"{part.lineno}: {ast.unparse(part)}"


FILES = [
    path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if "templates" not in path.parts and not str(path).endswith(BORDERS)
]


def test_private_names_of_libraries_stand_in_their_own_files() -> None:
    found = {str(path.relative_to(ROOT)): list(private_names(path.read_text())) for path in FILES}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import ray._private.worker",
        "from mlflow.tracking import _x",
        "import threading\nthreading._shutdown()",
        "import atexit as a\na._clear()",
        "from x import y\ny.z()._w",
        "import atexit\ngetattr(atexit, '_clear', None)",
        "from nbclient import NotebookClient\nclass C(NotebookClient):\n    def f(self): super()._poll()",
    ],
)
def test_a_private_name_is_seen(source: str) -> None:
    assert len(list(private_names(source))) == 1


@pytest.mark.parametrize(
    "source", ["import os\nos._exit(1)", "from pynb_dag_runner.x import _y", "class C:\n    def f(self): self._x"]
)
def test_other_names_are_not(source: str) -> None:
    assert list(private_names(source)) == []
