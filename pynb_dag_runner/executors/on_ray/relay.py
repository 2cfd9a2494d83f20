"""What runs in a Ray worker: a relay between a job's host process and the driver.

The worker itself imports nothing of the job's: calls and messages stay pickled on the way, since their classes may be
in modules that only the host finds.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from pynb_dag_runner.executors.base import Limits, LimitsOver
from pynb_dag_runner.executors.hosts.frames import Frame
from pynb_dag_runner.executors.hosts.supervisor import Ended, Host
from pynb_dag_runner.executors.hosts.variables import changed_since, with_variables
from pynb_dag_runner.processes.module_files import Imports
from pynb_dag_runner.processes.pickling import dumps
from pynb_dag_runner.processes.process_table import start_of

RESCUE_BOUND_S = 120.0
"""What a job's rescue may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a relay needs; calls are pickled, for the host to unpickle."""

    imports: Imports
    shared: bool
    call: bytes
    rescue: bytes | None
    limits: Limits


@dataclass(frozen=True, slots=True)
class Began:
    """A relay's first message: where the job's process is, and when that started, in ticks."""

    node: str
    host: str
    pid: int
    start: int | None


@dataclass(frozen=True, slots=True)
class ValueFollows:
    """A relay's message before a kept value, which the driver does not fetch."""


_idle_host: Host | None = None
"""In a Ray worker: its host, kept between tasks, since starting one and importing the job's modules takes a while."""

_host_environment: dict[str, str] = {}
"""Of the worker when its host was started; for each task Ray sets those that name its GPUs."""


def warm_up(new_host: Callable[[], Host]) -> None:
    """Start a host before there is a job, if there is none.

    Args:
        new_host: makes a process for calls.
    """
    global _idle_host
    if _idle_host is None:
        _idle_host = _started(new_host)


def _started(new_host: Callable[[], Host]) -> Host:
    global _host_environment
    _host_environment = os.environ.copy()
    return new_host()


def made(request: Request, imports: Imports, values: list[bytes], new_host: Callable[[], Host]) -> Iterator[Any]:
    """Have one call made by the idle host or a new one; what it says, where it is before that.

    Args:
        imports: how the call finds modules here.
        values: pickled arguments.
        new_host: makes a process for calls.
    """
    global _idle_host
    import ray

    host, _idle_host = _idle_host, None
    if host is None or not host.takes(imports, shared=request.shared):
        if host is not None:
            host.close()
        host = _started(new_host)
    changed = changed_since(_host_environment)
    call = dumps(with_variables(changed, request.call)) if changed else request.call
    try:
        yield Began(ray.get_runtime_context().get_node_id(), socket.gethostname(), host.pid, start_of(host.pid))
        ended = yield from _relayed(host, imports, call, values, request.limits, shared=request.shared)
        if not host.alive:
            host.close()  # and with it all that the job left behind, before its end is told
            host = _started(new_host)
            if request.rescue is not None:
                yield from _relayed(host, imports, request.rescue, [], Limits(time_s=RESCUE_BOUND_S))
        if ended.death is not None:
            yield ended
        if host.alive:
            _idle_host = host
    finally:
        if _idle_host is not host:
            host.kill()
            host.close()


def _relayed(
    host: Host, imports: Imports, call: bytes, values: list[bytes], limits: Limits, *, shared: bool = False
) -> Generator[object, None, Ended]:
    host.begin(imports, call, values, limits, shared=shared)
    while True:
        match host.step(host.next_look_s()):
            case (Frame.STARTED, _) | None:
                continue
            case (Frame.UNLIMITED, _):
                yield LimitsOver()
            case (Frame.KEPT, content):
                yield ValueFollows()
                yield content
            case (_, content):
                yield content
            case Ended() as ended:
                return ended


def send_signal(process: Began, number: int) -> None:
    """Send a signal to a job's process on this machine, if that is still the one that began."""
    with contextlib.suppress(OSError):
        if process.start == start_of(process.pid):
            os.kill(process.pid, number)
