"""Classes whose members are handed to notebooks, and what it means that a value arrived as it was.

Imported by the tests and by the kernels that they start; so this needs nothing but numpy.
"""

import enum
import math
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy


class Colour(enum.Enum):
    """With an alias, a value that compares like another, and a member whose name is no attribute."""

    RED = "red"
    CRIMSON = "red"  # noqa: PIE796 - an alias
    NOTHING = None
    name = (1, 2)  # type: ignore[assignment] # that is the point


class Level(enum.IntEnum):
    """Equal to plain numbers."""

    LOW = 1
    HIGH = 2


class Fruit(enum.StrEnum):
    """Equal to plain texts."""

    APPLE = enum.auto()


class Access(enum.Flag):
    """Members can be set together."""

    READ = enum.auto()
    WRITE = enum.auto()


class Outer:
    """Holds a class."""

    class Inner(enum.Enum):
        """Found in a class."""

        A = 1


Odd = enum.Enum("Odd", {"two words": 1, "class": 2})


def same(one: Any, other: Any) -> bool:
    """Whether two values are of the same type and equal, and so is all in them; a NaN is the same as a NaN."""
    if type(one) is not type(other):
        return False
    match one:
        case enum.Enum():
            return one is other
        case numpy.generic():
            return same_in_numpy(one, other)
        case float():
            both_nan = math.isnan(one) and math.isnan(other)
            return both_nan or (one == other and math.copysign(1, one) == math.copysign(1, other))
        case complex():
            return same(one.real, other.real) and same(one.imag, other.imag)
        case Decimal():
            return bool(one.as_tuple() == other.as_tuple())
        case list() | tuple():
            return len(one) == len(other) and all(map(same, one, other))
        case dict():
            return same(list(one.items()), list(other.items()))
        case set() | frozenset():
            return len(one) == len(other) and all(any(same(item, twin) for twin in other) for item in one)
        case datetime() | time():
            zones = same(one.tzinfo, other.tzinfo) and one.fold == other.fold
            return zones and one.replace(tzinfo=None) == other.replace(tzinfo=None)
        case ZoneInfo():
            return bool(one.key == other.key)
        case timezone():
            return repr(one) == repr(other)
        case date():
            return bool(one == other)
    return bool(one == other)


def same_in_numpy(one: numpy.generic, other: numpy.generic) -> bool:
    """The same for two of numpy's scalars."""
    if one.dtype != other.dtype:
        return False
    if one.dtype.kind == "c":
        return same_in_numpy(one.real, other.real) and same_in_numpy(one.imag, other.imag)
    if one.dtype.kind == "f" and numpy.isnan(one):
        return bool(numpy.isnan(other))
    return one.tobytes() == other.tobytes()
