"""Starting or joining a Ray within a bound: in a thread of its own, so that a start that hangs can be given up."""

import ctypes
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pynb_dag_runner.errors import ExecutorError
from pynb_dag_runner.executors.on_ray.servers import Servers

START_BOUND_S = 120.0
"""Ray normally starts in 3 to 10 s; it is known to hang for ever on some machines (ray issues 50474, 62883)."""

ADVICE = "try --executor process, which runs tasks on this machine without Ray, or --ray-address with a running cluster"

_SIGNAL_PERIOD_S = 0.01
"""Between two looks whether Ray has started; in between its core may have taken SIGTERM."""

handler_of = ctypes.pythonapi.PyOS_getsig
handler_of.argtypes, handler_of.restype = [ctypes.c_int], ctypes.c_void_p
set_handler = ctypes.pythonapi.PyOS_setsig
set_handler.argtypes, set_handler.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
"""What the operating system calls at a signal. ``signal.signal`` sets it in the main thread alone, and Ray is closed in
another."""


class StartFailed(Exception):
    """Ray itself raised ``cause`` while it started; perhaps it starts in another way."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__()
        self.cause = cause
        self.reason = f"{type(cause).__name__}: {str(cause).strip().split(chr(10))[0]}"


@dataclass(frozen=True)
class Way:
    """A way to start or join a Ray.

    Attributes:
        connect: returns when Ray can be used.
        lacks: what it has not, of what the way before it has; a clause.
    """

    connect: Callable[[], None]
    lacks: str = ""


class StartThread:
    """Starts Ray apart from the caller, and lives on until released.

    Ray asks the kernel to end its processes when the *thread* that started them ends (PR_SET_PDEATHSIG), so the thread
    must outlive them; in return they die with this process however it dies.
    """

    def __init__(self, start: Callable[[], None], servers: Servers) -> None:
        self._start_ray = start
        self._servers = servers
        self._started = threading.Event()
        self._released = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ray-start", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._start_ray()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._failure = error
        self._started.set()
        self._released.wait()

    def wait_until_started(self, give_up: float, *, is_fastest: bool) -> None:
        """Wait for the end of the start.

        Args:
            give_up: when, in seconds of the monotonic clock.
            is_fastest: there are plainer ways to start it. A server may have ended since it was told what it does not
                know; then Ray raises an error.

        Raises:
            ExecutorError: Ray did not start until then, or lost a server.
            StartFailed: Ray raised an error.
        """
        while not self._started.wait(_SIGNAL_PERIOD_S) and time.monotonic() < give_up:
            _take_signal_back()
            self._look_for_servers()
            self._check_servers(is_fastest=is_fastest)
        _take_signal_back()
        self._look_for_servers()
        if not self._started.is_set():
            self._check_servers(is_fastest=False)
            raise ExecutorError(f"Ray did not start within {START_BOUND_S:g} s; {ADVICE}")
        if self._failure is not None:
            self.release()
            if isinstance(self._failure, ExecutorError):
                raise self._failure
            self._check_servers(is_fastest=True)
            raise StartFailed(self._failure)

    def _check_servers(self, *, is_fastest: bool) -> None:
        dead = self._servers.dead()
        if dead is not None and (self._servers.was_killed or not is_fastest):
            raise ExecutorError(f"Ray can't start: its {dead}; {ADVICE}")

    def _look_for_servers(self) -> None:
        if self._thread.native_id is not None:
            self._servers.watch_children_of(self._thread.native_id)

    def release(self) -> None:
        """Let the thread end; what Ray processes are left end with it."""
        self._released.set()


def _take_signal_back() -> None:
    """Ray's core takes SIGTERM for itself as it starts, and ends the process with an abort; Python knows who had it."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
