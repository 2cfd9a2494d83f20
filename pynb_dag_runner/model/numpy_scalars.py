"""Recognise numpy's own scalar types without importing numpy."""

import sys

NUMPY_NUMBERS = {
    *("bool", "bool_", "float16", "float32", "float64", "complex64", "complex128"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("longlong", "ulonglong"),
}
NUMPY_SCALARS = NUMPY_NUMBERS | {"datetime64", "timedelta64", "str_", "bytes_"}


def is_numpy_scalar(value: object) -> bool:
    """Whether ``value`` is of one of numpy's own scalar types that have source code."""
    kind = type(value)
    known = kind.__module__ == "numpy" and kind.__name__ in NUMPY_SCALARS
    return known and getattr(sys.modules.get("numpy"), kind.__name__, None) is kind
