"""Jobs on Ray. The only file that imports ray; Ray's errors become :class:`JobEnded` here.

A job is a Ray task whose generator streams messages to the driver as they are yielded. Ray never retries
(``max_retries=0``): a silent second run would write over the first one's files.
"""

import contextlib
import logging
import os
import secrets
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle

from pynb_dag_runner.errors import ExecutorError
from pynb_dag_runner.executors.base import (
    Handle,
    Job,
    JobCancelled,
    JobEnded,
    JobEvent,
    JobKept,
    JobMessage,
    JobStarted,
    Keep,
    Resources,
)
from pynb_dag_runner.executors.cancellation import CANCEL_SIGNAL, Cancellation
from pynb_dag_runner.executors.watchdog import Watchdog

START_BOUND_S = 120.0
"""Ray normally starts in 3 to 10 s; it is known to hang for ever on some machines (ray issues 50474, 62883)."""

ADDRESS_BOUND_S = 10.0

OBJECT_STORE_BYTES = 200 * 1024 * 1024
"""Values between functions only; Ray spills larger ones to disk. Its default, 30 % of the memory, overflows the 64 MB
of /dev/shm that a container has."""

_WINDOW_PER_CPU = 8
"""Jobs handed to Ray beyond what can run: enough to hide the hand-over, few enough that waiting on them stays cheap."""

_KEPT = "pynb_dag_runner.kept"
_DEATHS = {
    "OutOfMemoryError": "its worker was ended because the node ran out of memory",
    "NodeDiedError": "the node that it ran on died",
    "ObjectLostError": "a value that it needs was lost with the node that held it",
}

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def _import_ray() -> Any:
    import ray

    return ray


class RayExecutor:
    """Starts a private Ray on this machine, or joins a cluster.

    Args:
        num_cpus: processors to share out here; None: as many as this process may use.
        address: an existing cluster, as ``ray.init`` takes it; None: start one for this executor alone.

    Raises:
        ExecutorError: Ray does not start.
    """

    in_process = False

    def __init__(self, *, num_cpus: int | None = None, address: str | None = None) -> None:
        if address is not None:
            _check_address(address)
        self._ray = _import_ray()
        if self._ray.is_initialized():
            raise ExecutorError("Ray is already running in this process; call ray.shutdown() before running a pipeline")
        # Short: Ray's socket paths below it must stay under the 107 bytes of AF_UNIX (ray issue 7724).
        temporary = tempfile.mkdtemp(prefix="pdr-", dir="/tmp")
        self._watchdog = Watchdog(temporary)
        self._thread = _StartThread(lambda: self._start(num_cpus, address, temporary))
        try:
            self._thread.wait_until_started()
        except BaseException:
            self._watchdog.close()
            raise
        _silence_ray()
        self._capacity = self._read_capacity()
        self._window = max(16, int(_WINDOW_PER_CPU * self._capacity.num_cpus))
        self._waiting: dict[Resources, deque[Job]] = {}
        self._in_flight: dict[Resources, int] = {}
        self._jobs: dict[Any, Job] = {}
        self._generators: dict[str, Any] = {}
        self._processes: dict[str, tuple[str, int]] = {}
        self._next_is_kept: set[str] = set()
        self._cancelled: set[str] = set()
        self._dropped: list[JobEvent] = []
        self._perform = self._ray.remote(max_retries=0, num_returns="streaming")(_perform)

    def _start(self, num_cpus: int | None, address: str | None, temporary: str) -> None:
        if address is not None:
            self._ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            return
        # A token of our own, for this run alone: without one Ray writes a lasting token into the home directory.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        self._ray.init(
            address="local",  # never a cluster that happens to be around (RAY_ADDRESS, /tmp/ray)
            num_cpus=num_cpus or usable_cpus(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=temporary,
        )

    def _read_capacity(self) -> Resources:
        found = dict(self._ray.cluster_resources())
        return Resources(
            num_cpus=found.pop("CPU", 0.0),
            num_gpus=found.pop("GPU", 0.0),
            memory=found.pop("memory", 0.0),
            custom={name: amount for name, amount in found.items() if not name.startswith(("node:", "object_store"))},
        )

    def capacity(self) -> Resources:
        """What the nodes have together when the executor starts."""
        return self._capacity

    def submit(self, job: Job) -> None:
        """Queue a job. Each shape of resources has its own window, so that jobs that wait for a GPU block no others."""
        shape = job.resources
        if self._in_flight.get(shape, 0) < self._window:
            self._hand_over(job)
        else:
            self._waiting.setdefault(shape, deque()).append(job)

    def _hand_over(self, job: Job) -> None:
        needed = job.resources
        options: dict[str, Any] = {
            "num_cpus": needed.num_cpus,
            "num_gpus": needed.num_gpus,
            "resources": dict(needed.custom),
            "name": job.key,
        }
        if needed.memory:
            options["memory"] = needed.memory
        search_path = [entry for entry in sys.path if entry]
        generator = self._perform.options(**options).remote(search_path, cloudpickle.dumps(job.call), list(job.inputs))
        self._jobs[generator] = job
        self._generators[job.key] = generator
        self._in_flight[needed] = self._in_flight.get(needed, 0) + 1

    def wait(self, timeout_s: float) -> list[JobEvent]:
        """Everything that has arrived; the wait is Ray's own and ends with the first arrival."""
        events, self._dropped = self._dropped, []
        if events or not self._jobs:
            if not events:
                threading.Event().wait(timeout_s)
            return events
        ready, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=timeout_s, fetch_local=False)
        if ready:
            # The first arrival wakes us; what else is there already comes along without another round.
            ready, _ = self._ray.wait(list(self._jobs), num_returns=len(self._jobs), timeout=0, fetch_local=False)
        found = (self._next_event(generator) for generator in ready)
        return [event for event in found if event is not None]

    def _next_event(self, generator: Any) -> JobEvent | None:
        job = self._jobs[generator]
        try:
            reference = next(generator)
            if job.key in self._next_is_kept:
                self._next_is_kept.discard(job.key)
                return JobKept(key=job.key, handle=Handle(reference))
            item = self._ray.get(reference)
        except StopIteration:
            return self._end(generator, death=None)
        except Exception as error:  # noqa: BLE001 - every error of Ray's, and of a job that broke its contract, ends the job
            return self._end(generator, death=_death(error))
        if isinstance(item, JobStarted):
            self._processes[job.key] = (item.host, item.pid)
            return JobStarted(key=job.key, host=item.host, pid=item.pid)
        if item == _KEPT:
            self._next_is_kept.add(job.key)
            return None
        return JobMessage(key=job.key, message=item)

    def _end(self, generator: Any, death: str | None) -> JobEnded:
        job = self._jobs.pop(generator)
        self._generators.pop(job.key)
        self._processes.pop(job.key, None)
        self._in_flight[job.resources] -= 1
        waiting = self._waiting.get(job.resources)
        if waiting:
            self._hand_over(waiting.popleft())
        return JobEnded(key=job.key, death=death, cancelled=job.key in self._cancelled)

    def cancel(self, key: str, *, force: bool = False) -> None:
        """Signal the job's process if it runs on this host, else leave it to Ray."""
        self._cancelled.add(key)
        for waiting in self._waiting.values():
            for job in waiting:
                if job.key == key:
                    waiting.remove(job)
                    self._dropped.append(JobEnded(key=key, cancelled=True))
                    return
        generator = self._generators.get(key)
        if generator is None:
            return
        host, pid = self._processes.get(key, ("", 0))
        if host == socket.gethostname() and not force:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, CANCEL_SIGNAL)
        else:
            self._ray.cancel(generator, force=force)

    def close(self) -> None:
        """Disconnect; a private Ray and everything below it is ended and its directory removed."""
        self._jobs.clear()
        self._generators.clear()
        self._waiting.clear()
        self._ray.shutdown()
        self._thread.release()
        self._watchdog.close()


