"""The walk through nested values: find what is in dicts, lists, tuples and sets, and put other values in its place.

Standard library only. Nothing here exhausts Python's stack in search of what is not there, and a container inside
itself is walked once.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

_CONTAINERS = (Mapping, list, tuple, set, frozenset)
_SCALARS = frozenset((type(None), bool, int, float, str, bytes))
"""Of these there are many, and to ask an abstract class for each takes most of a walk's time."""

_Kind = TypeVar("_Kind")


def instances_in(value: Any, kind: type[_Kind] | tuple[type[_Kind], ...]) -> Iterator[_Kind]:
    """Every ``kind`` inside nested dicts (their keys, too), lists, tuples and sets, in order of appearance."""
    stack, seen = [value], set[int]()
    while stack:
        item = stack.pop()
        if isinstance(item, kind):
            yield item
        elif _is_container(item) and id(item) not in seen:
            seen.add(id(item))
            stack.extend(reversed(_parts(item)))


def replaced(value: Any, kind: type[_Kind] | tuple[type[_Kind], ...], replace: Callable[[_Kind], Any]) -> Any:
    """A copy of ``value`` in which ``replace(item)`` stands for each ``kind``; ``value`` itself if there is none.

    Containers with nothing to replace inside are not copied, and keep whatever type they have.
    """
    holders = _holders(value, kind)
    made: dict[int, Any] = {}

    def part(item: Any) -> Any:
        if isinstance(item, kind):
            return replace(item)
        return rebuilt(item, part, made) if id(item) in holders else item

    return part(value)


def rebuilt(value: Any, part: Callable[[Any], Any], made: dict[int, Any]) -> Any:
    """A new container with ``part(item)`` for each item of ``value``: a dict, list, tuple or set.

    Args:
        part: makes the new items; calls this function for containers among them.
        made: what was made so far, by ``id`` of what it was made of: a list or dict may contain itself.
    """
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, Mapping):
        table: dict[Any, Any] = {}
        made[id(value)] = table
        table.update((part(key), part(item)) for key, item in value.items())
        return table
    if type(value) is list:
        items: list[Any] = []
        made[id(value)] = items
        items.extend(part(item) for item in value)
        return items
    new = [part(item) for item in value]
    return type(value)(*new) if hasattr(value, "_fields") else type(value)(new)


def _holders(value: Any, kind: Any) -> set[int]:
    """The ``id`` of each container in ``value`` that has a ``kind`` somewhere inside."""
    parents: dict[int, list[int]] = {}
    found: list[int] = []
    stack, seen = [value], set[int]()
    while stack:
        container = stack.pop()
        if not _is_container(container) or isinstance(container, kind) or id(container) in seen:
            continue
        seen.add(id(container))
        for item in _parts(container):
            if isinstance(item, kind):
                found.append(id(container))
            elif _is_container(item):
                parents.setdefault(id(item), []).append(id(container))
                stack.append(item)
    holders = set[int]()
    while found:
        if (holder := found.pop()) not in holders:
            holders.add(holder)
            found.extend(parents.get(holder, ()))
    return holders


def _is_container(value: Any) -> bool:
    return type(value) not in _SCALARS and isinstance(value, _CONTAINERS)


def _parts(container: Any) -> list[Any]:
    if isinstance(container, Mapping):
        return [part for pair in container.items() for part in pair]
    return list(container)
