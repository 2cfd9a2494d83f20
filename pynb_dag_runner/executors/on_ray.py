"""Jobs on Ray, as the driver sees them. Ray's errors become :class:`JobEnded` here.

A job is a Ray task whose generator streams messages to the driver as they are yielded. The Ray worker only relays them:
the call itself runs in a host process of the worker, so that the worker sees how it ended and outlives it. Ray never
retries (``max_retries=0``): a silent second run would write over the first one's files.
"""

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from pynb_dag_runner.errors import ExecutorError
from pynb_dag_runner.executors.base import (
    EngineLost,
    Handle,
    Job,
    JobEnded,
    JobEvent,
    JobKept,
    JobMessage,
    JobStarted,
    LimitsOver,
    Resources,
)
from pynb_dag_runner.executors.hosts.cancellation import CANCEL_SIGNAL
from pynb_dag_runner.executors.hosts.supervisor import Ended, Host
from pynb_dag_runner.executors.project import PackedProject
from pynb_dag_runner.executors.ray_errors import death_of, lost_input
from pynb_dag_runner.executors.ray_lanes import Lanes
from pynb_dag_runner.executors.ray_relay import Began, Request, SharedProject, ValueFollows, relay, send_signal
from pynb_dag_runner.executors.ray_session import RaySession
from pynb_dag_runner.executors.ray_store import RayStore
from pynb_dag_runner.processes.pickling import dumps, loads
from pynb_dag_runner.processes.private_directory import PrivateDirectory

_WINDOW_PER_CPU = 8
"""Jobs handed to Ray beyond what can run: enough to hide the hand-over, few enough that waiting on them stays cheap."""

_MESSAGES_AHEAD = 64
"""What a job says before the driver has listened: parts of files have 90 kB each."""

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def _import_ray() -> Any:
    import ray

    return ray


