"""What runs in a Ray worker: a relay between a job's host process and the driver.

The worker itself imports nothing of the job's: calls and messages stay pickled on the way, since their classes may be
in modules that only the host finds.
"""

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

from pynb_dag_runner.executors.base import Handle, JobEnded, JobEvent, JobKept, JobStarted, Limits, Pickled
from pynb_dag_runner.executors.hosts.supervisor import Host
from pynb_dag_runner.executors.hosts.variables import changed_since, with_variables
from pynb_dag_runner.processes.module_files import Imports
from pynb_dag_runner.processes.pickling import dumps
from pynb_dag_runner.processes.process_table import start_of

RESCUE_BOUND_S = 120.0
"""What a job's rescue may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a relay needs; calls are pickled, for the host to unpickle."""

    key: str
    imports: Imports
    shared: bool
    call: bytes
    rescue: bytes | None
    limits: Limits


FOLLOWS = Handle(None)
"""Of a kept value whose pickle is the relay's next word: it stays in Ray's store, and the driver does not fetch it."""

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


def made(
    request: Request, imports: Imports, values: list[bytes], new_host: Callable[[], Host]
) -> Iterator[JobEvent | bytes]:
    """Have one call made by the idle host or a new one; what it says, and its end if it died.

    Args:
        imports: how the call finds modules here.
        values: pickled arguments.
        new_host: makes a process for calls.
    """
    global _idle_host
    host, _idle_host = _idle_host, None
    if host is None or not host.takes(imports, shared=request.shared):
        if host is not None:
            host.close()
        host = _started(new_host)
    changed = changed_since(_host_environment)
    if changed:
        request = replace(request, call=dumps(with_variables(changed, request.call)))
    try:
        ended = yield from _relayed(host, request, imports, values)
        if not host.alive:
            host.close()  # and with it all that the job left behind, before its end is told
            host = _started(new_host)
            if request.rescue is not None:
                rescue = replace(request, call=request.rescue, limits=Limits(time_s=RESCUE_BOUND_S), shared=False)
                yield from _relayed(host, rescue, imports, [], begun=True)
        if ended.death is not None:
            yield ended
        if host.alive:
            _idle_host = host
    finally:
        if _idle_host is not host:
            host.kill()
            host.close()


def _relayed(
    host: Host, request: Request, imports: Imports, values: list[bytes], *, begun: bool = False
) -> Generator[JobEvent | bytes, None, JobEnded]:
    """What a host says of one call, but for its end, which is returned.

    Args:
        begun: the job has begun before, and this call is a part of it.
    """
    import ray

    host.begin(request.key, imports, request.call, values, request.limits, shared=request.shared)
    while True:
        match host.step(host.next_look_s()):
            case None:
                continue
            case JobEnded() as ended:
                return ended
            case JobStarted() as started:
                if not begun:
                    yield replace(started, node=ray.get_runtime_context().get_node_id())
            case JobKept(handle=Pickled(data)) as kept:
                yield replace(kept, handle=FOLLOWS)
                yield data
            case event:
                yield event


def send_signal(process: JobStarted, number: int) -> None:
    """Send a signal to a job's process on this machine, if that is still the one that began."""
    with contextlib.suppress(OSError):
        if process.ticks == start_of(process.pid):
            os.kill(process.pid, number)