def usable_cpus() -> int:
    """Processors that this process may use: its affinity, and the limit of its control group if that is lower.

    Ray counts the host's processors in some containers (ray issue 27958).
    """
    affinity = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(affinity, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return affinity


def _perform(search_path: list[str], payload: bytes, inputs: list[Any]) -> Iterator[object]:
    """In the worker: make the call and stream what it yields.

    Call and inputs are unpickled here, not by Ray on the way in: their classes may be in modules beside the pipeline's
    file, which the worker finds only with the driver's ``search_path``.
    """
    ray = _import_ray()
    sys.path[:0] = [entry for entry in search_path if entry not in sys.path]
    cancellation = Cancellation()
    try:
        yield JobStarted(key="", host=socket.gethostname(), pid=os.getpid())
        messages = cloudpickle.loads(payload)(*(ray.get(reference) for reference in inputs))
        while True:
            message = cancellation.advance(messages)
            if isinstance(message, Keep):
                yield _KEPT
                yield message.value
            else:
                yield message
    except (StopIteration, JobCancelled):
        return
    finally:
        cancellation.over()


def _death(error: Exception) -> str:
    """How a job's process died, for people."""
    kind = type(error).__name__
    for name, words in _DEATHS.items():
        if name in kind:
            return words
    if "WorkerCrashed" in kind or "TaskCancelled" in kind:
        return "its worker process died"
    return f"Ray reports {kind}: {error}"


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
        advice = "try --executor inline, or --ray-address with a running cluster"
        if not self._started.wait(START_BOUND_S):
            raise ExecutorError(f"Ray did not start within {START_BOUND_S:g} s; {advice}")
        if self._failure is not None:
            kind, reason = type(self._failure).__name__, str(self._failure).strip().split("\n")[0]
            self.release()
            raise ExecutorError(f"Ray can't start: {kind}: {reason}; {advice}") from self._failure

    def release(self) -> None:
        """Let the thread end; what Ray processes are left end with it."""
        self._released.set()


def _silence_ray() -> None:
    """Stop Ray's thread that prints the raylet's messages to standard output; their content reaches us as errors.

    Ray has no setting for it, so this uses two private names; without them the messages are merely printed.
    """
    with contextlib.suppress(AttributeError, ImportError):
        from ray._private import worker

        global_worker: Any = worker.global_worker
        global_worker.threads_stopped.set()
        global_worker.gcs_error_subscriber.close()
