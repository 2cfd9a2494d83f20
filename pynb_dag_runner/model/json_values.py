"""Tell which Python values JSON holds without loss, and write outputs as JSON.

Standard library only: user code inside a kernel loads this through ``tracking``.

Lossless are None, bool, int, float, str, lists of such and dicts of such with str keys, of exactly these types: a tuple
would come back as a list and an IntEnum as an int. JSON has no NaN and no infinities (RFC 8259, section 6), so an
output holds them as ``{"$float": "NaN"}``, ``{"$float": "Infinity"}`` or ``{"$float": "-Infinity"}``.
"""

import math
from typing import Any

from pynb_dag_runner.model.text import short_repr

FLOAT_KEY = "$float"
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SCALARS = (type(None), bool, int, float, str)
_MAX_DEPTH = 100
"""Deeper nesting is refused: JSON readers recurse, and their limits differ."""
_MAX_DIGITS = 4300
"""Longer whole numbers are refused: neither Python nor pydantic reads them (docs.python.org, "Integer string conversion
length limitation")."""
_TOO_LONG = 10**_MAX_DIGITS


def json_problem(value: Any, where: str = "value", depth: int = 0) -> str | None:
    """Why JSON can't hold ``value`` without loss, as one phrase that names the place; None if it can.

    Args:
        value: anything.
        where: what to call the value in the answer, such as ``parameters['sizes']``.
    """
    if depth > _MAX_DEPTH:
        return f"{where} is nested more than {_MAX_DEPTH} levels deep"
    if type(value) is str:
        return text_problem(value, where)
    if type(value) is int:
        return digits_problem(value, where)
    if type(value) in _SCALARS:
        return None
    if type(value) is list:
        for index, item in enumerate(value):
            if problem := json_problem(item, f"{where}[{index}]", depth + 1):
                return problem
        return None
    if type(value) is dict:
        return _dict_problem(value, where, depth)
    kind = type(value)
    module = kind.__module__.removesuffix("._local")  # where Python 3.13, alone, has the classes of pathlib
    name = kind.__name__ if module == "builtins" else f"{module}.{kind.__name__}"
    return f"{where} is a {name}: {short_repr(value)}"


def text_problem(value: str, where: str) -> str | None:
    """Why no file can hold the text, as one phrase; None if one can."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return f"{where} holds half of a surrogate pair, which no file can hold"
    return None


def digits_problem(value: int, where: str) -> str | None:
    """Why a whole number can't be read again, as one phrase; None if it can."""
    return f"{where} is a whole number of more than {_MAX_DIGITS} digits" if abs(value) >= _TOO_LONG else None


def _dict_problem(value: dict[Any, Any], where: str, depth: int) -> str | None:
    for key, item in value.items():
        if type(key) is not str:
            return f"{where} has the key {short_repr(key)} of type {type(key).__name__}; JSON's keys are strings"
        if key == FLOAT_KEY:
            return f"{where} has the key {FLOAT_KEY!r}, which is reserved"
        if problem := json_problem(key, f"{where}: a key") or json_problem(item, f"{where}[{key!r}]", depth + 1):
            return problem
    return None


def encode(value: Any) -> Any:
    """The form in which an output is written; ``value`` must pass :func:`json_problem`."""
    if isinstance(value, float) and not math.isfinite(value):
        return {FLOAT_KEY: "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value


def decode(value: Any) -> Any:
    """The value that :func:`encode` was given."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(name := value.get(FLOAT_KEY), str) and name in _NON_FINITE:
            return _NON_FINITE[name]
        return {key: decode(item) for key, item in value.items()}
    return value
