"""Pickle values so that they mean the same in the driver, in workers, and in the process that resumes a run.

What the program itself defines goes by the name that its file has as a module, see
:mod:`pynb_dag_runner.processes.module_files`. What can't be found by a name goes by value, as cloudpickle does it.
"""

import dis
import functools
import io
import pickle
import sys
from types import CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle

from pynb_dag_runner.processes import cloudpickle_internals, module_files


class ForeignClassError(Exception):
    """A pickle brings along a class of which the program has another one."""


class InputError(Exception):
    """A value that a job is given can't be read back: its class lets itself be pickled, but not unpickled."""


def dumps(value: Any) -> bytes:
    """The pickle of a value; raises whatever its classes raise."""
    with io.BytesIO() as file:
        _Pickler(file).dump(value)
        return file.getvalue()


def loads(data: bytes) -> Any:
    """The value of a pickle that this process made, or a worker of its."""
    return _Unpickler(io.BytesIO(data)).load()


def loads_input(data: bytes) -> Any:
    """A value that another task made, or the driver.

    Raises:
        InputError: it was pickled, and can't be unpickled; in words for the user.
    """
    try:
        return loads(data)
    except Exception as error:  # noqa: BLE001 - a user's class may raise anything
        words = f"{type(error).__name__}: {error}"
        raise InputError(f"a value that it is given can't be read back from its pickle: {words}") from None


def loads_of_earlier(data: bytes) -> Any:
    """The value of a pickle of an earlier run's.

    Raises:
        ForeignClassError: an object of it would not be of the class that the program has under that name.
    """
    unpickler = _Unpickler(io.BytesIO(data))
    value = unpickler.load()
    for made in unpickler.made:
        current = _found(made)
        if current is not None and current is not made:
            where = "the program" if made.__module__ == "__main__" else made.__module__
            raise ForeignClassError(f"it brings along a class {made.__qualname__} that is not the one of {where}")
    return value


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle is untyped
    def reducer_override(self, value: Any) -> Any:
        is_named = isinstance(value, FunctionType | type) and module_files.is_program_s(value)
        if is_named and not _is_unsettled(value):
            return _named, (module_files.name_elsewhere("__main__"), value.__qualname__)
        reduced = super().reducer_override(value)
        if reduced is not NotImplemented or not isinstance(value, FunctionType) or value.__module__ == "__main__":
            return reduced
        if (module := sys.modules.get(value.__module__)) is None or not _is_unsettled(value):
            return reduced
        # A name would mean another function there. This is cloudpickle's public way to say so.
        cloudpickle.register_pickle_by_value(module)
        try:
            return super().reducer_override(value)
        finally:
            cloudpickle.unregister_pickle_by_value(module)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.made: list[type] = []

    def find_class(self, module: str, name: str) -> Any:
        if cloudpickle_internals.makes_a_class(module, name):
            return functools.partial(self._make, super().find_class(module, name))
        if module_files.name_elsewhere("__main__") == module:
            return functools.reduce(getattr, name.split("."), module_files.module_called(module))
        return super().find_class(module, name)

    def _make(self, make: Any, *arguments: Any) -> Any:
        made = make(*arguments)
        self.made.append(made)
        return made


def _named(module: str, qualified_name: str) -> Any:
    return functools.reduce(getattr, qualified_name.split("."), module_files.module_called(module))


def _found(made: type) -> Any:
    """What the program has under a class's name; None: nothing."""
    found: Any = sys.modules.get(made.__module__)
    for part in made.__qualname__.split("."):
        found = getattr(found, part, None)
    return found


def _is_unsettled(value: FunctionType | type) -> bool:
    """Whether a function reads a variable that has another value here than where its module is just imported."""
    if not isinstance(value, FunctionType) or not module_files.is_known(value.__module__):
        return False
    return any(module_files.is_changed(value.__module__, name) for name in _variables_read(value))


def _variables_read(function: FunctionType) -> set[str]:
    """Names of variables of its module that a function reads: itself, or the functions of the module that it calls."""
    found: set[str] = set()
    seen: set[int] = set()
    stack: list[Any] = [function]
    while stack:
        one = stack.pop()
        if id(one) in seen or not isinstance(one, FunctionType) or one.__globals__ is not function.__globals__:
            continue
        seen.add(id(one))
        names = names_read(one.__code__)
        values = [one.__globals__.get(name) for name in names]
        stack += values
        for cell in one.__closure__ or ():
            try:
                stack.append(cell.cell_contents)
            except ValueError:
                continue  # it is empty
        found |= {name for name, value in zip(names, values, strict=True) if is_data(value)}
    return found


def is_data(value: Any) -> bool:
    """Whether a variable holds something else than what a file defines or imports."""
    return not isinstance(value, FunctionType | type | ModuleType)


@functools.lru_cache(maxsize=4096)
def names_read(code: CodeType) -> tuple[str, ...]:
    """Names of the global variables that a function's code reads, also in functions inside it."""
    own = (each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    inner = (name for part in code.co_consts if isinstance(part, CodeType) for name in names_read(part))
    return tuple(dict.fromkeys((*own, *inner)))
