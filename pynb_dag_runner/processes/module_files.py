"""Make the user's own files importable under one name each, in the driver and wherever its tasks run.

A pipeline's file is loaded from a path, or run as a program. What it defines can only be pickled, compared after a
resume or handed to a child process if every process finds it by the same name. So a file has a stable name, workers
are told which file that is, with its text as it was when the run started, and
:mod:`pynb_dag_runner.processes.pickling` calls what the program itself defines by that name.
"""

import ast
import functools
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import keyword
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from pynb_dag_runner.processes.private_directory import SCRATCH_VARIABLE

KERNEL_VARIABLE = "PYNB_DAG_RUNNER_MODULES"
"""Environment variable of kernels: JSON, the paths of the user's files by their modules' names."""

_HASH_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class ModuleFile:
    """A file that is a module wherever tasks run.

    Attributes:
        name: of the module.
        path: absolute.
        source: its content when it was imported here; workers import that, whatever the file holds by then.
    """

    name: str
    path: Path
    source: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Imports:
    """What a worker must know to find the modules of a run's tasks.

    Attributes:
        search_path: entries for ``sys.path``.
        files: those that are not, or not surely, found there.
        modules: of functions, to be imported before the first of these begins, in this order, so that all begin in the
            same state. For other tasks there are none.
    """

    search_path: tuple[str, ...] = ()
    files: tuple[ModuleFile, ...] = ()
    modules: tuple[str, ...] = ()

    @functools.cached_property
    def identity(self) -> bytes:
        """The same for those by which the same modules are found, and short."""
        shown = repr([self.search_path, [(file.name, file.path, file.source) for file in self.files]])
        return hashlib.sha256(shown.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A file that this process has imported, or runs as its program.

    Attributes:
        before: the module's variables when its import was over; None: it is the program, whose import never is.
    """

    file: ModuleFile
    module: ModuleType
    before: Mapping[str, Any] | None


_known: dict[str, _Known] = {}
"""By the name that the module has in this process."""


def stable_name(path: Path) -> str:
    """The name of the module that a file is, in every process that does not have another module of that name.

    It is the file's stem, unless that can't be a module's name or is the name of a library or a package beside the
    file; then something is put behind it.
    """
    path = Path(os.path.realpath(path))
    base = re.sub(r"\W", "_", path.stem)
    base = base if base.isidentifier() else f"_{base}"
    hashes = (hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS] for text in (path.name, str(path)))
    candidates = [*([path.stem] if _may_be_called(path) else []), *(f"{base}_{digits}" for digits in hashes)]
    free = (name for name in candidates if name not in sys.modules or _is_from(sys.modules[name], path))
    return next(free, candidates[-1])


def _may_be_called(path: Path) -> bool:
    """Whether a module of the stem's name is this file, and no package beside it or library."""
    name = path.stem
    if not name.isidentifier() or keyword.iskeyword(name) or name in sys.stdlib_module_names:
        return False
    beside = importlib.machinery.PathFinder.find_spec(name, [str(path.parent)])
    if beside is None or beside.origin is None or os.path.realpath(beside.origin) != str(path):
        return False
    installed = importlib.machinery.PathFinder.find_spec(
        name, [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    )
    return installed is None or (installed.origin is not None and os.path.realpath(installed.origin) == str(path))


def know(module: ModuleType, file: ModuleFile) -> None:
    """Remember a module that has been imported from a file of the user's."""
    _known[module.__name__] = _Known(file=file, module=module, before=dict(vars(module)))


def known(path: Path, source: bytes) -> ModuleType | None:
    """The module that was imported from this file, if it is still the same."""
    for entry in _known.values():
        same = entry.file.path == path and entry.file.source == source
        if same and entry.before is not None and sys.modules.get(entry.file.name) is entry.module:
            return entry.module
    return None


def know_program() -> None:
    """Give the program a module's name, if it is a file that can be imported without running the program again.

    A program without ``if __name__ == "__main__":`` can't: what it defines travels to workers by value.
    """
    program = sys.modules.get("__main__")
    file = getattr(program, "__file__", None)
    if program is None or not file or not str(file).endswith(".py"):
        return
    path = Path(os.path.realpath(file))
    entry = _known.get("__main__")
    if entry is not None and entry.module is program and entry.file.path == path:
        return
    try:
        source = path.read_bytes()
        if _guards(ast.parse(source)) == []:
            return
    except (OSError, SyntaxError, ValueError):
        return
    spec = getattr(program, "__spec__", None)
    name = spec.name if spec is not None else stable_name(path)
    _known["__main__"] = _Known(file=ModuleFile(name=name, path=path, source=source), module=program, before=None)
    # What workers write with pickle, by this name, is read back as the program's own.
    sys.modules.setdefault(name, program)


def _is_from(module: object, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return bool(file) and os.path.realpath(str(file)) == str(path)


def known_files() -> tuple[ModuleFile, ...]:
    """The files that workers must be told of."""
    return tuple(entry.file for entry in _known.values())


def name_elsewhere(module: str) -> str | None:
    """What workers call a module of this process; None: they can't know it."""
    if module in _known:
        return _known[module].file.name
    return None if module == "__main__" else module


def module_called(name: str) -> ModuleType:
    """The module that workers call ``name``, as this process has it.

    Raises:
        ImportError: there is none.
    """
    program = _known.get("__main__")
    if program is not None and program.file.name == name:
        return program.module
    return importlib.import_module(name)


def is_program_s(value: Any) -> bool:
    """Whether a function or class of the program is defined by its file as well when that is imported as a module."""
    entry = _known.get("__main__")
    if entry is None or getattr(value, "__module__", None) != "__main__":
        return False
    outer = value.__qualname__.partition(".")[0]
    return outer in _top_level_names(entry.file.source) and _found(entry.module, value.__qualname__) is value


def _found(module: ModuleType, qualified_name: str) -> Any:
    found: Any = module
    for part in qualified_name.split("."):
        found = getattr(found, part, None)
    return found


def is_known(module: str) -> bool:
    """Whether a module of this process is a file that workers are told of."""
    return module in _known


def is_changed(module: str, name: str) -> bool:
    """Whether a variable of a known module is another one here than where the module's file is just imported."""
    entry = _known.get(module)
    if entry is None:
        return False
    now = vars(entry.module).get(name)
    if entry.before is not None:
        return entry.before.get(name) is not now
    constants = _changeable(entry.file.source)
    return name in constants and not any(type(one) is type(now) and one == now for one in constants[name])


def _guards(tree: ast.Module) -> list[ast.If]:
    """The statements ``if __name__ == "__main__":``."""
    return [
        node
        for node in tree.body
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and {"__name__", "'__main__'"} <= {ast.unparse(part) for part in (node.test.left, *node.test.comparators)}
    ]


@functools.lru_cache(maxsize=8)
def _top_level_names(source: bytes) -> frozenset[str]:
    """What a file defines when it is imported."""
    tree = ast.parse(source)
    guards = _guards(tree)
    return frozenset(name for node in tree.body if node not in guards for name in _bound_by(node))


@functools.lru_cache(maxsize=8)
def _changeable(source: bytes) -> Mapping[str, Sequence[Any]]:
    """Variables that a program changes after its definitions, by the plain values that its import gives them."""
    tree = ast.parse(source)
    guards = _guards(tree)
    names = {name for guard in guards for node in guard.body for name in _bound_by(node)}
    names |= {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    values: dict[str, list[Any]] = {name: [] for name in names}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            target, given = node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            target, given = node.target.id, node.value
        else:
            continue
        if target in values and isinstance(given, ast.Constant):
            values[target].append(given.value)
    return values


def _bound_by(node: ast.AST) -> set[str]:
    """The names that a statement of a module binds there."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Store) else set()
    return {name for child in ast.iter_child_nodes(node) for name in _bound_by(child)}


class _Source(importlib.abc.SourceLoader):
    """Imports a file's text as it was."""

    def __init__(self, file: ModuleFile) -> None:
        self._file = file

    def get_filename(self, fullname: str) -> str:
        return str(self._file.path)

    def get_data(self, path: str | bytes) -> bytes:
        return self._file.source

    def path_stats(self, path: str | bytes) -> Mapping[str, Any]:
        raise OSError("it has no byte code on disk")


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the user's files by their names."""

    def __init__(self, files: Iterable[ModuleFile]) -> None:
        self.files = {file.name: file for file in files}

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        file = self.files.get(fullname)
        return (
            None if file is None else importlib.util.spec_from_file_location(fullname, file.path, loader=_Source(file))
        )


def own_imports(modules: Iterable[str] = ()) -> Imports:
    """What workers must know to find what this process finds now.

    Args:
        modules: of the tasks, by the names that they have here.
    """
    names = dict.fromkeys(name for module in modules if (name := name_elsewhere(module)) is not None)
    return Imports(search_path=tuple(entry for entry in sys.path if entry), files=known_files(), modules=tuple(names))


def install(imports: Imports) -> None:
    """In a worker: make modules found."""
    # Not replaced: modules may have put entries of their own there.
    sys.path[:0] = [entry for entry in imports.search_path if entry not in sys.path]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    sys.meta_path.insert(0, _Finder(imports.files))


_STAND_IN = """import importlib.util, sys
spec = importlib.util.spec_from_file_location(__name__, {path!r})
module = sys.modules[__name__] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""


def make_findable(files: Iterable[ModuleFile]) -> None:
    """Have processes that tasks start, as multiprocessing and joblib do, find what only a finder of ours would.

    They look where this process does, and know nothing of finders.
    """
    directory = _stand_ins()
    hidden = [file for file in files if not _is_on_search_path(file)]
    if not hidden or not directory.parent.is_dir():
        return
    directory.mkdir(exist_ok=True)
    for file in hidden:
        temporary = directory / f"{file.name}.{os.getpid()}"
        temporary.write_text(_STAND_IN.format(path=str(file.path)), encoding="utf-8")
        temporary.replace(directory / f"{file.name}.py")
    if str(directory) not in sys.path:
        sys.path.append(str(directory))


def make_findable_no_longer() -> None:
    """Take what :func:`make_findable` added off the search path, in a process that outlives the run."""
    directory = str(_stand_ins())
    sys.path[:] = [entry for entry in sys.path if entry != directory]


def _stand_ins() -> Path:
    return Path(os.environ.get(SCRATCH_VARIABLE, "-"), "modules")


def _is_on_search_path(file: ModuleFile) -> bool:
    if "." in file.name:
        return True  # in a package, which was found there
    spec = importlib.machinery.PathFinder.find_spec(file.name, sys.path)
    return spec is not None and spec.origin is not None and os.path.realpath(spec.origin) == str(file.path)


def install_in_kernel() -> None:
    """In a kernel: make the user's files found that the notebook's own directory and the installation do not have."""
    paths = json.loads(os.environ.get(KERNEL_VARIABLE, "{}"))
    files = []
    for name, path in paths.items():
        try:
            files.append(ModuleFile(name=name, path=Path(path), source=Path(path).read_bytes()))
        except OSError:
            continue  # importing it says that there is no such module
    if files:
        sys.meta_path.append(_Finder(files))


def moved(imports: Imports, place: Callable[[Path], Path]) -> Imports:
    """The same on another machine.

    Args:
        place: a function from the driver's paths to those that stand for them there.
    """
    entries = (str(place(Path(entry))) for entry in imports.search_path)
    files = tuple(replace(file, path=place(file.path)) for file in imports.files)
    return replace(imports, search_path=tuple(entry for entry in entries if Path(entry).exists()), files=files)
