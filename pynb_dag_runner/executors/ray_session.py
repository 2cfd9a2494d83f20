"""Starting a private Ray, or joining a cluster, within a bound; and leaving nothing of it behind.

The module ``ray`` comes in as an argument: it is imported in one file alone.
"""

import ctypes
import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from pynb_dag_runner.errors import ExecutorError
from pynb_dag_runner.executors import ray_joining, ray_start
from pynb_dag_runner.executors.ray_servers import Lifeline, Servers
from pynb_dag_runner.executors.ray_tokens import Tokens
from pynb_dag_runner.executors.watchdog import Watchdog
from pynb_dag_runner.processes.machine import usable_cpus
from pynb_dag_runner.processes.private_directory import PrivateDirectory

START_BOUND_S = 120.0
"""Ray normally starts in 3 to 10 s; it is known to hang for ever on some machines (ray issues 50474, 62883)."""

_SIGNAL_PERIOD_S = 0.01
"""Between two looks whether Ray has started; in between its core may have taken SIGTERM."""

_handler_of = ctypes.pythonapi.PyOS_getsig
_handler_of.argtypes, _handler_of.restype = [ctypes.c_int], ctypes.c_void_p
_set_handler = ctypes.pythonapi.PyOS_setsig
_set_handler.argtypes, _set_handler.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
"""What the operating system calls at a signal. ``signal.signal`` sets it in the main thread alone, and Ray is closed in
another."""

OBJECT_STORE_BYTES = 200 * 1024 * 1024
"""Values between functions only; Ray spills larger ones to disk. Its default, 30 % of the memory, overflows the 64 MB
of /dev/shm that a container has."""

_ADVICE = (
    "try --executor process, which runs tasks on this machine without Ray, or --ray-address with a running cluster"
)


class RaySession:
    """Ray, started for this process alone or joined. Close it.

    Args:
        ray: the module.
        directory: Ray's own is made below it.
        num_cpus: processors to share out here; None: as many as this process may use.
        address: an existing cluster, as ``ray.init`` takes it; None: start a private Ray.

    Attributes:
        joined: the cluster is not ours; its nodes may be other machines.

    Raises:
        ExecutorError: Ray does not start.
    """

    def __init__(self, ray: Any, directory: PrivateDirectory, *, num_cpus: int | None, address: str | None) -> None:
        if address is not None:
            ray_joining.check_address(address)
        self._ray = ray
        self.joined = address is not None
        self._tokens = Tokens(ray)
        self._servers = Servers()
        self._lifeline: Lifeline | None = None
        temporary = str(directory.path / "ray")  # which Ray opens to everybody
        self._watchdog = Watchdog(directory)
        self._thread = _StartThread(lambda: self._start(num_cpus, address, temporary), self._servers)
        try:
            self._thread.wait_until_started()
        except BaseException:
            if threading.current_thread() is threading.main_thread():
                signal.alarm(0)  # if Ray's core had SIGTERM just then, it is set to abort this process in 3 s
            self._leave()
            raise

    def _start(self, num_cpus: int | None, address: str | None, temporary: str) -> None:
        if address is not None:
            known = ray_joining.join(address, temporary, self._tokens)
            self._ray.init(address=known, log_to_driver=False, logging_level=logging.CRITICAL)
            here = self._ray.get_runtime_context()
            self._lifeline = Lifeline(here.gcs_address)
            self._servers.watch(ray_joining.node_servers(here.get_node_id()))
            return
        self._tokens.make_one()
        with ray_start.lean(self._ray):
            self._ray.init(
                address="local",  # never a cluster that happens to be around (RAY_ADDRESS, /tmp/ray)
                num_cpus=num_cpus or usable_cpus(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=temporary,
                _node_ip_address="127.0.0.1",
                _system_config=dict(ray_start.CONFIGURATION),
            )

    def lost(self) -> str | None:
        """Which of Ray's servers is gone, in words, so that nothing more can be expected of it; None: none is."""
        if (dead := self._servers.dead()) is not None:
            return f"Ray's {dead}"
        return self._lifeline.dead() if self._lifeline else None

    def close(self) -> None:
        """Disconnect; a private Ray and everything below it is ended and its directory removed."""
        handler = _handler_of(signal.SIGTERM)
        self._ray.shutdown()
        _set_handler(signal.SIGTERM, handler)  # its core took it from whoever had it, and the run has not ended yet
        self._thread.release()
        self._leave()

    def _leave(self) -> None:
        self._watchdog.close()
        self._tokens.give_back()
        self._servers.close()
        if self._lifeline:
            self._lifeline.close()


class _StartThread:
    """Starts Ray apart from the caller, so that a start that hangs can be given up, and lives on until released.

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

    def wait_until_started(self) -> None:
        """Raises:
        ExecutorError: Ray failed to start, or did not within the bound.
        """
        give_up = time.monotonic() + START_BOUND_S
        while not self._started.wait(_SIGNAL_PERIOD_S) and time.monotonic() < give_up:
            _take_signal_back()
            self._look_for_servers()
            if (dead := self._servers.dead()) is not None:
                raise ExecutorError(f"Ray can't start: its {dead}; {_ADVICE}")
        _take_signal_back()
        self._look_for_servers()
        if not self._started.is_set():
            raise ExecutorError(f"Ray did not start within {START_BOUND_S:g} s; {_ADVICE}")
        if self._failure is not None:
            self.release()
            if isinstance(self._failure, ExecutorError):
                raise self._failure
            kind, reason = type(self._failure).__name__, str(self._failure).strip().split("\n")[0]
            raise ExecutorError(f"Ray can't start: {kind}: {reason}; {_ADVICE}") from self._failure

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
