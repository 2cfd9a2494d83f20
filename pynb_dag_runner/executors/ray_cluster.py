"""Jobs on a Ray cluster that was there before, on whatever nodes it has.

A job is a Ray task whose generator streams messages to the driver as they are yielded. The Ray worker only relays them:
the call itself runs in a host process of the worker, so that the worker sees how it ended and outlives it. Ray never
retries (``max_retries=0``): a silent second run would write over the first one's files.
"""

import logging
import signal
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from pynb_dag_runner.executors.base import (
    Handle,
    Job,
    JobEnded,
    JobEvent,
    JobKept,
    JobMessage,
    JobStarted,
    Resources,
)
from pynb_dag_runner.executors.hosts.cancellation import CANCEL_SIGNAL
from pynb_dag_runner.executors.hosts.supervisor import opened
from pynb_dag_runner.executors.on_ray import joining
from pynb_dag_runner.executors.on_ray.errors import death_of, lost_input
from pynb_dag_runner.executors.on_ray.node_worker import SharedProject, relay
from pynb_dag_runner.executors.on_ray.relay import Request, send_signal
from pynb_dag_runner.executors.on_ray.session import RaySession, only_on, task_options
from pynb_dag_runner.executors.on_ray.starting import Way
from pynb_dag_runner.executors.on_ray.tokens import Tokens
from pynb_dag_runner.executors.project import PackedProject
from pynb_dag_runner.processes.pickling import dumps
from pynb_dag_runner.processes.private_directory import PrivateDirectory

_WINDOW_PER_CPU = 8
"""Jobs handed to Ray beyond what can run: enough to hide the hand-over, few enough that waiting on them stays cheap."""

_SMALLEST_WINDOW = 16

_MESSAGES_AHEAD = 64
"""What a job says before the driver has listened: parts of files have 90 kB each."""


class ClusterRayExecutor:
    """Joins a cluster. Close it.

    Args:
        directory: for what is started on this machine, so that it becomes a node of the cluster.
        address: of the cluster, as ``ray.init`` takes it.

    Raises:
        ExecutorError: it can't join.
    """

    in_process = False

    def __init__(self, directory: PrivateDirectory, *, address: str) -> None:
        joining.check_address(address)
        tokens = Tokens()
        tokens.use_rays_own()
        self._session = RaySession(directory, tokens)
        self._session.connect(Way(partial(self._join, address, str(directory.path / "ray"))))
        self._ray, self._store = self._session.ray, self._session.store
        self._node = self._ray.get_runtime_context().get_node_id()
        capacity = sum(node.num_cpus for node in self.capacity())
        self._window = max(_SMALLEST_WINDOW, int(_WINDOW_PER_CPU * capacity))
        self._project: SharedProject | None = None
        self._waiting: dict[Resources, deque[Job]] = {}
        self._in_flight: dict[Resources, int] = {}
        self._jobs: dict[Any, Job] = {}
        self._generators: dict[str, Any] = {}
        self._processes: dict[str, JobStarted] = {}
        self._next_is_kept: set[str] = set()
        self._cancelled: set[str] = set()
        self._dropped: list[JobEvent] = []
        self._relay = self._session.private.remote_generator(relay, _MESSAGES_AHEAD)
        self._signal = self._ray.remote(max_retries=0, num_cpus=0)(send_signal)

    def _join(self, address: str, temporary: str) -> None:
        known = joining.join(address, temporary, self._session.tokens)
        self._session.ray.init(address=known, log_to_driver=False, logging_level=logging.CRITICAL)
        here = self._session.ray.get_runtime_context()
        self._session.follow(here.gcs_address)
        self._session.servers.watch(joining.node_servers(here.get_node_id()))

    def capacity(self) -> tuple[Resources, ...]:
        """What each node has in all."""
        return self._session.capacity()

    def share(self, project: Callable[[], PackedProject]) -> tuple[str, ...]:
        """Send the files to the cluster's store."""
        packed = project()
        self._project = SharedProject(archive=self._ray.put(packed.archive), roots=packed.roots, inode=packed.inode)
        return (*packed.notes, *self._session.private.notes)

    def submit(self, job: Job) -> None:
        """Queue a job. Each shape of resources has its own window, so that jobs that wait for a GPU block no others."""
        shape = job.resources
        if self._in_flight.get(shape, 0) < self._window:
            self._hand_over(job)
        else:
            self._waiting.setdefault(shape, deque()).append(job)

    def _hand_over(self, job: Job) -> None:
        needed = job.resources
        request = Request(
            key=job.key,
            imports=job.imports,
            shared=job.shared,
            call=dumps(job.call),
            rescue=dumps(job.rescue) if job.rescue is not None else None,
            limits=job.limits,
        )
        task = self._relay.options(**task_options(needed, job.key))
        generator = task.remote(request, self._project, self._store.references(job.inputs))
        self._jobs[generator] = job
        self._generators[job.key] = generator
        self._in_flight[needed] = self._in_flight.get(needed, 0) + 1

    def put(self, value: Any) -> Handle:
        """Keep a value in Ray's store."""
        return self._store.put(value)

    def wait(self, timeout_s: float) -> list[JobEvent]:
        """Everything that has arrived; the wait ends with the first arrival."""
        return self._session.checked(self._arrived(timeout_s))

    def _arrived(self, timeout_s: float) -> list[JobEvent]:
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
            event: JobEvent = self._ray.get(reference)
        except StopIteration:
            return self._end(generator, JobEnded(key=job.key))
        except Exception as error:  # noqa: BLE001 - every error of Ray's ends the job
            lost = job.key not in self._processes and lost_input(job, error)
            return self._end(generator, JobEnded(key=job.key, death=death_of(error), lost_input=lost))
        match event:
            case JobStarted():
                self._processes[job.key] = event
            case JobKept():
                self._next_is_kept.add(job.key)
                return None
            case JobMessage():
                return opened(event)
            case JobEnded():
                return self._end(generator, event)
        return event

    def _end(self, generator: Any, ended: JobEnded) -> JobEnded:
        job = self._jobs.pop(generator)
        self._generators.pop(job.key)
        self._processes.pop(job.key, None)
        self._in_flight[job.resources] -= 1
        waiting = self._waiting.get(job.resources)
        if waiting:
            self._hand_over(waiting.popleft())
        return replace(ended, cancelled=job.key in self._cancelled)

    def cancel(self, key: str, *, force: bool = False) -> None:
        """Signal the job's process, on whatever node it is; one that is not running yet is left to Ray."""
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
        self._signal.options(scheduling_strategy=only_on(process.node)).remote(process, number)

    def close(self) -> None:
        """Disconnect; what was started on this machine is ended, and its directory removed."""
        self._jobs.clear()
        self._generators.clear()
        self._waiting.clear()
        self._project = None
        self._session.close()
