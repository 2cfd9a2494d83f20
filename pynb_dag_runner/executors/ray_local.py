"""Jobs on a Ray of this run's own, on this machine: started for it, reached by nobody else, and gone with it.

Lanes of :mod:`~pynb_dag_runner.executors.on_ray.lanes` take the jobs. Ray never retries (``max_retries=0``): a silent
second run would write over the first one's files.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from pynb_dag_runner.executors.base import Handle, Job, JobEvent, Resources
from pynb_dag_runner.executors.hosts.supervisor import Host
from pynb_dag_runner.executors.on_ray.internals import LOOPBACK, Start
from pynb_dag_runner.executors.on_ray.lanes import Lanes
from pynb_dag_runner.executors.on_ray.session import RaySession
from pynb_dag_runner.executors.on_ray.starting import Way
from pynb_dag_runner.executors.on_ray.tokens import Tokens
from pynb_dag_runner.executors.project import PackedProject
from pynb_dag_runner.processes.machine import usable_cpus
from pynb_dag_runner.processes.private_directory import PrivateDirectory

OBJECT_STORE_BYTES = 200 * 1024 * 1024
"""Values between functions only; Ray spills larger ones to disk. Its default, 30 % of the memory, overflows the 64 MB
of /dev/shm that a container has."""

_LANES_PER_CPU = 8
_FEWEST_LANES = 16
"""Bounds for lanes of one kind of resources: more than that ask for next to nothing would only start processes."""


class LocalRayExecutor:
    """Starts a private Ray. Close it.

    Args:
        directory: holds the sockets, and Ray's own directory.
        num_cpus: processors to share out; None: as many as this process may use.
        new_host: makes a process for jobs, in a worker of Ray's.

    Raises:
        ExecutorError: Ray does not start.
    """

    in_process = False

    def __init__(
        self,
        directory: PrivateDirectory,
        *,
        num_cpus: int | None = None,
        new_host: Callable[[], Host] = Host,
    ) -> None:
        tokens = Tokens()
        tokens.make_one()
        self._session = RaySession(directory, tokens)
        starts = self._session.private.starts(str(directory.path / "ray"))  # which Ray opens to everybody
        self._session.connect(*(Way(partial(self._start, start, num_cpus), start.lacks) for start in starts))
        self._look_at_what_started()
        (here,) = self.capacity()
        most = max(_FEWEST_LANES, int(_LANES_PER_CPU * here.num_cpus))
        self._lanes = Lanes(self._session, directory.path, here, most, new_host)
        self._lanes.warm_up(Resources())

    def _start(self, start: Start, num_cpus: int | None) -> None:
        with self._session.private.ready_for(start):
            self._session.ray.init(
                address="local",  # never a cluster that happens to be around (RAY_ADDRESS, /tmp/ray)
                num_cpus=num_cpus or usable_cpus(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                object_store_memory=OBJECT_STORE_BYTES,
                **start.options,
            )

    def _look_at_what_started(self) -> None:
        private = self._session.private
        if not self._session.ray.get_runtime_context().gcs_address.startswith(LOOPBACK):
            private.miss(f"start on {LOOPBACK}", "Ray listens on all interfaces")
        if not self._session.servers:
            private.miss("processes of Ray's servers", "when they die, Ray ends the run after a minute")

    def capacity(self) -> tuple[Resources, ...]:
        """What this machine has in all."""
        return self._session.capacity()

    def share(self, project: Callable[[], PackedProject]) -> tuple[str, ...]:
        """Workers have the project's files on their disk; what is not as expected of this Ray is told."""
        private = self._session.private
        if private.knows_tokens:
            return private.notes
        open_to = "whoever is on this machine can use the Ray of this run while it lasts"
        return (*private.notes, f"Ray {private.release} knows no tokens, as later ones do: {open_to}")

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._lanes.submit(job)

    def put(self, value: Any) -> Handle:
        """Keep a value in Ray's store."""
        return self._session.store.put(value)

    def wait(self, timeout_s: float) -> list[JobEvent]:
        """Everything that has arrived; the wait ends with the first arrival."""
        return self._session.checked(self._lanes.wait(timeout_s))

    def cancel(self, key: str, *, force: bool = False) -> None:
        """Drop a job that waits; signal the process of one that runs."""
        self._lanes.cancel(key, force=force)

    def close(self) -> None:
        """End Ray and everything below it; its directory is removed."""
        self._lanes.close()
        self._session.close()
