"""Jobs in processes of this machine, without Ray: they start in a fraction of a second, and where Ray can't."""

import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from pynb_dag_runner.executors.base import (
    Handle,
    Job,
    JobEnded,
    JobEvent,
    JobKept,
    JobMessage,
    Pickled,
    Resources,
)
from pynb_dag_runner.executors.gpus import VARIABLE, Gpus, find_gpus
from pynb_dag_runner.executors.hosts.supervisor import Host, opened
from pynb_dag_runner.executors.hosts.variables import with_variables
from pynb_dag_runner.executors.project import PackedProject
from pynb_dag_runner.executors.watchdog import Watchdog
from pynb_dag_runner.processes.machine import total_memory_bytes, usable_cpus
from pynb_dag_runner.processes.pickling import dumps
from pynb_dag_runner.processes.private_directory import PrivateDirectory

_MAX_HOSTS_PER_CPU = 16
"""Jobs that ask for little or no CPU still take a process each."""


class ProcessExecutor:
    """Shares out this machine's processors, memory and GPUs; it knows nothing of custom resources.

    Args:
        directory: holds the values that it keeps.
        num_cpus: processors to share out; None: as many as this process may use.
        new_host: makes a process for jobs.
    """

    in_process = False

    def __init__(
        self, directory: PrivateDirectory, *, num_cpus: int | None = None, new_host: Callable[[], Host] = Host
    ) -> None:
        self._directory = directory.path
        self._watchdog = Watchdog(directory)
        self._gpus = Gpus(find_gpus())
        self._held: dict[str, tuple[str, ...]] = {}
        self._total = Resources(
            num_cpus=float(num_cpus or usable_cpus()), num_gpus=len(self._gpus), memory=float(total_memory_bytes())
        )
        self._free_cpus, self._free_memory = self._total.num_cpus, self._total.memory
        self._max_hosts = int(_MAX_HOSTS_PER_CPU * self._total.num_cpus)
        self._waiting: dict[Resources, deque[Job]] = {}
        self._running: dict[str, tuple[Job, Host]] = {}
        self._new_host = new_host
        self._idle: list[Host] = []
        self._cancelled: set[str] = set()
        self._events: list[JobEvent] = []
        self._kept = 0

    def capacity(self) -> tuple[Resources, ...]:
        """This machine's."""
        return (self._total,)

    def share(self, project: Callable[[], PackedProject]) -> tuple[str, ...]:
        """Jobs run where the files are."""
        return ()

    def submit(self, job: Job) -> None:
        """Queue a job; it starts as soon as what it asks for is free."""
        self._waiting.setdefault(job.resources, deque()).append(job)
        self._start_what_fits()

    def put(self, value: Any) -> Handle:
        """Keep a value in a file of its own, as its pickle."""
        return self._keep(dumps(value))

    def _keep(self, pickled: bytes) -> Handle:
        self._kept += 1
        path = self._directory / f"value-{self._kept}.pkl"
        path.write_bytes(pickled)
        return Handle(path)

    def _start_what_fits(self) -> None:
        """Start the first job of each shape that fits: one that waits for much holds up nobody who needs little."""
        for needed, waiting in list(self._waiting.items()):
            while waiting and self._fits(needed):
                self._start(waiting.popleft())
            if not waiting:
                del self._waiting[needed]

    def _fits(self, needed: Resources) -> bool:
        free = needed.num_cpus <= self._free_cpus and needed.memory <= self._free_memory
        gpus = not needed.num_gpus or self._gpus.choose(needed.num_gpus) is not None
        return free and gpus and len(self._running) < self._max_hosts

    def _start(self, job: Job) -> None:
        self._free_cpus -= job.resources.num_cpus
        self._free_memory -= job.resources.memory
        call = job.call
        if gpus := self._gpus.choose(job.resources.num_gpus) if job.resources.num_gpus else None:
            self._gpus.take(gpus, job.resources.num_gpus)
            self._held[job.key], call = gpus, with_variables({VARIABLE: ",".join(gpus)}, call)
        host = self._host(job)
        self._running[job.key] = (job, host)
        inputs = [_pickle_of(handle) for handle in job.inputs]
        host.begin(job.key, job.imports, dumps(call), inputs, job.limits, shared=job.shared)

    def _host(self, job: Job) -> Host:
        for host in sorted(self._idle, key=lambda host: host.shared, reverse=job.shared):
            if not host.alive:
                self._idle.remove(host)
                host.close()  # it died while it had nothing to do, with its server, say
            elif host.takes(job.imports, shared=job.shared):
                self._idle.remove(host)
                return host
        return self._new_host()

    def wait(self, timeout_s: float) -> list[JobEvent]:
        """What happened; the wait ends with the first event."""
        if not self._events and self._running:
            hosts = [host for _, host in self._running.values()]
            looks = [host.next_look_s() for host in hosts]
            wait([waitable for host in hosts for waitable in host.waitables], min([timeout_s, *looks]))
            for job, host in list(self._running.values()):
                self._take(job, host)
        elif not self._events:
            threading.Event().wait(timeout_s)
        events, self._events = self._events, []
        return events

    def _take(self, job: Job, host: Host) -> None:
        """Everything that one host has to say now."""
        while (event := host.step()) is not None:
            match event:
                case JobEnded():
                    self._events.append(replace(event, cancelled=job.key in self._cancelled))
                    self._release(job, host)
                    return
                case JobKept(handle=Pickled(data)):
                    self._events.append(replace(event, handle=self._keep(data)))
                case JobMessage():
                    self._events.append(opened(event))
                case _:
                    self._events.append(event)

    def _release(self, job: Job, host: Host) -> None:
        del self._running[job.key]
        self._free_cpus += job.resources.num_cpus
        self._free_memory += job.resources.memory
        self._gpus.give_back(self._held.pop(job.key, ()), job.resources.num_gpus)
        if host.alive:
            self._idle.append(host)
        else:
            host.close()
        self._start_what_fits()

    def cancel(self, key: str, *, force: bool = False) -> None:
        """A queued job is dropped; the process of a running one is signalled."""
        self._cancelled.add(key)
        if key in self._running:
            host = self._running[key][1]
            if force:
                host.kill()
            else:
                host.cancel()
            return
        for waiting in self._waiting.values():
            for job in waiting:
                if job.key == key:
                    waiting.remove(job)
                    self._events.append(JobEnded(key=key, cancelled=True))
                    return

    def close(self) -> None:
        """End all hosts and what jobs left running."""
        for _, host in self._running.values():
            host.kill()
        for host in [*self._idle, *(host for _, host in self._running.values())]:
            host.close()
        self._idle.clear()
        self._running.clear()
        self._waiting.clear()
        self._watchdog.close()


def _pickle_of(handle: Handle) -> bytes:
    assert isinstance(handle, os.PathLike)
    return Path(handle).read_bytes()
