"""The house: which rooms both packages have, on which floors, and what they import. One table for test and drawing.

``python -m tests.house`` draws the map anew: ``docs/architecture.svg``, and the generated part of
``docs/architecture.md``. A test fails when either is out of date.
"""

import ast
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNNER, BRIDGE = "pynb_dag_runner", "mlflow_bridge"
MAP = ROOT / "docs" / "architecture.md"
DRAWING = ROOT / "docs" / "architecture.svg"
BEGIN, END = "<!-- map: drawn by python -m tests.house -->", "<!-- end of map -->"

FLOORS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    RUNNER: (
        # Values and processes. These rooms may know each other; of those above, none knows another on its floor.
        ("errors", "model", "processes"),
        ("events", "tracking", "notebooks", "executors"),
        ("run_folder",),
        ("secrets", "reports"),
        ("define", "plan", "worker"),
        ("execute",),
        ("api",),
        ("cli",),
        ("__main__",),
    ),
    BRIDGE: (
        ("errors", "limits", "mlflow_internals", "model", "tags"),
        ("capture", "source", "mapping"),
        ("store",),
        ("uploads",),
        ("cli",),
    ),
}
"""Rooms of both packages, from the ground up: a room imports from floors below it only."""

FLOOR_OF = {
    (package, room): floor for package, floors in FLOORS.items() for floor, rooms in enumerate(floors) for room in rooms
}

BRIDGE_MAY_IMPORT = ("errors", "model", "run_folder")
"""Rooms of the runner: a run folder is read through the reader, and nothing of how it was made is known."""


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
    return tuple(Import(module, target, line) for module, tree in sources().items() for target, line in _targets(tree))


def _targets(tree: ast.Module) -> Iterator[tuple[str, int]]:
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


def package_of(module: str) -> str:
    return module.partition(".")[0]


def room(module: str) -> str:
    """``worker`` for ``pynb_dag_runner.worker.kernels.kernel``; empty for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def inside(package: str, module: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def paragraphs(package: str, room: str) -> list[str]:
    """What a room says of itself: the paragraphs of its docstring, each in one line."""
    said = ast.get_docstring(sources()[f"{package}.{room}"]) or ""
    return [" ".join(paragraph.split()) for paragraph in said.split("\n\n")]


def direct_imports(package: str) -> list[tuple[str, str]]:
    """Pairs of rooms of which the first imports the second, without those that follow from others."""
    below: dict[str, set[str]] = {room: set() for floor in FLOORS[package] for room in floor}
    for found in imports():
        importer, imported = room(found.module), room(found.target)
        if package_of(found.module) == package_of(found.target) == package and importer and imported:
            below[importer] |= {imported} - {importer}
    reached: dict[str, set[str]] = {}
    for floor in FLOORS[package]:
        for name in sorted(floor, key=lambda name: len(below[name])):
            reached[name] = below[name].union(*(reached.get(other, set()) for other in below[name]))
    return [
        (name, other)
        for name in below
        for other in sorted(below[name])
        if not any(other in reached.get(between, ()) for between in below[name] - {other})
    ]


def mermaid() -> str:
    """Both packages as a flow chart: rooms on their floors, and what they import."""
    lines = ["flowchart TD"]
    for package, floors in FLOORS.items():
        lines.append(f"    subgraph {package}")
        lines += [f"        {_node(package, name)}[{name}]" for floor in reversed(floors) for name in floor]
        lines += [
            f"        {_node(package, name)} --> {_node(package, other)}" for name, other in direct_imports(package)
        ]
        lines.append("    end")
    readers = sorted({room(found.module) for found in imports() if _reads_run_folders(found)})
    lines += [f"    {_node(BRIDGE, name)} -.-> {_node(RUNNER, 'run_folder')}" for name in readers]
    return "\n".join(lines)


def _node(package: str, name: str) -> str:
    return f"{package}_{name.strip('_')}"


def _reads_run_folders(found: Import) -> bool:
    return inside(BRIDGE, found.module) and inside(f"{RUNNER}.run_folder", found.target) and room(found.module) != ""


def table() -> str:
    """Rooms from the roof to the ground: what each is for, and what it may import and must not know."""
    lines = []
    for package, floors in FLOORS.items():
        lines += [f"**`{package}/`**", "", "| floor | room | what it is for |", "|---|---|---|"]
        for floor in range(len(floors) - 1, -1, -1):
            for name in floors[floor]:
                said = paragraphs(package, name)
                rule = next((text for text in said if "may import" in text), "")
                lines.append(f"| {floor} | `{name}` | {' '.join(part for part in (said[0], rule) if part)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


_BOX, _GAP, _ROW, _LEFT = 232, 12, 92, 58


def svg() -> str:
    """The floors of both packages as a picture."""
    widest = max(len(floor) for floors in FLOORS.values() for floor in floors)
    width, height = _LEFT + widest * (_BOX + _GAP), sum(30 + len(floors) * _ROW for floors in FLOORS.values()) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        "<title>The rooms of both packages on their floors; imports go down only</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    top = 0
    for package, floors in FLOORS.items():
        top += 30
        parts.append(f'<text x="8" y="{top - 9}" font-size="15" font-weight="bold" fill="#24292f">{package}</text>')
        for floor in range(len(floors) - 1, -1, -1):
            band = "#f6f8fa" if floor % 2 else "#eef2f6"
            parts.append(f'<rect x="0" y="{top}" width="{width}" height="{_ROW}" fill="{band}"/>')
            parts.append(f'<text x="22" y="{top + _ROW // 2 + 5}" font-size="14" fill="#57606a">{floor}</text>')
            for column, name in enumerate(floors[floor]):
                parts += _box(_LEFT + column * (_BOX + _GAP), top + 7, name, paragraphs(package, name)[0])
            top += _ROW
    return "\n".join([*parts, "</svg>", ""])


def _box(left: int, top: int, name: str, purpose: str) -> list[str]:
    words = purpose.replace("``", "").partition(". ")[0].rstrip(".")
    wrapped = textwrap.wrap(words, 36, max_lines=3, placeholder=" …")
    return [
        f'<rect x="{left}" y="{top}" width="{_BOX}" height="{_ROW - 14}" rx="5" fill="#ffffff" stroke="#8c959f"/>',
        f'<text x="{left + 9}" y="{top + 20}" font-size="14" font-weight="bold" fill="#0550ae">{name}</text>',
        *(
            f'<text x="{left + 9}" y="{top + 37 + 14 * row}" font-size="11" fill="#24292f">{escape(line)}</text>'
            for row, line in enumerate(wrapped)
        ),
    ]


def drawn(text: str) -> str:
    """The text of ``docs/architecture.md`` with its generated part as it has to be now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n```mermaid\n{mermaid()}\n```\n\n{END}{after}"


if __name__ == "__main__":
    DRAWING.write_text(svg())
    MAP.write_text(drawn(MAP.read_text()))