class RayExecutor:
    """Starts a private Ray on this machine, or joins a cluster.

    Args:
        directory: holds the sockets, and Ray's own directory.
        num_cpus: processors to share out here; None: as many as this process may use.
        address: an existing cluster, as ``ray.init`` takes it; None: start one for this executor alone.
        new_host: makes a process for jobs, in a worker of a private Ray.

    Raises:
        ExecutorError: Ray does not start.
    """

    in_process = False

    def __init__(
        self,
        directory: PrivateDirectory,
        *,
        num_cpus: int | None = None,
        address: str | None = None,
        new_host: Callable[[], Host] = Host,
    ) -> None:
        self._ray = _import_ray()
        if self._ray.is_initialized():
            raise ExecutorError("Ray is already running in this process; call ray.shutdown() before running a pipeline")
        self._session = RaySession(self._ray, directory, num_cpus=num_cpus, address=address)
        _silence_ray()
        self._store = RayStore(self._ray)
        self._project: SharedProject | None = None
        self._node = self._ray.get_runtime_context().get_node_id()
        self._window = max(16, int(_WINDOW_PER_CPU * sum(node.num_cpus for node in self.capacity())))
        self._waiting: dict[Resources, deque[Job]] = {}
        self._in_flight: dict[Resources, int] = {}
        self._jobs: dict[Any, Job] = {}
        self._generators: dict[str, Any] = {}
        self._processes: dict[str, Began] = {}
        self._next_is_kept: set[str] = set()
        self._cancelled: set[str] = set()
        self._dropped: list[JobEvent] = []
        self._lanes: Lanes | None = None
        if not self._session.joined:
            (here,) = self.capacity()
            self._lanes = Lanes(self._ray, self._store, directory.path, here, self._window, new_host)
            self._lanes.warm_up(Resources())
        options = {"max_retries": 0, "num_returns": "streaming", "_generator_backpressure_num_objects": _MESSAGES_AHEAD}
        self._relay = self._ray.remote(**options)(relay)
        self._signal = self._ray.remote(max_retries=0, num_cpus=0)(send_signal)

    def capacity(self) -> tuple[Resources, ...]:
        """What each node has in all."""
        return tuple(_resources(node["Resources"]) for node in self._ray.nodes() if node["Alive"])

    def share(self, project: Callable[[], PackedProject]) -> tuple[str, ...]:
        """Send the files to a cluster's store; a private Ray has them on its disk."""
        if not self._session.joined:
            return ()
        packed = project()
        self._project = SharedProject(archive=self._ray.put(packed.archive), roots=packed.roots, inode=packed.inode)
        return packed.notes

    def submit(self, job: Job) -> None:
        """Queue a job. Each shape of resources has its own window, so that jobs that wait for a GPU block no others."""
        if self._lanes:
            self._lanes.submit(job)
            return
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
        request = Request(
            imports=job.imports,
            shared=job.shared,
            call=dumps(job.call),
            rescue=dumps(job.rescue) if job.rescue is not None else None,
            limits=job.limits,
            project=self._project,
        )
        generator = self._relay.options(**options).remote(request, self._store.references(job.inputs))
        self._jobs[generator] = job
        self._generators[job.key] = generator
        self._in_flight[needed] = self._in_flight.get(needed, 0) + 1

    def put(self, value: Any) -> Handle:
        """Keep a value in Ray's store."""
        return self._store.put(value)

    def wait(self, timeout_s: float) -> list[JobEvent]:
        """Everything that has arrived; the wait ends with the first arrival."""
        events = self._lanes.wait(timeout_s) if self._lanes else self._arrived(timeout_s)
        lost = self._session.lost()
        if lost is None:
            return events
        # Jobs that died with it are no failures of theirs; what others still said holds.
        said = [event for event in events if not (isinstance(event, JobEnded) and event.death)]
        if not said:
            raise EngineLost(lost)
        return said

    def _arrived(self, timeout_s: float) -> list[JobEvent]:
        """The same for a cluster; the wait is Ray's own."""
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
                return JobKept(key=job.key, handle=self._store.keep(reference))
            item = self._ray.get(reference)
        except StopIteration:
            return self._end(generator, Ended())
        except Exception as error:  # noqa: BLE001 - every error of Ray's ends the job
            lost = job.key not in self._processes and lost_input(job, error)
            return self._end(generator, Ended(death=death_of(error)), lost=lost)
        match item:
            case Began(host=host, pid=pid):
                self._processes[job.key] = item
                return JobStarted(key=job.key, host=host, pid=pid)
            case ValueFollows():
                self._next_is_kept.add(job.key)
                return None
            case LimitsOver():
                return JobMessage(key=job.key, message=item)
            case Ended():
                return self._end(generator, item)
        return JobMessage(key=job.key, message=loads(item))

    def _end(self, generator: Any, ended: Ended, *, lost: bool = False) -> JobEnded:
        job = self._jobs.pop(generator)
        self._generators.pop(job.key)
        self._processes.pop(job.key, None)
        self._in_flight[job.resources] -= 1
        waiting = self._waiting.get(job.resources)
        if waiting:
            self._hand_over(waiting.popleft())
        return JobEnded(
            key=job.key,
            death=ended.death,
            cancelled=job.key in self._cancelled,
            exceeded=ended.exceeded,
            lost_input=lost,
        )

    def cancel(self, key: str, *, force: bool = False) -> None:
        """Signal the job's process, on whatever node it is; one that is not running yet is left to Ray."""
        if self._lanes:
            self._lanes.cancel(key, force=force)
            return
        self._cancelled.add(key)
        for waiting in self._waiting.values():
            for job in waiting:
                if job.key == key:
                    waiting.remove(job)
                    self._dropped.append(JobEnded(key=key, cancelled=True))
                    return
        generator, process = self._generators.get(key), self._processes.get(key)
        if generator is None:
            return
        if process is None:
            self._ray.cancel(generator, force=force)
            return
        number = signal.SIGKILL if force else CANCEL_SIGNAL
        if process.node == self._node:
            send_signal(process, number)
            return
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(process.node, soft=False)
        self._signal.options(scheduling_strategy=there).remote(process, number)

    def close(self) -> None:
        """Disconnect; a private Ray and everything below it is ended and its directory removed."""
        if self._lanes:
            self._lanes.close()
        self._jobs.clear()
        self._generators.clear()
        self._waiting.clear()
        self._project = None
        self._store.clear()
        self._session.close()


def _resources(amounts: dict[str, float]) -> Resources:
    """A node's resources as Ray reports them, without those that Ray makes up for its own use."""
    named = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    custom = {
        name: amount
        for name, amount in amounts.items()
        if name not in named and not name.startswith(("node:", "object_store"))
    }
    return Resources(
        num_cpus=amounts.get("CPU", 0.0),
        num_gpus=amounts.get("GPU", 0.0),
        memory=amounts.get("memory", 0.0),
        custom=custom,
    )


def _silence_ray() -> None:
    """Stop Ray's thread that prints the raylet's messages to standard output; their content reaches us as errors.

    Ray has no setting for it, so this uses two private names; without them the messages are merely printed.
    """
    with contextlib.suppress(AttributeError, ImportError):
        from ray._private import worker

        global_worker: Any = worker.global_worker
        global_worker.threads_stopped.set()
        global_worker.gcs_error_subscriber.close()
