"""The fork server that kernels come from: whose it is, and where there is none."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from pynb_dag_runner import marks
from pynb_dag_runner.fork_server.child import WITHOUT_THREADS
from pynb_dag_runner.fork_server.client import ForkServer, ServerPlace
from pynb_dag_runner.private_directory import SCRATCH_VARIABLE

_NO_THREADS = {
    # Tasks have one thread per processor that they hold, most often one; with more, numpy starts threads at its import.
    "OMP_NUM_THREADS": "1",
    **WITHOUT_THREADS,
}
"""What keeps libraries from starting threads when they are imported: no fork survives those."""

_ENTRY = "pynb_dag_runner.work.kernels.main"


def start(preload: Sequence[str], below: Path) -> ForkServer:
    """Start a server with this process's environment.

    Args:
        preload: modules that notebooks import, to be imported before.
        below: a private directory, for its sockets.
    """
    return ForkServer(_ENTRY, preload=preload, environment={**_NO_THREADS, **os.environ}, below=below)


def nearest(place: ServerPlace) -> ServerPlace:
    """The driver's server, or this process's own where the driver is on another machine; it ends with this process."""
    return place if place.directory.is_dir() else _own(place.directory, place.preload)


@functools.lru_cache(maxsize=1)
def _own(directory: Path, preload: tuple[str, ...]) -> ServerPlace:
    """One for each driver, which ``directory`` stands for."""
    with marks.bearing(marks.run_of(marks.own())):  # it outlives the attempt that needs it first
        return _keep(start(preload, Path(os.environ[SCRATCH_VARIABLE])))


_kept: list[ForkServer] = []


def _keep(server: ForkServer) -> ServerPlace:
    while _kept:
        _kept.pop().close()
    _kept.append(server)
    return server.place
