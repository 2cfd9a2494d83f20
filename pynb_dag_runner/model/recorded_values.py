"""Write a value down for people: as JSON where that is possible, else as its ``repr``."""

from fractions import Fraction
from typing import Any

import pydantic_core

from pynb_dag_runner.model.numpy_scalars import is_numpy_scalar
from pynb_dag_runner.model.text import short_repr

_MAX_REPR_CHARACTERS = 500


def recorded(value: Any) -> Any:
    """How parameters are written to the run folder: JSON to be read by people, ``repr`` where nothing else fits.

    A function can receive what JSON can't hold at all: bytes that are no UTF-8, a list inside itself, an object whose
    ``repr`` raises. Then a cut ``repr`` of the whole parameter stands for it: writing it down must not fail its task.
    """
    try:
        return _as_json(value)
    except ValueError:
        if type(value) is not dict:
            return short_repr(value, _MAX_REPR_CHARACTERS)
        return {str(name): _as_json_or_repr(item) for name, item in value.items()}


def _as_json_or_repr(value: Any) -> Any:
    try:
        return _as_json(value)
    except ValueError:
        return short_repr(value, _MAX_REPR_CHARACTERS)


def _as_json(value: Any) -> Any:
    """``value`` as it comes back from JSON. pydantic-core reports whatever is wrong as a ValueError."""
    return pydantic_core.from_json(pydantic_core.to_json(value, inf_nan_mode="strings", fallback=_shown))


def _shown(value: Any) -> Any:
    """What stands for a value of a type that pydantic does not know; numbers from numpy are numbers like others."""
    if isinstance(value, Fraction):
        return str(value)  # as pydantic 2.13 and newer write it
    if not is_numpy_scalar(value):
        return repr(value)
    plain = value.item()
    return plain if isinstance(plain, bool | int | float | complex) and value.dtype.kind != "m" else str(value)
