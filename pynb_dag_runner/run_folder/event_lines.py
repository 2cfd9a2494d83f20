"""Name the lines of ``events.jsonl``, and read them back."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from pydantic import TypeAdapter

from pynb_dag_runner.events import (
    AttemptEnded,
    AttemptStarted,
    RecordedEvent,
    RunEnded,
    RunResumed,
    RunStarted,
    TaskSettled,
    Warned,
)

EVENT_NAMES: Mapping[type[RecordedEvent], str] = MappingProxyType(
    {
        RunStarted: "run_started",
        RunResumed: "run_resumed",
        AttemptStarted: "attempt_started",
        AttemptEnded: "attempt_ended",
        TaskSettled: "task_settled",
        Warned: "warned",
        RunEnded: "run_ended",
    }
)

KINDS: Mapping[str, type[RecordedEvent]] = MappingProxyType({name: kind for kind, name in EVENT_NAMES.items()})
"""What each name under ``event`` stands for."""


@cache
def adapter(name: str) -> TypeAdapter[RecordedEvent]:
    """The validator for a name of :data:`KINDS`. Made when it is asked for: most runs have no use for some."""
    return TypeAdapter(KINDS[name])
