"""Prepare a forked process for its work: give it the surroundings that a started process would have had."""

import contextlib
import ctypes
import gc
import importlib
import io
import os
import resource
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from pynb_dag_runner.processes import cpython_internals, marks
from pynb_dag_runner.processes.fork_server.wire import ForkRequest

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
WITHOUT_THREADS = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Of a server that imports what the user asked for: pyarrow, which pandas imports, starts a thread otherwise."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a server's processes have from it.

    Attributes:
        pid: the server's.
        environment: with which its imports were made.
        directory: where it was started.
        room: address of the value of :data:`ROOM_VARIABLE`; None: there is no room.
        files: soft limit of open files, as it was before the server raised its own.
        is_settled: modules are looked for from ``directory`` already, as in a process that was started there.
    """

    pid: int
    environment: Mapping[str, str]
    directory: str
    room: int | None
    files: int
    is_settled: bool = False

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
    return Surroundings(
        pid=os.getpid(), environment=dict(os.environ), directory=str(Path.cwd()), room=address, files=files
    )


def _counts(name: str) -> bool:
    return name.startswith(_READ_AT_START) and name not in _READ_LATER


def _counts_for_preloaded(name: str) -> bool:
    return not (name.startswith(_OF_ATTEMPTS) or name in (*_OF_SHELLS, *_READ_LATER, *WITHOUT_THREADS))


def read_at_imports(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a module may read for good at its import."""
    return {name: value for name, value in environment.items() if _counts_for_preloaded(name)}


def settle(request: ForkRequest, origin: Surroundings) -> Surroundings:
    """Be, in a child of the server, where processes for such requests would import.

    Variables of one attempt are not among what it imports with: it does so for others, too.
    """
    own = {name: value for name, value in origin.environment.items() if not _counts_for_preloaded(name)}
    parent = {"JPY_PARENT_PID": str(os.getppid())}  # in kernels there is one
    os.environ.clear()
    os.environ.update({**own, **parent, **read_at_imports(request.environment), **WITHOUT_THREADS})
    time.tzset()
    os.chdir(request.cwd)
    _look_from(request.cwd, origin.directory)
    importlib.invalidate_caches()
    return replace(origin, pid=os.getpid(), environment=dict(os.environ), directory=request.cwd, is_settled=True)


def take_surroundings(request: ForkRequest, descriptors: Sequence[int], origin: Surroundings) -> list[int]:
    """Turn this fresh fork into what was asked for.

    Args:
        descriptors: the first two become standard output and error.
        origin: the server's.

    Returns:
        The other descriptors.
    """
    die_with(origin.pid)
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (origin.files, hard))
    output, error, *others = descriptors
    os.dup2(output, 1)
    os.dup2(error, 2)
    os.close(output)
    os.close(error)
    for descriptor in others:
        os.set_inheritable(descriptor, False)
    _raise_oom_score(request.oom_score_adj)
    environment = {**request.environment, **_set_by_imports(request.environment, origin.environment)}
    os.environ.clear()
    os.environ.update(environment)
    marks.set_number_from(environment)
    time.tzset()
    if origin.room is not None:
        _publish_environment(request.environment, origin.room)
    os.chdir(request.cwd)
    if not origin.is_settled:
        _look_from(request.cwd, origin.directory)
    importlib.invalidate_caches()
    reseed_random()
    return others


def end_of(work: Callable[[], None]) -> NoReturn:
    """Do the work of this fork and end it, as an interpreter ends that has done its program.

    What the program made and imported is taken down; what it has from the server is not: that would copy all of it
    first, and is a third of a short process's time. So files that are still open there are flushed one by one.
    """
    shared = set(sys.modules)
    code = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = _exit_code(end)
    except BaseException:  # noqa: BLE001 - whatever left a program, its interpreter prints it and ends
        traceback.print_exc()
    finally:
        if not cpython_internals.can_end_by_steps():
            cpython_internals.end_plainly(code)
        steps = (cpython_internals.wait_for_threads, cpython_internals.run_exit_handlers)
        for last in (*steps, lambda: _take_down(shared, code), _flush):
            with contextlib.suppress(BaseException):  # how the work ended is known; a callback's mistake is printed
                last()
        os._exit(code)


