"""Write Python source code that evaluates to a given value again.

Standard library only. A value has source code if it is of exactly one of the types below, and so is all that is in it:
a subclass would come back as its base class. What evaluates the code needs numpy only if there is a numpy scalar in the
value; this module never imports it.
"""

import builtins
import keyword
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pynb_dag_runner.model.json_values import digits_problem, text_problem
from pynb_dag_runner.model.numpy_scalars import is_numpy_scalar
from pynb_dag_runner.model.text import short_repr
from pynb_dag_runner.processes.module_files import is_program_s, name_elsewhere

RECEIVABLE = (
    "a notebook can receive None, bool, int, float, complex, str, bytes, paths, dates and times, timedelta, Decimal, "
    "Fraction, UUID, members of an Enum, numpy's scalars, and lists, tuples, sets, frozensets and dicts of these"
)
_MAX_BRACKETS = 100
"""Deeper nesting is refused: Python's parser gives up at 200 brackets, and older ones sooner."""
_DATE_AND_TIME = re.compile(r"\d{4}(-\d\d){0,2}(T\d\d(:\d\d){0,2}(\.\d+)?)?|NaT")


class NoSourceCodeError(ValueError):
    """A value has no source code; the message is a phrase that names the place in it."""


@dataclass(frozen=True)
class SourceCode:
    """Source code of named values.

    Attributes:
        imports: statements, one a line, that the expressions need; they bind none of the values' names.
        expressions: by the values' names.
        modules: names of modules that hold classes of Enum members; others are numpy and the standard library's.
    """

    imports: tuple[str, ...]
    expressions: Mapping[str, str]
    modules: frozenset[str]


def source_code(values: Mapping[str, Any], written: Callable[[Any], str | None] = lambda _value: None) -> SourceCode:
    """The source code of values that become variables.

    Args:
        values: by the variables' names.
        written: an expression for what has one of its own; None for all else.

    Raises:
        NoSourceCodeError: a value has none.
    """
    writer = _Writer(values, written)
    expressions = {name: writer.expression(value, f"parameter {name!r}") for name, value in values.items()}
    return SourceCode(writer.imports(), expressions, frozenset(writer.modules))


def source_problem(value: Any, where: str) -> str | None:
    """Why there is no source code for ``value``, as one phrase that names the place; None if there is.

    Args:
        where: what to call the value, such as ``parameter 'sizes'``.
    """
    try:
        _Writer((), lambda _value: None).expression(value, where)
    except NoSourceCodeError as error:
        return str(error)
    return None


