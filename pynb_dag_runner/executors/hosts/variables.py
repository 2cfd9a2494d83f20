"""Environment variables of one job, in a process that may have been started for other jobs and with other variables."""

import os
from collections.abc import Callable, Generator, Mapping
from functools import partial

from pynb_dag_runner.processes.environment import Variables, environment_with
from pynb_dag_runner.processes.pickling import loads


def changed_since(before: Mapping[str, str]) -> Variables:
    """What is another value in this process now than it was in ``before``."""
    now = os.environ.copy()
    return {name: now.get(name) for name in {*before, *now} if now.get(name) != before.get(name)}


def with_variables(
    variables: Variables, call: Callable[..., Generator[object]] | bytes
) -> Callable[..., Generator[object]]:
    """A job's call, or its pickle, with variables of its own; the process has its former ones again afterwards."""
    return partial(_made_with, dict(variables), call)


def _made_with(
    variables: Variables, call: Callable[..., Generator[object]] | bytes, *inputs: object
) -> Generator[object]:
    with environment_with(variables):
        made = loads(call) if isinstance(call, bytes) else call
        yield from made(*inputs)