def _take_down(shared: Set[str], code: int) -> None:
    """Let go of modules, as an interpreter does: finalizers run while the functions that they call are whole.

    Anything may stand among the modules, and say of itself that it is one: only what its type says counts. MLflow
    brings 1,700 modules, which take longer than a process gets to end: after a while it ends without the rest.

    Args:
        shared: names of those that stay.
        code: the process's exit code.
    """
    if threading.active_count() > 1:  # daemon threads would find their modules empty, and say so in the log
        return
    files = _plain_files()  # the collector shows nobody what it is about to free
    with contextlib.suppress(ValueError):  # only the main thread has signals

        def end(*_: object) -> None:
            for file in files:
                with contextlib.suppress(BaseException):
                    file.flush()
            with contextlib.suppress(BaseException):
                _flush()
            os._exit(code)

        signal.signal(signal.SIGALRM, end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        signal.setitimer(signal.ITIMER_REAL, _TAKE_DOWN_S)
    modules: list[object] = [sys.modules.pop(name, None) for name in list(sys.modules) if name not in shared]
    held = [weakref.ref(module) for module in modules if issubclass(type(module), ModuleType)]
    modules.clear()
    gc.collect()
    for reference in held:
        if (module := reference()) is not None:  # something of the server's holds it
            _names_in(module).clear()
    gc.collect()


_TAKE_DOWN_S = 0.5


def _plain_files() -> list[io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom]:
    """Files that are open for writing, as ``open`` makes them: what wraps them may have more to do at its end."""
    found = []
    for thing in gc.get_objects():
        with contextlib.suppress(ValueError, AttributeError):  # detached
            buffer = thing.buffer if type(thing) is io.TextIOWrapper else thing
            if type(buffer) in (io.BufferedWriter, io.BufferedRandom) and type(buffer.raw) is io.FileIO:
                found.append(thing)
    return found


_names_in: Callable[[object], dict[str, object]] = vars(ModuleType)["__dict__"].__get__
"""Of a module; to ask it for its ``__dict__`` loads one that is loaded when it is needed."""


_STREAM = io.IOBase.__mro__[1]
"""The class of all streams below the abstract one, which would have each metaclass that it asks run its own code."""


def _flush() -> None:
    """Write what open files have not written yet. Those of the server's are not among the collector's objects."""
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    for thing in (*streams, *gc.get_objects()):
        if issubclass(type(thing), _STREAM):
            with contextlib.suppress(BaseException):  # closed or broken: nobody can be told
                thing.flush()


def _exit_code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the system send this process a signal when the one that started it, ``parent``, ends: to the very thread.

    Raises:
        SystemExit: it has ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            sys.exit(1)  # it ended before the line above


def _raise_oom_score(oom_score_adj: int) -> None:
    """Where memory is short this process goes when its asker would; anybody may raise the own score."""
    own = Path("/proc/self/oom_score_adj")
    if int(own.read_text()) < oom_score_adj:
        own.write_text(str(oom_score_adj))


def _publish_environment(environment: Mapping[str, str], room: int) -> None:
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


def _set_by_imports(wanted: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Variables that modules of the server set when it imported them, as they would have in this process.

    Args:
        wanted: the environment of this process.
        before: that of the server, before its imports.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if before.get(name) != value and before.get(name) == wanted.get(name)
    }


def _look_from(cwd: str, before: str) -> None:
    """Look for modules as a program would that was started in ``cwd`` and not in ``before``, as this one was."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    moved = {os.path.abspath(os.path.join(before, entry)): os.path.join(cwd, entry) for entry in entries}  # noqa: PTH118
    sys.path[:] = [os.path.abspath(moved[entry]) if entry in moved else entry for entry in sys.path]
    if not sys.flags.safe_path:
        sys.path.insert(0, cwd)  # as `python -m` does


def make_ready(name: str) -> None:
    """Import a module, and have it prepare what a fork of this process needs, if it can."""
    prepare = getattr(importlib.import_module(name), "prepare", None)
    if prepare is not None:
        prepare()


def settle_memory() -> None:
    """Keep a collection in a forked process from copying every page that has an object of the server's."""
    gc.collect()
    gc.freeze()


def reseed_random() -> None:
    """Give random generators seeds of their own; Python's does it by itself."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