@dataclass
class _Writer:
    """Writes expressions, and remembers what they need.

    Attributes:
        names: of variables, which imports must not bind.
        written: see :func:`source_code`.
        modules: see :class:`SourceCode`.
    """

    names: Iterable[str]
    written: Callable[[Any], str | None]
    modules: set[str] = field(default_factory=set)
    _bound: dict[tuple[str, str], str] = field(default_factory=dict)
    _inside: list[int] = field(default_factory=list)
    _brackets: int = 0

    def __post_init__(self) -> None:
        # Python reads names in this form (docs.python.org, "Identifiers and keywords").
        self._variables = {unicodedata.normalize("NFKC", str(name)) for name in self.names}

    def imports(self) -> tuple[str, ...]:
        """The statements, sorted."""
        statements = []
        for (module, name), bound in self._bound.items():
            start = f"from {module} import {name}" if name else f"import {module}"
            statements.append(start if bound == (name or module) else f"{start} as {bound}")
        return tuple(sorted(statements))

    def expression(self, value: Any, where: str) -> str:
        """The expression for one value."""
        if (text := self.written(value)) is not None:
            return text
        kind = type(value)
        if isinstance(value, Enum):
            return self._enum(value, where)
        if kind in _CONTAINERS:
            return self._container(value, where)
        if write := _WRITERS.get(kind):
            return write(self, value, where)
        if is_numpy_scalar(value):
            return self._numpy(value, where)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        hint = "; hand over its path or an artifact" if name == "numpy.ndarray" else ""
        raise NoSourceCodeError(f"{where} is a {name}: {short_repr(value)}{hint}")

    def bind(self, module: str, name: str = "", wanted: str = "") -> str:
        """What the module, or ``name`` of it, is called in the expressions."""
        if module == "builtins" and name not in self._variables:
            return name
        if (module, name) not in self._bound:
            taken = self._variables.union(self._bound.values(), dir(builtins))
            bound = wanted or name or module
            while bound in taken:
                bound = f"_{bound}"
            self._bound[module, name] = bound
        return self._bound[module, name]

    def _container(self, value: Any, where: str) -> str:
        kind = type(value)
        brackets = 2 if kind is frozenset else 1
        if id(value) in self._inside:
            raise NoSourceCodeError(f"{where} is a {kind.__name__} that contains itself")
        if self._brackets + brackets > _MAX_BRACKETS + 1:
            # The place itself would be a line of a hundred brackets.
            raise NoSourceCodeError(f"{where.partition('[')[0]} is nested more than {_MAX_BRACKETS} levels deep")
        self._inside.append(id(value))
        self._brackets += brackets
        text = _CONTAINERS[kind](self, value, where)
        self._brackets -= brackets
        self._inside.pop()
        return text

    def _list(self, value: list[Any], where: str) -> str:
        return f"[{', '.join(self._items(value, where))}]"

    def _tuple(self, value: tuple[Any, ...], where: str) -> str:
        return f"({', '.join(self._items(value, where))}{',' if len(value) == 1 else ''})"

    def _items(self, value: Iterable[Any], where: str) -> list[str]:
        return [self.expression(item, f"{where}[{index}]") for index, item in enumerate(value)]

    def _dict(self, value: dict[Any, Any], where: str) -> str:
        pairs = []
        for key, item in value.items():
            place = f"{where}[{short_repr(key)}]"
            pairs.append(
                f"{self.expression(key, f'{where}: the key {short_repr(key)}')}: {self.expression(item, place)}"
            )
        return f"{{{', '.join(pairs)}}}"

    def _set(self, value: set[Any] | frozenset[Any], where: str) -> str:
        # Sorted, so that a set has the same text in every process.
        items = sorted(
            (self.expression(item, f"an item of {where}") for item in value), key=lambda text: (len(text), text)
        )
        listed = f"{{{', '.join(items)}}}" if items else ""
        if type(value) is set:
            return listed or f"{self.bind('builtins', 'set')}()"
        return f"{self.bind('builtins', 'frozenset')}({listed})"

    def _int(self, value: int, where: str) -> str:
        if problem := digits_problem(value, where):
            raise NoSourceCodeError(problem)
        return repr(value)

    def _text(self, value: str, where: str) -> str:
        if problem := text_problem(value, where):
            raise NoSourceCodeError(problem)
        return repr(value)

    def _float(self, value: float, _where: str = "") -> str:
        text = repr(value)
        return f"{self.bind('builtins', 'float')}({text!r})" if text in ("nan", "inf", "-inf") else text

    def _complex(self, value: complex, _where: str = "") -> str:
        # "1-0j" is a subtraction, which loses the sign of zeros.
        return f"{self.bind('builtins', 'complex')}({self._float(value.real)}, {self._float(value.imag)})"

    def _path(self, value: PurePath, where: str) -> str:
        name = "Path" if isinstance(value, Path) else type(value).__name__
        return f"{self.bind('pathlib', name)}({self._text(str(value), where)})"

    def _time(self, value: Any, where: str) -> str:
        """Dates, times and their differences, as ``repr`` has them; the zone apart."""
        zone = getattr(value, "tzinfo", None)
        if zone is None:
            # Under a name of its own: some notebooks call the module "datetime", and some the class.
            return self.bind("datetime", wanted="_datetime") + repr(value).removeprefix("datetime")
        if type(zone) not in (timezone, ZoneInfo):
            got = f"a {type(value).__name__} whose tzinfo is a {type(zone).__module__}.{type(zone).__qualname__}"
            raise NoSourceCodeError(f"{where} is {got}, expected a datetime.timezone or a ZoneInfo")
        return f"{self._time(value.replace(tzinfo=None), where)[:-1]}, tzinfo={self.expression(zone, where)})"

    def _timezone(self, value: timezone, where: str) -> str:
        module = self.bind("datetime", wanted="_datetime")
        if value is UTC:
            return f"{module}.timezone.utc"
        arguments = value.__getinitargs__()  # type: ignore[attr-defined] # for pickle; str() would be ambiguous
        return f"{module}.timezone({', '.join(self.expression(argument, where) for argument in arguments)})"

    def _zone(self, value: ZoneInfo, where: str) -> str:
        if value.key is None:
            raise NoSourceCodeError(f"{where} is a ZoneInfo without a key")
        return f"{self.bind('zoneinfo', 'ZoneInfo')}({self._text(value.key, where)})"

    def _fraction(self, value: Fraction, where: str) -> str:
        name = self.bind("fractions", "Fraction")
        return f"{name}({self._int(value.numerator, where)}, {self._int(value.denominator, where)})"

    def _enum(self, value: Enum, where: str) -> str:
        kind = type(value)
        outer, *inner = kind.__qualname__.split(".")
        shown = f"{where} is a member of the Enum {kind.__qualname__}"
        module = name_elsewhere(kind.__module__)
        if module is None or (kind.__module__ == "__main__" and not is_program_s(kind)):
            raise NoSourceCodeError(
                f"{shown} of the program itself, which a notebook can't import; define it in a module"
            )
        if not _is_importable(kind):
            reason = f"which can't be imported from {kind.__module__} by that name"
            raise NoSourceCodeError(f"{shown}, {reason}; define it at a module's top level")
        self.modules.add(module)
        name = ".".join([self.bind(module, outer), *inner])
        member = next((name for name, member in kind.__members__.items() if member is value), None)
        if member is not None:
            plain = _is_name(member) and getattr(kind, member, None) is value
            return f"{name}.{member}" if plain else f"{name}[{self._text(member, where)}]"
        # Flags that are set together, or none of them, have no name of their own.
        return f"{name}({self.expression(value.value, where)})"

    def _numpy(self, value: Any, where: str) -> str:
        kind = type(value).__name__
        name = f"{self.bind('numpy')}.{'bool_' if kind == 'bool' else kind}"
        if kind in ("datetime64", "timedelta64"):
            return self._numpy_time(value, name, where)
        if kind == "str_":
            return f"{name}({self._text(''.join([value]), where)})"
        if kind == "bytes_":
            return f"{name}({b''.join([value])!r})"
        plain = value.item()
        if isinstance(plain, float):
            shortest = float(str(value))
            plain = shortest if type(value)(shortest) == value else plain
        return f"{name}({self.expression(plain, where)})"

    def _numpy_time(self, value: Any, name: str, where: str) -> str:
        unit = value.dtype.str.partition("[")[2].rstrip("]")
        count = int(value.view("i8"))
        text = str(value)
        absent = text == "NaT"
        if not unit and not absent and name.endswith("datetime64"):
            raise NoSourceCodeError(f"{where} is a numpy.datetime64 without a unit")
        readable = absent or (name.endswith("datetime64") and unit.isalpha() and _DATE_AND_TIME.fullmatch(text))
        return f"{name}({repr(text) if readable else count}{f', {unit!r}' if unit else ''})"


