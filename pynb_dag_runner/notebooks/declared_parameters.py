"""Read the names and types that a parameters cell declares from its text, without running it.

A type is known where an annotation is made of the standard names below, or where the default is a literal. Of all else
nothing is said: a check that can't be sure stays silent.
"""

import ast
import types
import typing
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from numbers import Complex, Real
from operator import or_
from pathlib import Path, PurePath
from typing import Any, Literal, Union
from uuid import UUID

from pynb_dag_runner.notebooks.python_cells import python_of

_UNCERTAIN = {"exec", "eval", "globals", "locals", "vars", "get_ipython"}

_TYPES: dict[str, Any] = {
    **{kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict)},
    **{kind.__name__.capitalize(): kind for kind in (list, tuple, set, dict)},
    **{kind.__name__: kind for kind in (Path, date, datetime, time, timedelta, Decimal, Fraction, UUID)},
}
_MODULES = {"typing", "t", "datetime", "dt", "pathlib", "decimal", "fractions", "uuid", "builtins"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """A name that is assigned in a parameters cell.

    Attributes:
        annotation: its source text; None if there is none.
        default: source text of the value; None if there is none, or if it is no expression of its own.
    """

    annotation: str | None = None
    default: str | None = None

    @property
    def type(self) -> Any:
        """The annotated type as far as it is known, else ``Any``; a default of None means that None may be given."""
        found = Any if self.annotation is None else _annotated(ast.parse(self.annotation, mode="eval").body)
        return found if found is Any or self.default != "None" else _union([found, None])

    @property
    def likely_type(self) -> Any:
        """The annotated type; without an annotation what the default tells: text, number, truth, list, and so on.

        An author who writes ``rate = 1`` may mean fractions as well, and None stands for nothing everywhere.
        """
        if self.annotation is not None or self.default is None:
            return self.type
        expression = ast.parse(self.default, mode="eval").body
        if isinstance(expression, ast.Call) and ast.unparse(expression.func) in ("Path", "pathlib.Path"):
            return _union([Path, None])
        try:
            kind = type(ast.literal_eval(expression))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return Any
        if kind is int:
            return _union([int, float, None])
        return _union([kind, None]) if kind in (bool, float, str, list, tuple, set, dict) else Any


def declared_in(source: str) -> dict[str, Declared] | None:
    """The names that a cell of Python code assigns, in order; None where that can't be known for certain."""
    code = python_of(source)
    try:
        tree = None if code is None else ast.parse(code)
    except (SyntaxError, ValueError):
        tree = None
    if tree is None:
        return None
    found: dict[str, Declared] = {}
    for statement in tree.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            default = ast.unparse(statement.value) if statement.value else None
            found[statement.target.id] = Declared(annotation=ast.unparse(statement.annotation), default=default)
        elif isinstance(statement, ast.Assign) and all(isinstance(target, ast.Name) for target in statement.targets):
            default = ast.unparse(statement.value)
            found |= {
                target.id: Declared(default=default) for target in statement.targets if isinstance(target, ast.Name)
            }
        else:
            found |= {name: Declared() for name in _bound(statement) if name not in found}
    uncertain = any(
        (isinstance(node, ast.ImportFrom) and node.names[0].name == "*")
        or (isinstance(node, ast.Name) and node.id in _UNCERTAIN)
        for node in ast.walk(tree)
    )
    return None if uncertain else found


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement binds, wherever in it."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name


def _annotated(node: ast.expr) -> Any:
    """The type that an annotation means; ``Any`` for what is not known, also inside of others."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            try:
                return _annotated(ast.parse(text, mode="eval").body)
            except (SyntaxError, ValueError):
                return Any
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union([_annotated(left), _annotated(right)])
        case ast.Subscript(value=generic, slice=inside):
            parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            return _subscripted(_plain_name(generic), parts)
        case _:
            return _TYPES.get(_plain_name(node), Any)


def _subscripted(generic: str, parts: list[ast.expr]) -> Any:
    if generic == "Literal":
        values = [part.value for part in parts if isinstance(part, ast.Constant)]
        return Literal[tuple(values)] if values and len(values) == len(parts) else Any
    if generic in ("Annotated", "Final"):
        return _annotated(parts[0])
    if generic in ("Optional", "Union"):
        return _union([*map(_annotated, parts), *([None] if generic == "Optional" else [])])
    kind = _TYPES.get(generic, Any)
    if kind is tuple and parts and isinstance(parts[-1], ast.Constant) and parts[-1].value is ...:
        return types.GenericAlias(tuple, (*map(_annotated, parts[:-1]), ...))
    if len(parts) != {list: 1, set: 1, frozenset: 1, dict: 2, tuple: max(1, len(parts))}.get(kind):
        return Any
    return types.GenericAlias(kind, tuple(map(_annotated, parts)))


def _plain_name(node: ast.expr) -> str:
    """``Path`` for ``Path`` and ``pathlib.Path``."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in _MODULES:
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _union(kinds: list[Any]) -> Any:
    distinct = dict.fromkeys(kinds)
    return Any if Any in distinct else reduce(or_, distinct)


_ACCEPTED: dict[Any, tuple[type, ...]] = {
    bool: (Real,),
    int: (Real, Decimal),
    float: (Real, Decimal),
    complex: (Complex, Decimal),
    **dict.fromkeys((Decimal, Fraction), (Real, Decimal)),
    **dict.fromkeys((str, Path), (str, PurePath)),
    bytes: (bytes, bytearray),
    **dict.fromkeys((list, tuple, set, frozenset), (list, tuple, set, frozenset)),
    dict: (Mapping,),
    **{kind: (kind,) for kind in (date, datetime, time, timedelta, UUID)},
}


def fits(value: Any, kind: Any) -> bool:
    """Whether ``value`` may be given where the type ``kind`` is declared; True where that is not known.

    Only what can't be meant is refused: a text for a number, a number for a list. None may always be given, also a path
    for a text, a list for a tuple, and what numpy has.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if value is None or type(value).__module__ == "numpy":
        return True
    if origin is Literal:
        return value in arguments
    if origin is typing.Annotated:
        return fits(value, arguments[0])
    if origin in (Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    accepted = _ACCEPTED.get(origin or kind) if isinstance(origin or kind, Hashable) else None
    if accepted is None:
        return kind not in (None, type(None))
    if not isinstance(value, accepted) or (kind is int and isinstance(value, float) and not value.is_integer()):
        return False
    if isinstance(value, Mapping):
        pairs = value.items() if len(arguments) == 2 else ()
        return all(fits(key, arguments[0]) and fits(item, arguments[1]) for key, item in pairs)
    if isinstance(value, list | tuple | set | frozenset) and arguments:
        return all(any(fits(item, argument) for argument in arguments if argument is not ...) for item in value)
    return True


def may_convert(given: Any, wanted: Any) -> bool:
    """Whether a value of the type ``given`` may be meant for the type ``wanted``; True where that is not known.

    Only plain classes tell, and numbers of all kinds are one: a function that returns ``float`` may return ``3``.
    """
    if typing.get_origin(wanted) in (Union, types.UnionType):
        return any(may_convert(given, one) for one in typing.get_args(wanted))
    given, wanted = (typing.get_origin(kind) or kind for kind in (given, wanted))
    if given not in _ACCEPTED or wanted not in _ACCEPTED:
        return wanted is not type(None)
    numbers = Real in _ACCEPTED[given] and Real in _ACCEPTED[wanted]
    return numbers or issubclass(given, _ACCEPTED[wanted])
