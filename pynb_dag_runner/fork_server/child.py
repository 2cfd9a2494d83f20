"""What a forked process does before its own work: it takes on the surroundings that a started one would have had."""

import ctypes
import importlib
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pynb_dag_runner.fork_server.wire import ForkRequest

ROOM_VARIABLE = "PYNB_DAG_RUNNER_ROOM"
"""Environment variable of a server: room in which its processes' own variables become visible to others."""
ROOM_BYTES = 64 * 1024
INLINE_BACKEND = "module://matplotlib_inline.backend_inline"
"""MPLBACKEND as an IPython kernel sets it where the user has not."""

_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""
_READ_AT_START = ("PYTHON", "LD_", "MALLOC_", "LC_", "LANG")
"""Variables that the interpreter and the C library read once, when a process starts."""
_READ_LATER = ("PYTHONBREAKPOINT",)
_OF_ATTEMPTS = ("PYNB_DAG_RUNNER_", "RAY_", "MLFLOW_", "JPY_", "JUPYTER_")
"""Variables that differ from worker to worker and attempt to attempt; no library reads them at its import for good."""
_OF_SHELLS = ("PWD", "OLDPWD", "SHLVL", "_", "SPT_NOENV")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a server's processes have from it.

    Attributes:
        pid: the server's.
        environment: with which its imports were made.
        room: address of the value of :data:`ROOM_VARIABLE`; None: there is no room.
        files: soft limit of open files, as it was before the server raised its own.
    """

    pid: int
    environment: Mapping[str, str]
    room: int | None
    files: int

    def obstacle(self, environment: Mapping[str, str], *, strict: bool) -> str | None:
        """Why a process with another environment can't come from here; None: it can.

        Args:
            strict: the user's own choice of modules was imported, and nobody knows which variables they read.
        """
        mine = {"MPLBACKEND": INLINE_BACKEND, **self.environment}
        wanted = {"MPLBACKEND": INLINE_BACKEND, **environment}
        differing = sorted(name for name in {*mine, *wanted} if mine.get(name) != wanted.get(name))
        counted = [name for name in differing if (_counts_for_preloaded if strict else _counts)(name)]
        return f"environment variables that are read once differ: {', '.join(counted)}" if counted else None


def surroundings(files: int) -> Surroundings:
    """Those of this process; takes the variable that makes room out of its environment."""
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    address = libc.getenv(ROOM_VARIABLE.encode())
    os.environ.pop(ROOM_VARIABLE, None)
    return Surroundings(pid=os.getpid(), environment=dict(os.environ), room=address, files=files)


def _counts(name: str) -> bool:
    return name.startswith(_READ_AT_START) and name not in _READ_LATER


def _counts_for_preloaded(name: str) -> bool:
    return not (name.startswith(_OF_ATTEMPTS) or name in _OF_SHELLS or name in _READ_LATER)


def become(request: ForkRequest, descriptors: Sequence[int], origin: Surroundings) -> list[int]:
    """Turn this fresh fork into what was asked for.

    Args:
        descriptors: the first one becomes standard output and error.
        origin: the server's.

    Returns:
        The other descriptors.
    """
    die_with(origin.pid)
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (origin.files, hard))
    log, *others = descriptors
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for descriptor in others:
        os.set_inheritable(descriptor, False)
    _stand_in_line(request.oom_score_adj)
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    if origin.room is not None:
        _show(request.environment, origin.room)
    os.chdir(request.cwd)
    sys.path.insert(0, request.cwd)  # as `python -m` does
    importlib.invalidate_caches()
    _draw_anew()
    return others


def die_with(parent: int) -> None:
    """Have the system end this process when the one that forked it, ``parent``, ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before the line above


def _stand_in_line(oom_score_adj: int) -> None:
    """Where memory is short this process goes when its asker would; anybody may raise the own score."""
    own = Path("/proc/self/oom_score_adj")
    if int(own.read_text()) < oom_score_adj:
        own.write_text(str(oom_score_adj))


def _show(environment: Mapping[str, str], room: int) -> None:
    """Write variables where ``/proc/PID/environ`` shows them, our own first: by those an attempt's processes are found.

    The system shows the memory in which the server was given its environment, whatever is set later. What does not fit
    is left out.
    """
    shown = b"\0"  # the end of the variable that makes room
    for name in sorted(environment, key=lambda name: not name.startswith("PYNB_DAG_RUNNER_")):
        entry = os.fsencode(f"{name}={environment[name]}") + b"\0"
        if len(shown) + len(entry) <= ROOM_BYTES:
            shown += entry
    ctypes.memmove(room, shown.ljust(ROOM_BYTES, b"\0"), ROOM_BYTES)


def _draw_anew() -> None:
    """Give random generators seeds of their own; Python's does it by itself."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
