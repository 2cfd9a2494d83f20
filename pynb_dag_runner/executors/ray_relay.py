"""What runs in a Ray worker: a relay between a job's host process and the driver.

The worker itself imports nothing of the job's: calls and messages stay pickled on the way, since their classes may be
in modules that only the host finds.
"""

import contextlib
import json
import os
import socket
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pynb_dag_runner.executors.base import Limits, LimitsOver
from pynb_dag_runner.executors.hosts.frames import Frame
from pynb_dag_runner.executors.hosts.supervisor import Ended, Host
from pynb_dag_runner.executors.hosts.variables import changed_since, with_variables
from pynb_dag_runner.executors.project import ROOTS_VARIABLE, here, unpack
from pynb_dag_runner.executors.watchdog import Watchdog, is_watched
from pynb_dag_runner.processes.module_files import Imports, moved
from pynb_dag_runner.processes.pickling import dumps
from pynb_dag_runner.processes.private_directory import PrivateDirectory, is_same_user
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
    project: "SharedProject | None"


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedProject:
    """The project's files, in Ray's store."""

    archive: Any
    roots: tuple[Path, ...]
    inode: int


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

_cluster: "_ClusterWorker | None" = None
"""In a Ray worker of a cluster that we only joined: what a private Ray has from the driver."""


class _ClusterWorker:
    """Ends what hosts started when the worker is killed, and keeps the project's files meanwhile."""

    def __init__(self, ray: Any, project: SharedProject | None) -> None:
        self._directory = PrivateDirectory()
        self._watchdog = Watchdog(self._directory)
        self._places: dict[str, str] = {}
        if project is not None and not _is_here(project):
            self._places = unpack(ray.get(project.archive), project.roots, self._directory.path / "project")

    def imports(self, imports: Imports) -> Imports:
        """The driver's, with what stands here for its directories, as far as something does."""
        return moved(imports, lambda path: here(path, self._environment))

    @property
    def _environment(self) -> dict[str, str]:
        return {ROOTS_VARIABLE: json.dumps(self._places)}

    def host(self) -> Host:
        """A new host, which starts in the project."""
        return Host(directory=next(iter(self._places.values()), None), environment=self._environment)


def _is_here(project: SharedProject) -> bool:
    """Whether this machine shares the driver's disk."""
    with contextlib.suppress(OSError):
        return project.roots[0].stat().st_ino == project.inode
    return False


def relay(request: Request, inputs: list[Any]) -> Iterator[object]:
    """In the worker: have the call made by a host process, and pass on what it says.

    Call and messages stay pickled here: their classes may be in modules that only the host finds.
    """
    global _cluster
    import ray

    if not is_watched() and _cluster is None:
        _cluster = _ClusterWorker(ray, request.project)
    new_host = Host if _cluster is None else _cluster.host
    imports = request.imports if _cluster is None else _cluster.imports(request.imports)
    values = [ray.get(reference) for reference in inputs]
    yield from _made(request, imports, values, new_host)


def serve(address: str, token: bytes, inputs: list[Any], new_host: Callable[[], Host]) -> Iterator[bytes]:
    """In the worker of a private Ray: make one call after another for the driver, until that closes the connection.

    What calls say goes over the connection; what this yields are the values to keep, each after which follows the word
    of it there. For each call the last word is :class:`Ended`.

    Args:
        address: path of the driver's socket.
        token: tells the driver which lane this is.
        inputs: in Ray's store, for the first call.
        new_host: makes a process for calls.
    """
    global _idle_host
    import ray

    with socket.socket(socket.AF_UNIX) as connecting:
        connecting.connect(address)
        if not is_same_user(connecting):
            raise PermissionError(f"{address}: another user listens there")
        driver = Connection(connecting.detach())
    with driver:
        driver.send_bytes(token)
        if _idle_host is None:
            _idle_host = _started(new_host)  # it starts while the driver makes up its mind
        values = [ray.get(reference) for reference in inputs]
        while True:
            try:
                request: Request = driver.recv()
            except (EOFError, ConnectionError):
                return
            ended = Ended()
            messages = _made(request, request.imports, values, new_host)
            for message in messages:
                if isinstance(message, Ended):
                    ended = message
                    continue
                if isinstance(message, ValueFollows):
                    yield next(messages)
                driver.send(message)
            values = []
            driver.send(ended)


def _started(new_host: Callable[[], Host]) -> Host:
    global _host_environment
    _host_environment = os.environ.copy()
    return new_host()


def _made(request: Request, imports: Imports, values: list[bytes], new_host: Callable[[], Host]) -> Iterator[Any]:
    """Have one call made by the idle host or a new one; what it says, where it is before that."""
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
