"""Load a pipeline from a target: ``file.py``, ``file.py:name``, ``package.module:name``, or one notebook file.

A Python file is imported, as ``python file.py`` would, except that ``__name__`` is not ``__main__``. A notebook is
never imported or executed here: which of the two a file is, its text decides.
"""

import ast
import difflib
import importlib
import importlib.util
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from pynb_dag_runner.api.definitions import PipelineDefinition, notebook_pipeline
from pynb_dag_runner.api.pipelines import Pipeline
from pynb_dag_runner.errors import LoadingError
from pynb_dag_runner.model.graph import unknown_name
from pynb_dag_runner.model.text import listed
from pynb_dag_runner.processes import module_files
from pynb_dag_runner.processes.module_files import ModuleFile
from pynb_dag_runner.run_folder.records import TargetRecord

_CELL_MARKER = re.compile(r"^#(?: ?%%| In\[[\d ]*\]:| \+(?:$| ))|^# ---\r?\n#\s*jupy(?:ter|text):", re.MULTILINE)
"""What only notebooks have: percent, nbconvert and light cell markers, and the first lines of Jupytext's header."""

_IMPORTS_MAKER = re.compile(rb"^\s*from\s+pynb_dag_runner\s+import\b.*\b[pP]ipeline\b", re.MULTILINE)
"""How a pipeline's file is known that can't be parsed, so that its syntax error is reported."""

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_MAX_FRAMES = 3
_MAX_NAMES = 5
_MAX_ENTRIES = 1000
"""Names looked at for a suggestion: a directory of data may hold millions."""


def load(target: str, cwd: Path) -> PipelineDefinition | Pipeline:
    """The pipeline that ``target`` names.

    Args:
        target: ``file.py`` with one pipeline in it, ``file.py:name``, ``package.module:name``, or a notebook in any
            format that Jupytext reads, which becomes a pipeline of one task.
        cwd: absolute directory that relative paths are taken from; modules are looked for there first.

    Raises:
        LoadingError: with one message that says what was found instead.
    """
    location, name = _split(target, cwd)
    if name is not None and _is_module(location, name, cwd):
        return _choose(_import_module(location, cwd), location, name)
    path = Path(cwd / location)
    _check_is_file(path, location)
    if path.suffix != ".py":
        _check_is_notebook_name(path, location)
        return _notebook(path, location, name)
    source = _read(path, location)
    if _is_notebook(source):
        return _notebook(path, location, name)
    _check_syntax(source, location)
    return _choose(_import_file(path, source, location), location, name)


def target_record(target: str, cwd: Path) -> TargetRecord:
    """What :func:`load` was asked for, so that :func:`load_again` finds it from any directory."""
    location, name = _split(target, cwd)
    if _is_module(location, name, cwd):
        return TargetRecord(location=location, name=name, directory=str(cwd))
    return TargetRecord(location=os.path.abspath(cwd / location), name=name, directory=str(cwd))


def load_again(target: TargetRecord) -> PipelineDefinition | Pipeline:
    """The pipeline that a run was made from.

    Raises:
        LoadingError: it is not there any more; see also :func:`load`.
    """
    shown = f"{target.location}:{target.name}" if target.name else target.location
    try:
        return load(shown, Path(target.directory))
    except LoadingError as error:
        raise LoadingError(f"the pipeline of this run can't be loaded; give it with --target. {error}") from error


def _is_module(location: str, name: str | None, cwd: Path) -> bool:
    module = name is not None and not (cwd / location).exists() and Path(location).suffix != ".py"
    return module and _MODULE.fullmatch(location) is not None


def _split(target: str, cwd: Path) -> tuple[str, str | None]:
    """``location:name`` in two; a colon may also be part of a file's name."""
    location, colon, name = target.rpartition(":")
    if not colon or (cwd / target).exists():
        return target, None
    if not location or not name.isidentifier():
        raise LoadingError(f"got {target!r}, expected a file, file.py:name or package.module:name")
    return location, name


