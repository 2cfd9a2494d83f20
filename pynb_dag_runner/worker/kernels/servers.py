"""Find the fork server that kernels come from, or none."""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pynb_dag_runner.processes import marks
from pynb_dag_runner.processes.fork_server.client import ForkRefused, ForkServer, ServerPlace, ask
from pynb_dag_runner.processes.fork_server.wire import FIND, WAIT, ForkRequest
from pynb_dag_runner.processes.private_directory import SCRATCH_VARIABLE

_ENTRY = "pynb_dag_runner.worker.kernels.main"


_NONE: Mapping[str, str] = MappingProxyType({})
PRELOAD_BOUND_S = 300.0
"""How long attempts wait, before their clocks start, for modules to be imported; then they go on without."""
_AT_ONCE_S = 0.2


def start(
    preload: Sequence[str], below: Path, cwd: Path | None = None, environment: Mapping[str, str] = _NONE
) -> ForkServer:
    """Start a server with this process's environment.

    Args:
        preload: modules that notebooks import, to be imported before: once for each set of variables and directory
            that notebooks have.
        below: a private directory, for its sockets.
        cwd: import them now for notebooks that run there; None: when there is one.
        environment: those notebooks' variables beside this process's.
    """
    server = ForkServer(_ENTRY, preload=preload, environment=os.environ, below=below)
    if preload and cwd is not None:
        server.import_for(cwd, {**os.environ, **environment})
    return server


def until_imported(
    place: ServerPlace, cwd: Path, environment: Mapping[str, str], bound_s: float = PRELOAD_BOUND_S
) -> Iterator[str]:
    """Returns when the preload has been imported for a kernel with these surroundings, or can't be.

    Yields:
        What it waits for, once, if that takes a while.
    """
    request = ForkRequest(arguments=(), cwd=str(cwd), environment=environment, purpose=FIND)
    with contextlib.suppress(ForkRefused):  # which the kernel's start will hear again, and record
        server = ask(nearest(place).socket, request).found()
        asked = ask(server, replace(request, purpose=WAIT), bound_s=bound_s)
        with contextlib.closing(asked):
            if not asked.is_answered(_AT_ONCE_S):
                yield f"importing {', '.join(place.preload)} (preload)"
            asked.imported()


def nearest(place: ServerPlace) -> ServerPlace:
    """The driver's server, or this process's own where the driver is on another machine; it ends with this process."""
    return place if place.directory.is_dir() else _own(place.directory, place.preload)


@functools.lru_cache(maxsize=1)
def _own(directory: Path, preload: tuple[str, ...]) -> ServerPlace:
    """One for each driver, which ``directory`` stands for."""
    with marks.with_number(marks.run_of(marks.own())):  # it outlives the attempt that needs it first
        return _keep(start(preload, Path(os.environ[SCRATCH_VARIABLE])))


_kept: list[ForkServer] = []


def _keep(server: ForkServer) -> ServerPlace:
    while _kept:
        _kept.pop().close()
    _kept.append(server)
    return server.place
