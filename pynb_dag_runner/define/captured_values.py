"""Copy what a task is given when it is added to a pipeline, and find what has changed since.

A function keeps no copy of the variables around it: a ``lambda: i`` written in a loop reads the last ``i``, whichever
task it belongs to. A list is what is in it. So values are copied when a task is added, and variables that were given
another value since are found.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

from pynb_dag_runner.model.nested_values import rebuilt
from pynb_dag_runner.model.text import short_repr
from pynb_dag_runner.processes.module_files import is_known
from pynb_dag_runner.processes.pickling import dumps, is_data, names_read

_PLAIN = (type(None), bool, int, float, complex, str, bytes, date, datetime, timedelta, Path, Enum)
_EMPTY = object()
_MAX_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A variable that a function reads from around it.

    Attributes:
        name: its name.
        is_global: it is one of the function's module; else, of a function around it.
        value: its value at some time.
    """

    name: str
    is_global: bool
    value: Any


def variables_of(function: Callable[..., Any]) -> tuple[Variable, ...]:
    """The variables that a function reads, with their values now; of its module, only those that it takes along."""
    return tuple(_variables_of(_plain(function), set()))


def _plain(function: Any) -> Any:
    while isinstance(function, functools.partial | MethodType):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    return function


def _variables_of(function: Any, seen: set[int]) -> Iterator[Variable]:
    if not isinstance(function, FunctionType) or id(function) in seen:
        return
    seen.add(id(function))
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:
            value = _EMPTY
        yield Variable(name=name, is_global=False, value=value)
        yield from _variables_of(value, seen)  # a decorated function is one inside another
    if function.__module__ == "__main__" or is_known(function.__module__) or "<" in function.__qualname__:
        for name in names_read(function.__code__):
            if name in function.__globals__ and is_data(value := function.__globals__[name]):
                yield Variable(name=name, is_global=True, value=value)


def changes(function: Callable[..., Any], before: tuple[Variable, ...]) -> list[str]:
    """What is wrong with variables that have another value now than before, a sentence each."""
    now = {(variable.name, variable.is_global): variable.value for variable in variables_of(function)}
    problems = []
    for variable in before:
        value = now.get((variable.name, variable.is_global), _EMPTY)
        if variable.value is _EMPTY or value is _EMPTY or _is_same(variable.value, value):
            continue
        name = variable.name
        called = getattr(_plain(function), "__name__", "its function")
        problems.append(
            f"its function {called} reads the variable {name!r}, which was {_shown(variable.value)} when the task was "
            f"added and is {_shown(value)} now; hand the value over with parameters={{{name!r}: {name}}}"
        )
    return problems


def _is_same(before: Any, now: Any) -> bool:
    plain = isinstance(before, _PLAIN) and type(before) is type(now)
    return before is now or (plain and (before == now or before != before))


def _shown(value: Any) -> str:
    return short_repr(value, _MAX_SHOWN)


def copied(value: Any) -> Any:
    """A value whose lists, tuples, sets and dicts are new ones; what else is in them is the same."""
    made: dict[int, Any] = {}

    def part(item: Any) -> Any:
        return rebuilt(item, part, made) if type(item) in (list, dict, tuple, set) else item

    try:
        return part(value)
    except RecursionError:
        return value  # a pipeline with it is refused by the checks


def unpicklable_variable(function: Callable[..., Any]) -> str | None:
    """The variable, read by a function, that keeps it from being pickled, in words; None: it is none of these."""
    return _unpicklable_variable(_plain(function), "", set())


def _unpicklable_variable(function: Any, reader: str, seen: set[int]) -> str | None:
    if not isinstance(function, FunctionType) or id(function) in seen:
        return None
    seen.add(id(function))
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    around = {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
    module = {n: function.__globals__[n] for n in names_read(function.__code__) if n in function.__globals__}
    for kind, values in (("variable", around), ("global variable", module)):
        for name, value in values.items():
            try:
                dumps(value)
            except Exception:  # noqa: BLE001 - a user's __reduce__ may raise anything
                inner = _unpicklable_variable(value, f" of {name}()", seen)
                return inner or f"the {kind} {name!r}{reader}, a {type(value).__qualname__}"
    return None


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False