def _check_is_file(path: Path, shown: str) -> None:
    """Refuse what is no file, with what the user may have meant."""
    if path.is_file():
        return
    if path.is_dir():
        candidates = _names_in(path, suffixes=(".py", ".ipynb"))
        raise LoadingError(f"{shown!r} is a directory, expected a file{_listed('; there is', candidates)}")
    if path.exists():
        raise LoadingError(f"{shown!r} is no regular file")
    if not path.parent.is_dir():
        raise LoadingError(f"there is no file {shown!r}: there is no directory {str(Path(shown).parent)!r}")
    names = _names_in(path.parent)
    nearest = difflib.get_close_matches(path.name, names, n=1)
    if not nearest and path.suffix == "":
        nearest = [name for name in names if Path(name).stem == path.name and name != path.name][:3]
    raise LoadingError(f"there is no file {shown!r}{_listed('; did you mean', nearest, end='?')}")


def _names_in(directory: Path, suffixes: tuple[str, ...] = ()) -> list[str]:
    """Sorted names of files in ``directory`` that are not hidden; at most :data:`_MAX_ENTRIES` are looked at."""
    try:
        entries = [path for path, _ in zip(directory.iterdir(), range(_MAX_ENTRIES), strict=False)]
    except OSError:
        return []
    named = (path for path in entries if not path.name.startswith(".") and (not suffixes or path.suffix in suffixes))
    return sorted(path.name for path in named if path.is_file())


def _listed(before: str, names: list[str], end: str = "") -> str:
    """A phrase that lists ``names``; empty if there are none."""
    if not names:
        return ""
    return f"{before} {listed([repr(name) for name in names], _MAX_NAMES)}{end}"


def _check_is_notebook_name(path: Path, shown: str) -> None:
    from jupytext.formats import NOTEBOOK_EXTENSIONS  # costs a third of a second; a pipeline's file does not need it

    if path.suffix not in NOTEBOOK_EXTENSIONS:
        raise LoadingError(
            f"{shown!r} is neither a Python file nor a notebook: no notebook format has the suffix {path.suffix!r}"
        )


def _notebook(path: Path, shown: str, name: str | None) -> PipelineDefinition:
    if name is not None:
        raise LoadingError(
            f"there is no pipeline {name!r} in {shown!r}: it is a notebook; leave out ':{name}' to run it"
        )
    return notebook_pipeline(path)


