"""The lines of ``events.jsonl``: what each is called and how it is read back."""

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import TypeAdapter

from pynb_dag_runner.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    RunEnded,
    RunResumed,
    RunStarted,
    TaskSettled,
    Warned,
)

EVENT_NAMES: Mapping[type[Event], str] = MappingProxyType(
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

ADAPTERS: Mapping[str, TypeAdapter[Event]] = MappingProxyType(
    {name: TypeAdapter(kind) for kind, name in EVENT_NAMES.items()}
)
"""A validator for each name under ``event``."""
