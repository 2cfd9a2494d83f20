"""Find the outputs that a piece of code sets: the literal names in its calls of ``set_output``.

Nothing is imported or run. Whether a name that is not among them could be set all the same is answered on the safe
side: yes, wherever the code computes names, hands ``tracking`` on, or imports something that may do either.
"""

import ast
import functools
import importlib.machinery
import importlib.metadata
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_OWN = ("pynb_dag_runner", "mlflow_bridge")
_SETTER = "set_output"
_HIDING = {"exec", "eval", "compile", "__import__", "get_ipython", "import_module", "run_module", "run_path"}
_HIDING_METHODS = {"import_module", "run_module", "run_path"}
_MAX_FILES = 200


def outputs_set_in(sources: Sequence[str], directories: Sequence[Path]) -> frozenset[str] | None:
    """The names of all outputs that Python code sets.

    Args:
        sources: the code, such as that of a notebook's cells.
        directories: where its imports are looked for first.

    Returns:
        None: that can't be known for certain.
    """
    found = _Found()
    for source in sources:
        try:
            found.read(ast.parse(source))
        except (SyntaxError, ValueError):
            return None
    if not found.certain or not _Imports([*map(str, directories), *sys.path]).are_silent(found.imports):
        return None
    return frozenset(found.names)


def literal_outputs(sources: Sequence[str]) -> frozenset[str]:
    """The names that are surely set, or may be: the literal ones. Cheap, unlike :func:`outputs_set_in`."""
    found = _Found()
    for source in sources:
        try:
            found.read(ast.parse(source))
        except (SyntaxError, ValueError):
            continue
    return frozenset(found.names)


@dataclass
class _Found:
    """What the syntax tree of some code tells.

    Attributes:
        names: literal names of outputs.
        imports: top-level names of imported modules.
        certain: no other names can be set in this very code.
    """

    names: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    certain: bool = True

    def read(self, tree: ast.AST) -> None:
        """Take in what ``tree`` tells."""
        modules, setters = {"pynb_dag_runner", "tracking"}, {_SETTER}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self.imports |= {alias.name.partition(".")[0] for alias in node.names}
                modules |= {alias.asname for alias in node.names if alias.asname and alias.name.startswith(_OWN)}
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                self.imports.add(module.partition(".")[0] if module and not node.level else ".")
                if module.startswith(_OWN):
                    modules |= {alias.asname or alias.name for alias in node.names if alias.name == "tracking"}
                    setters |= {alias.asname or alias.name for alias in node.names if alias.name == _SETTER}
        used_well: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _is_setter(node.func, setters):
                used_well.add(id(node.func))
                self._read_call(node)
            elif isinstance(node, ast.Attribute):
                used_well.add(id(node.value))
        for node in ast.walk(tree):
            if isinstance(node, ast.Name | ast.Attribute):
                name, hiding = (node.id, _HIDING) if isinstance(node, ast.Name) else (node.attr, _HIDING_METHODS)
                handed_on = id(node) not in used_well and (name in modules or _is_setter(node, setters))
                self.certain = self.certain and not handed_on and name not in hiding

    def _read_call(self, call: ast.Call) -> None:
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        name = call.args[0] if call.args else keywords.get("name")
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            self.names.add(name.value)
        else:
            self.certain = False


def _is_setter(node: ast.expr, setters: set[str]) -> bool:
    return (
        node.attr == _SETTER if isinstance(node, ast.Attribute) else isinstance(node, ast.Name) and node.id in setters
    )


@dataclass
class _Imports:
    """Looks through the modules that code imports, and those that these import in turn.

    Attributes:
        path: directories in which modules are looked for.
    """

    path: list[str]
    _seen: set[str] = field(default_factory=set)
    _files: int = 0

    def are_silent(self, modules: set[str]) -> bool:
        """Whether none of them can set an output: each is of the standard library, installed without knowing of this
        package, or a file in whose text there is no such call.
        """
        waiting = set(modules)
        while waiting:
            module = waiting.pop()
            if module in self._seen or module in sys.stdlib_module_names or module in _OWN:
                continue
            self._seen.add(module)
            files = self._own_files(module)
            if files is None:
                return False
            for file in files:
                self._files += 1
                found = _silent(file) if self._files <= _MAX_FILES else None
                if found is None:
                    return False
                waiting |= found
        return True

    def _own_files(self, module: str) -> Sequence[Path] | None:
        """The user's own files that make up ``module``; none for what is installed; None if that is not known."""
        if module == ".":
            return None  # of a package: its files would all have to be known
        try:
            spec = importlib.machinery.PathFinder.find_spec(module, self.path) or importlib.util.find_spec(module)
        except (ImportError, ValueError, AttributeError):
            return None
        if spec is None:
            return None
        places = [Path(place) for place in spec.submodule_search_locations or ()]
        origin = Path(spec.origin) if spec.origin else None
        if any(_is_installed(place) for place in (*places, *([origin] if origin else []))):
            return () if _does_not_use_tracking(module) else None
        if places:
            return [file for place in places for file in sorted(place.rglob("*.py"))]
        return [origin] if origin is not None and origin.suffix == ".py" else None


def _silent(file: Path) -> set[str] | None:
    """The imports of a file in which no output is set; None if one may be."""
    try:
        text = file.read_text("utf-8")
        if _SETTER in text:
            return None
        found = _Found()
        found.read(ast.parse(text))
    except (OSError, ValueError, SyntaxError):
        return None
    # A package's own relative imports are among its files, which are all looked at.
    return found.imports - {"."} if found.certain else None


def _is_installed(place: Path) -> bool:
    return any(
        place.resolve().is_relative_to(Path(sysconfig.get_path(kind)).resolve())
        for kind in ("stdlib", "platstdlib", "purelib", "platlib")
    )


def _does_not_use_tracking(module: str) -> bool:
    """Whether what installed ``module`` does without this package, by what it says that it needs."""
    installed_by = _installers().get(module, [])
    needs = [need for name in installed_by for need in importlib.metadata.requires(name) or ()]
    return bool(installed_by) and not any(re.match(r"pynb[-_.]dag[-_.]runner\b", need, re.IGNORECASE) for need in needs)


@functools.cache
def _installers() -> Mapping[str, list[str]]:
    """The installed distributions that brought each top-level module: takes a fifth of a second."""
    return importlib.metadata.packages_distributions()