def _read(path: Path, shown: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LoadingError(f"{shown!r} can't be read: {error.strerror}") from None


def _is_notebook(source: bytes) -> bool:
    """Whether a Python file is a notebook: it has cell markers, and makes no pipeline.

    The markers alone do not tell, since editors show cells in any Python file.
    """
    text = source.decode("utf-8-sig", "replace")
    return _CELL_MARKER.search(text) is not None and not _makes_pipeline(source)


def _makes_pipeline(source: bytes) -> bool:
    """Whether a pipeline is made in a file: by the decorator, or by calling the class."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return _IMPORTS_MAKER.search(source) is not None
    made = _names_of_makers(tree)
    return any(
        any(_called_name(decorator) in made for decorator in node.decorator_list)
        if isinstance(node, ast.FunctionDef)
        else isinstance(node, ast.Call) and _called_name(node) in made
        for node in ast.walk(tree)
    )


def _names_of_makers(tree: ast.Module) -> set[str]:
    """What ``pipeline`` and ``Pipeline`` of this package are called in a file."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pynb_dag_runner":
            names |= {alias.asname or alias.name for alias in node.names if alias.name in ("pipeline", "Pipeline")}
        elif isinstance(node, ast.Import):
            packages = (alias.asname or alias.name for alias in node.names if alias.name == "pynb_dag_runner")
            names |= {f"{package}.{maker}" for package in packages for maker in ("pipeline", "Pipeline")}
    return names


def _called_name(node: ast.expr) -> str:
    """``name`` or ``package.name`` of a decorator or a call; empty for anything else."""
    function = node.func if isinstance(node, ast.Call) else node
    return ast.unparse(function) if isinstance(function, ast.Name | ast.Attribute) else ""


def _check_syntax(source: bytes, shown: str) -> None:
    try:
        ast.parse(source)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        code = f"\n  {error.text.strip()}" if error.text and error.text.strip() else ""
        raise LoadingError(f"{shown!r} is not valid Python: {error.msg}{line}{code}") from None
    except ValueError as error:
        raise LoadingError(f"{shown!r} is not valid Python: {error}") from None


def _import_file(path: Path, source: bytes, shown: str) -> ModuleType:
    """Import a file as a module; its directory comes first on ``sys.path``, as Python does for scripts.

    It is imported once, unless it has changed: what it defines is one thing in one process.
    """
    path = path.resolve()
    if (module := module_files.known(path, source)) is not None:
        return module
    name = module_files.stable_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "there is a loader for every file that ends in .py"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _importing(shown, path.parent):
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            sys.modules.pop(name, None)
            raise
    module_files.know(module, ModuleFile(name=name, path=path, source=source))
    return module


def _import_module(name: str, cwd: Path) -> ModuleType:
    """Import a module by its dotted name; ``cwd`` comes first on ``sys.path``, as ``python -m`` does."""
    with _importing(name, cwd):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                parent = f": there is no module {error.name!r}" if error.name != name else ""
                raise LoadingError(f"there is no module {name!r}{parent}") from None
            raise
    file = Path(module.__file__ or "").resolve()
    if file.suffix == ".py" and not _is_installed(file):
        module_files.know(module, ModuleFile(name=name, path=file, source=file.read_bytes()))
    return module


def _is_installed(file: Path) -> bool:
    """Whether a worker with the same environment has the module too."""
    return any(
        file.is_relative_to(Path(sysconfig.get_path(kind)).resolve()) for kind in ("stdlib", "purelib", "platlib")
    )


@contextmanager
def _importing(shown: str, directory: Path) -> Iterator[None]:
    """Put ``directory`` first on ``sys.path``, to stay there if all goes well; say what the import raised if not."""
    before = list(sys.path)
    sys.path.insert(0, str(directory))
    try:
        yield
    except BaseException as error:
        sys.path[:] = before
        if isinstance(error, LoadingError) or not isinstance(error, Exception | SystemExit):
            raise
        # Whatever the user's code raises is the user's to mend: no traceback of ours.
        raise LoadingError(_import_problem(shown, error, directory)) from error


def _import_problem(shown: str, error: BaseException, directory: Path) -> str:
    """What went wrong, and the last frames of the user's own code."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_absolute() and Path(frame.filename).is_relative_to(directory)
        if "site-packages" not in Path(frame.filename).parts and frame.filename != __file__
    ]
    message = str(error).strip()
    said = f"{type(error).__name__}: {message}" if message else type(error).__name__
    places = "".join(
        f"\n  {Path(frame.filename).relative_to(directory)}, line {frame.lineno}: {frame.line}"
        for frame in frames[-_MAX_FRAMES:]
    )
    return f"importing {shown!r} raised {said}{places}"


def _choose(module: ModuleType, shown: str, name: str | None) -> PipelineDefinition | Pipeline:
    """The pipeline called ``name`` in a module, or its only one."""
    found: dict[str, PipelineDefinition | Pipeline] = {}
    for variable, value in vars(module).items():
        if isinstance(value, PipelineDefinition | Pipeline) and not any(value is known for known in found.values()):
            found[variable] = value
    if name is not None:
        value = getattr(module, name, None)
        if isinstance(value, PipelineDefinition | Pipeline):
            return value
        if hasattr(module, name):
            raise LoadingError(f"{name!r} in {shown!r} is no pipeline but a {type(value).__name__}; is it decorated?")
        raise LoadingError(f"in {shown!r} {unknown_name('pipeline', name, found)}")
    if not found:
        raise LoadingError(
            f"there is no pipeline in {shown!r}: no function with @pipeline, no Pipeline(...); nor is it a notebook, "
            "which would have cell markers such as '# %%'"
        )
    if len(found) > 1:
        listed = ", ".join(f"{shown}:{variable}" for variable in found)
        raise LoadingError(f"there are {len(found)} pipelines in {shown!r}; name one of {listed}")
    return next(iter(found.values()))
