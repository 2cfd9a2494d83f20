"""Starting a private Ray, or joining a cluster, within a bound; and leaving nothing of it behind.

The module ``ray`` comes in as an argument: it is imported in one file alone.
"""

import ctypes
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pynb_dag_runner.errors import ExecutorError
from pynb_dag_runner.executors import ray_start
from pynb_dag_runner.executors.machine import usable_cpus
from pynb_dag_runner.executors.watchdog import Watchdog
from pynb_dag_runner.private_directory import PrivateDirectory

START_BOUND_S = 120.0
"""Ray normally starts in 3 to 10 s; it is known to hang for ever on some machines (ray issues 50474, 62883)."""

ADDRESS_BOUND_S = 10.0
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
            _check_address(address)
        self._ray = ray
        self.joined = address is not None
        temporary = str(directory.path / "ray")  # which Ray opens to everybody
        self._watchdog = Watchdog(directory)
        self._thread = _StartThread(lambda: self._start(num_cpus, address, temporary))
        try:
            self._thread.wait_until_started()
        except BaseException:
            if threading.current_thread() is threading.main_thread():
                signal.alarm(0)  # if Ray's core had SIGTERM just then, it is set to abort this process in 3 s
            self._watchdog.close()
            raise

    def _start(self, num_cpus: int | None, address: str | None, temporary: str) -> None:
        if address is not None:
            if address != "auto" and not _has_node_of(address):
                _join(address, temporary)
            self._ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
            return
        # A token of our own, for this run alone: without one Ray writes a lasting token into the home directory.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # Unset, Ray asks for the token; "disabled" would have it run whatever any user of this machine sends.
        os.environ.pop("RAY_AUTH_MODE", None)
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

    def close(self) -> None:
        """Disconnect; a private Ray and everything below it is ended and its directory removed."""
        handler = _handler_of(signal.SIGTERM)
        self._ray.shutdown()
        _set_handler(signal.SIGTERM, handler)  # its core took it from whoever had it, and the run has not ended yet
        self._thread.release()
        self._watchdog.close()


def _check_address(address: str) -> None:
    """Refuse an address that nothing answers at: Ray itself would try for minutes, and say so on the terminal.

    Raises:
        ExecutorError: with what was expected.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ExecutorError(
            f"Ray address {address!r}: expected host:port of a cluster's head node, or 'auto' for this machine's"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ADDRESS_BOUND_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ExecutorError(f"no Ray cluster answers at {address}: {reason}") from error


class _StartThread:
    """Starts Ray apart from the caller, so that a start that hangs can be given up, and lives on until released.

    Ray asks the kernel to end its processes when the *thread* that started them ends (PR_SET_PDEATHSIG), so the thread
    must outlive them; in return they die with this process however it dies.
    """

    def __init__(self, start: Callable[[], None]) -> None:
        self._start_ray = start
        self._started = threading.Event()
        self._released = threading.Event()
        self._failure: BaseException | None = None
        threading.Thread(target=self._run, name="ray-start", daemon=True).start()

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
        _take_signal_back()
        if not self._started.is_set():
            raise ExecutorError(f"Ray did not start within {START_BOUND_S:g} s; {_ADVICE}")
        if self._failure is not None:
            kind, reason = type(self._failure).__name__, str(self._failure).strip().split("\n")[0]
            self.release()
            raise ExecutorError(f"Ray can't start: {kind}: {reason}; {_ADVICE}") from self._failure

    def release(self) -> None:
        """Let the thread end; what Ray processes are left end with it."""
        self._released.set()


def _take_signal_back() -> None:
    """Ray's core takes SIGTERM for itself as it starts, and ends the process with an abort; Python knows who had it."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _has_node_of(address: str) -> bool:
    """Whether a node of the cluster at ``address`` runs on this machine.

    Without one ``ray.init`` fails after a minute, or aborts the whole process (both seen with Ray 2.60).
    """
    import psutil  # only where a cluster is joined

    host, _, port = address.rpartition(":")
    wanted = {f"{found[4][0]}:{port}" for found in socket.getaddrinfo(host.strip("[]"), int(port))} | {address}
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet":
            options = dict(option.partition("=")[::2] for option in process.info["cmdline"] or [])
            if options.get("--gcs-address", options.get("--gcs_address")) in wanted:
                return True
    return False


def _join(address: str, temporary: str) -> None:
    """Make this machine a node of the cluster that runs no tasks; the watchdog ends it.

    Raises:
        ExecutorError: it can't join.
    """
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={address}", "--num-cpus=0"]
    command += ["--num-gpus=0", f"--object-store-memory={OBJECT_STORE_BYTES}", f"--temp-dir={temporary}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=START_BOUND_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ExecutorError(
            f"this machine did not join the Ray cluster at {address} within {error.timeout:g} s"
        ) from None
    if done.returncode != 0:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        reason = said[-1] if said else f"exit code {done.returncode}"
        raise ExecutorError(f"this machine can't join the Ray cluster at {address}: {reason}")
