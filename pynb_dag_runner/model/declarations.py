"""How a class declares options: each field's annotation says what the option does and which values it takes.

Signatures, checks, records, tables of the documentation and options of the command line derive from that. Only the
standard library is imported here: the command line reads declarations to print its help.
"""

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

LARGEST_INTEGER = 2**63 - 1
"""A run folder holds whole numbers of 64 bits, as every database and file format does."""


class _SixtyFourBits:
    """Bounds for pydantic, which asks annotations by this method; to import pydantic takes longer than all of this."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return handler(source) | {"ge": -LARGEST_INTEGER - 1, "le": LARGEST_INTEGER}


StoredInteger = Annotated[int, _SixtyFourBits()]
"""A whole number of 64 bits. A reader refuses others."""


class Rule(Protocol):
    """Which values an option takes."""

    def problems(self, name: str, value: object, *, or_none: str) -> Iterator[str]:
        """What is wrong with ``value``, a phrase each.

        Args:
            or_none: `` or None`` where that is a value as well, else empty.
        """
        ...


@dataclass(frozen=True, slots=True)
class Number:
    """A number that 64 bits hold.

    Attributes:
        least: the smallest one.
        above: it must be greater than this, too.
        most: the largest one; None: any.
        is_whole: without a fraction.
    """

    least: float = 0
    above: float | None = None
    most: float | None = None
    is_whole: bool = False

    @property
    def words(self) -> str:
        """Such as ``a whole number from 0``."""
        kind = "a whole number" if self.is_whole else "a number"
        if self.above is not None:
            return f"{kind} above {self.above:g}" + ("" if self.most is None else f" and at most {self.most:.0f}")
        return f"{kind} from {self.least:g}" + ("" if self.most is None else f" to {self.most:g}")

    def takes(self, value: object) -> bool:
        """Whether ``value`` is such a number; callers may pass anything."""
        kinds = int if self.is_whole else int | float
        if not isinstance(value, kinds) or isinstance(value, bool) or not self.least <= value <= LARGEST_INTEGER:
            return False
        return (self.above is None or value > self.above) and (self.most is None or value <= self.most)

    def problems(self, name: str, value: object, *, or_none: str = "") -> Iterator[str]:
        """See :class:`Rule`."""
        if not self.takes(value):
            yield f"{name} must be {self.words}{or_none}, got {value!r}"


@dataclass(frozen=True, slots=True)
class Amounts:
    """Numbers by name."""

    each: Number = Number()

    def problems(self, name: str, value: object, *, or_none: str = "") -> Iterator[str]:
        """See :class:`Rule`."""
        if isinstance(value, Mapping):
            for key, amount in value.items():
                yield from self.each.problems(f"{name}[{key!r}]", amount)
        else:
            yield f"{name} must give amounts by name{or_none}, got {value!r}"


@dataclass(frozen=True, slots=True)
class Names:
    """Texts that are not empty.

    Attributes:
        what: whose names they are, such as ``metrics``.
    """

    what: str

    def problems(self, name: str, value: object, *, or_none: str = "") -> Iterator[str]:
        """See :class:`Rule`."""
        for item in value if isinstance(value, list | tuple) else (value,):
            if not (isinstance(item, str) and item):
                yield f"{name} must be names of {self.what}{or_none}, got {item!r}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these texts; the rule of every ``Literal``."""

    choices: tuple[str, ...]

    def problems(self, name: str, value: object, *, or_none: str = "") -> Iterator[str]:
        """See :class:`Rule`."""
        if value not in self.choices:
            *others, last = map(repr, self.choices)
            yield f"{name} must be {', '.join(others)} or {last}{or_none}, got {value!r}"


@dataclass(frozen=True, slots=True)
class OfType:
    """A value of this type; the rule of every text and every yes or no."""

    kind: type
    words: str

    def problems(self, name: str, value: object, *, or_none: str = "") -> Iterator[str]:
        """See :class:`Rule`."""
        if not isinstance(value, self.kind):
            yield f"{name} must be {self.words}{or_none}, got {value!r}"


@dataclass(frozen=True, slots=True)
class Option:
    """Stands in the annotation of a field that is an option.

    Attributes:
        help: what it does, as a phrase without a full stop.
        rule: which values it takes; None: what its type says, of texts, choices, and yes or no.
        more: sentences for the documentation.
        key: its name in a run folder, where that is another.
        flag: its name on the command line, where that is another.
        metavar: stands for its value in the command line's help.
    """

    help: str
    rule: Rule | None = None
    more: str = ""
    key: str = ""
    flag: str = ""
    metavar: str = ""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return handler(schema) | {"description": self.help}


@dataclass(frozen=True, slots=True)
class Declared:
    """An option as its field declares it.

    Attributes:
        type: without ``None`` and whatever else the annotation says.
        is_optional: ``None`` is a value as well.
        default: ``MISSING`` if it must be given.
        key: its name in a run folder.
        flag: its name on the command line, if it has an option there.
    """

    name: str
    type: Any
    is_optional: bool
    default: Any
    help: str
    rule: Rule | None
    more: str
    key: str
    flag: str
    metavar: str


def declared(kind: type) -> Mapping[str, Declared]:
    """The options that a class declares, by name, in the order of its fields."""
    hashable: Any = kind
    return _all_declared(hashable)


@cache
def _all_declared(kind: Any) -> Mapping[str, Declared]:
    hints = get_type_hints(kind, include_extras=True)
    found = {field.name: _declared(field, hints[field.name]) for field in fields(kind)}
    return types.MappingProxyType({name: option for name, option in found.items() if option is not None})


def _declared(field: "Field[Any]", hint: Any) -> Declared | None:
    option = next((item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Option)), None)
    if option is None:
        return None
    bare = without_extras(hint)
    parts = get_args(bare) if get_origin(bare) in (Union, types.UnionType) else (bare,)
    values = [part for part in parts if part is not types.NoneType]
    kind = values[0] if len(values) == 1 else bare
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return Declared(
        name=field.name,
        type=kind,
        is_optional=types.NoneType in parts,
        default=default,
        help=option.help,
        rule=option.rule or _rule_of(kind),
        more=option.more,
        key=option.key or field.name,
        flag=option.flag or f"--{field.name.replace('_', '-')}",
        metavar=option.metavar,
    )


def without_extras(hint: Any) -> Any:
    """A type as people read it, without what ``Annotated`` adds to it or to its parts."""
    if hasattr(hint, "__metadata__"):
        return without_extras(hint.__origin__)
    if get_origin(hint) in (Union, types.UnionType):
        first, *others = map(without_extras, get_args(hint))
        for other in others:
            first |= other
        return first
    return hint


def _rule_of(kind: Any) -> Rule | None:
    if get_origin(kind) is Literal:
        return OneOf(get_args(kind))
    return {bool: OfType(bool, "True or False"), str: OfType(str, "a text")}.get(kind)


def problems_of(options: object) -> list[str]:
    """What is wrong with each option's value for itself, a phrase each; empty when all is well."""
    found: list[str] = []
    for name, option in declared(type(options)).items():
        value = getattr(options, name)
        if option.rule is not None and not (value is None and option.is_optional):
            found += option.rule.problems(name, value, or_none=" or None" if option.is_optional else "")
    return found


def keys_of(kind: type) -> Callable[[str], str]:
    """Gives for an option's name its key in a run folder; for pydantic's ``alias_generator``."""

    def key(name: str) -> str:
        return declared(kind)[name].key

    return key
