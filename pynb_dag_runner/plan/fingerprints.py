"""Compute fingerprints of tasks, by which a resume tells which tasks have not changed.

A fingerprint is the same in every process, on every machine and, for functions whose source text can be had, under
every version of Python. It sees the task's own notebook or function and the values of its parameters; it does not see
the modules that either of them imports, nor files and services that they read. Nor does it see secrets: a short one
could be guessed from it.
"""

import copyreg
import functools
import hashlib
import inspect
import json
import os
import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from pynb_dag_runner.model.graph import FunctionSource, NotebookSource, Task
from pynb_dag_runner.model.references import OutputReference
from pynb_dag_runner.run_folder.records import FingerprintRecord
from pynb_dag_runner.secrets.marking import MARKED

_MAX_DEPTH = 200
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def fingerprint(task: Task) -> FingerprintRecord:
    """The fingerprint of a task as it is defined now.

    A value that can't be written down has a fingerprint that no other process gives: its task runs again.
    """
    parts = _notebook(task.source) if isinstance(task.source, NotebookSource) else _function(task.source)
    return FingerprintRecord(
        source=_digest(parts),
        parameters={name: _digest([_rendered(value)]) for name, value in sorted(task.parameters.items())},
    )


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _notebook(source: NotebookSource) -> list[str]:
    """The notebook's cells, and where and in what they run; not its outputs, which Jupyter saves with it."""
    from pynb_dag_runner.notebooks.source import read_notebook

    notebook = read_notebook(source.path)
    cells = [
        [cell["cell_type"], cell["source"], sorted(cell.get("metadata", {}).get("tags", []))]
        for cell in json.loads(notebook.content)["cells"]
    ]
    kernel = source.kernel or str(notebook.metadata.get("kernelspec", {}).get("name", ""))
    cwd = os.path.relpath(source.cwd, source.path.parent) if source.cwd else ""
    return ["notebook", json.dumps(cells), kernel, cwd]


def _function(source: FunctionSource) -> list[str]:
    function = source.function
    if isinstance(function, FunctionType | MethodType | functools.partial):
        return ["function", _rendered(function)]
    made_by = function if isinstance(function, type) else type(function)
    return ["function", _rendered(function), _source_of(made_by)]


def _rendered(value: Any) -> str:
    """Text that is the same for equal values in every process."""
    try:
        return "".join(_render(value, 0, ()))
    except Exception as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
        # The checks before a run refuse what can't be pickled; this is for what can be, in a way of its own.
        return f"unknown {type(value).__qualname__}: {type(error).__name__} {os.urandom(16).hex()}"


def _render(value: Any, depth: int, inside: tuple[int, ...]) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise RecursionError("nested too deeply")
    kind = type(value)
    if kind in _PLAIN:
        yield f"{kind.__name__}:{value!r};"
        return
    if id(value) in inside:
        yield f"circle:{len(inside) - inside.index(id(value))};"
        return
    inside = (*inside, id(value))

    def within(*items: Any) -> str:
        return "".join(text for item in items for text in _render(item, depth + 1, inside))

    if isinstance(value, MARKED):
        yield "secret;"
    elif isinstance(value, OutputReference):
        yield f"output:{value.producer.name!r}:{value.output_name!r};"
    elif isinstance(value, PurePath):
        yield f"path:{str(value)!r};"
    elif isinstance(value, Enum):
        yield f"enum:{kind.__qualname__}.{value.name};"
    elif kind in (list, tuple):
        yield f"{kind.__name__}[{within(*value)}]"
    elif kind in (set, frozenset):
        yield f"{kind.__name__}{{{''.join(sorted(within(item) for item in value))}}}"
    elif isinstance(value, dict) and kind is dict:
        yield f"dict{{{''.join(sorted(within(key, item) for key, item in value.items()))}}}"
    elif (code := _code_parts(value)) is not None:
        yield f"code({within(*code)})"
    elif isinstance(value, type | ModuleType | BuiltinFunctionType):
        # Without the module: a pipeline's file is __main__ in one process and not in another.
        yield f"name:{getattr(value, '__qualname__', value.__name__)};"
    else:
        yield f"{kind.__qualname__}({within(*_state(value))})"


def _code_parts(value: Any) -> list[Any] | None:
    """What tells functions apart: their text, and the values that they carry with them; None for anything else."""
    if isinstance(value, functools.partial):
        return [value.func, list(value.args), dict(value.keywords)]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if not isinstance(value, FunctionType):
        return None
    carried = {
        name: cell.cell_contents
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        if _is_filled(cell)
    }
    return [_source_of(value), value.__defaults__, value.__kwdefaults__, carried]


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _source_of(made: FunctionType | type) -> str:
    """The source text; a function that was typed where no text is kept is known by its byte code."""
    if isinstance(made, FunctionType):
        return _source_of_code(made.__code__, made.__code__.co_filename)
    try:
        return textwrap.dedent(inspect.getsource(made)).strip()
    except (OSError, TypeError, SyntaxError):
        return made.__qualname__


@functools.lru_cache(maxsize=1024)
def _source_of_code(code: CodeType, _file: str) -> str:
    """Found once for all tasks of the same function; equal code in two files has two texts."""
    try:
        return textwrap.dedent(inspect.getsource(code)).strip()
    except (OSError, TypeError, SyntaxError):
        return _code_text(code)


def _code_text(code: CodeType) -> str:
    constants = [
        _code_text(constant) if isinstance(constant, CodeType) else _rendered(constant) for constant in code.co_consts
    ]
    return repr((code.co_code.hex(), code.co_names, code.co_varnames, constants))


def _state(value: Any) -> list[Any]:
    """What an object is made of, as pickle sees it (docs.python.org, "Pickling Class Instances")."""
    if isinstance(value, Mapping) and not isinstance(value, dict) and type(value).__reduce_ex__ is object.__reduce_ex__:
        return [dict(value)]
    reducer = copyreg.dispatch_table.get(type(value))
    reduced = reducer(value) if reducer else value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return [reduced]
    made_by, arguments, state, items, pairs = (*reduced, *(None,) * 5)[:5]
    return [
        getattr(made_by, "__qualname__", repr(made_by)),
        arguments,
        state,
        None if items is None else list(items),
        None if pairs is None else dict(pairs),
    ]
