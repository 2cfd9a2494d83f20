"""Make values mean the same in another process with another current directory."""

import copy
import dataclasses
import os
from collections import deque
from datetime import datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import pydantic
import pydantic_core

from pynb_dag_runner.model.nested_values import rebuilt


def settled(value: Any, base: Path) -> Any:
    """A copy of ``value`` with relative paths taken from ``base``, and time zones of the standard library.

    Args:
        value: looked into are collections, dataclasses and pydantic's models.
        base: an absolute directory.

    Raises:
        RecursionError: it is nested too deeply.
    """
    return _settled(value, base, {})


def _settled(value: Any, base: Path, made: dict[int, Any]) -> Any:
    """See :func:`settled`; ``made`` has the copies of what was met before, by ``id``: it may contain itself."""
    if isinstance(value, Path):
        # Path.expanduser raises where there is no such user; shells leave "~nobody" alone, and so does os.path's.
        absolute = Path(os.path.abspath(base / os.path.expanduser(value)))  # noqa: PTH111
        return value if absolute == value else absolute
    if isinstance(value, datetime | time) and isinstance(value.tzinfo, pydantic_core.TzInfo):
        offset = value.tzinfo.utcoffset(None)
        return value.replace(tzinfo=timezone(offset or timedelta()))
    if type(value) in (list, dict, tuple, set, frozenset):
        return rebuilt(value, lambda item: _settled(item, base, made), made)
    if id(value) in made:
        return made[id(value)]
    return _settled_object(value, base, made)


def _settled_object(value: Any, base: Path, made: dict[int, Any]) -> Any:
    """The same for what has a class of its own, of those that parameters are made of; ``value`` if nothing changes."""
    made[id(value)] = value
    before: dict[str, Any] = {}
    if isinstance(value, pydantic.BaseModel):
        before = {**value.__dict__, **(value.model_extra or {})}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        before = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, tuple | deque):
        items = [_settled(item, base, made) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return deque(items, value.maxlen) if isinstance(value, deque) else type(value)(*items)
    elif isinstance(value, dict):
        before = {key: item for key, item in value.items() if isinstance(key, str)}
    after = {name: _settled(old, base, made) for name, old in before.items()}
    # Lists are copies always: only another value is a change.
    changed = {name: new for name, new in after.items() if new is not before[name] and new != before[name]}
    if not changed:
        return value
    if isinstance(value, pydantic.BaseModel):
        made[id(value)] = value.model_copy(update=changed)
    else:
        made[id(value)] = copy.copy(value)
        for name, new in changed.items():
            if isinstance(value, dict):
                made[id(value)][name] = new
            else:
                object.__setattr__(made[id(value)], name, new)  # also of a frozen one
    return made[id(value)]