def _is_importable(kind: type) -> bool:
    """Whether ``from module import name`` gives the class."""
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        if not _is_name(part):
            return False
        found = getattr(found, part, None)
    return found is kind and all(map(_is_name, kind.__module__.split(".")))


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)


_Write = Callable[[_Writer, Any, str], str]
_CONTAINERS: dict[type, _Write] = {
    list: _Writer._list,
    tuple: _Writer._tuple,
    dict: _Writer._dict,
    set: _Writer._set,
    frozenset: _Writer._set,
}
_WRITERS: dict[type, _Write] = {
    type(None): lambda _writer, value, _where: repr(value),
    bool: lambda _writer, value, _where: repr(value),
    bytes: lambda _writer, value, _where: repr(value),
    int: _Writer._int,
    float: _Writer._float,
    complex: _Writer._complex,
    str: _Writer._text,
    **dict.fromkeys((type(Path()), PurePosixPath, PureWindowsPath), _Writer._path),
    **dict.fromkeys((date, datetime, time, timedelta), _Writer._time),
    timezone: _Writer._timezone,
    ZoneInfo: _Writer._zone,
    Decimal: lambda writer, value, _where: f"{writer.bind('decimal', 'Decimal')}({str(value)!r})",
    Fraction: _Writer._fraction,
    UUID: lambda writer, value, _where: f"{writer.bind('uuid', 'UUID')}({str(value)!r})",
}
