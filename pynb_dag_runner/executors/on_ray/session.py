"""A Ray that this process is connected to, from the first try to start or join it until nothing of it is left.

This is where Ray is imported in the driver.
"""

import itertools
import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

from pynb_dag_runner.errors import ExecutorError
from pynb_dag_runner.executors.base import EngineLost, JobEnded, JobEvent, Resources
from pynb_dag_runner.executors.on_ray.internals import RayPrivate
from pynb_dag_runner.executors.on_ray.servers import Lifeline, Servers
from pynb_dag_runner.executors.on_ray.starting import (
    ADVICE,
    START_BOUND_S,
    StartFailed,
    StartThread,
    Way,
    handler_of,
    set_handler,
)
from pynb_dag_runner.executors.on_ray.store import RayStore
from pynb_dag_runner.executors.on_ray.tokens import Tokens
from pynb_dag_runner.executors.watchdog import Watchdog
from pynb_dag_runner.processes.private_directory import PrivateDirectory

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


class RaySession:
    """Ray as this process uses it: its module, its store, its servers. Connect once, then close it.

    Args:
        directory: what is started bears its mark.
        tokens: say which token Ray shall have; they are given back when this is closed.

    Attributes:
        ray: the module.
        private: its internals.
        store: for values.
        servers: of Ray on this machine, which are watched.
        tokens: as above.

    Raises:
        ExecutorError: a Ray is used in this process already.
    """

    def __init__(self, directory: PrivateDirectory, tokens: Tokens) -> None:
        import ray

        if ray.is_initialized():
            tokens.give_back()
            raise ExecutorError("Ray is already running in this process; call ray.shutdown() before running a pipeline")
        self.ray: Any = ray
        self.private = RayPrivate(ray, lambda: self.servers.dead())
        self.store = RayStore(ray)
        self.servers = Servers()
        self.tokens = tokens
        tokens.have_read(self.private)
        self._variables = {name: value for name, value in self.private.variables.items() if name not in os.environ}
        self._lifeline: Lifeline | None = None
        self._thread: StartThread | None = None
        self._watchdog = Watchdog(directory)
        self._give_up = time.monotonic() + START_BOUND_S

    def connect(self, *ways: Way) -> None:
        """Have Ray started or joined in the first of these ways that succeeds; if none does, everything is closed.

        Raises:
            ExecutorError: none did, within the bound.
        """
        os.environ.update(self._variables)
        try:
            for way, next_way in itertools.zip_longest(ways, ways[1:]):
                is_fastest = way is ways[0] and next_way is not None
                self.servers = Servers()
                self._thread = StartThread(way.connect, self.servers)
                try:
                    self._thread.wait_until_started(self._give_up, is_fastest=is_fastest)
                except StartFailed as failed:
                    self._shut_down()
                    if next_way is None:
                        raise ExecutorError(f"Ray can't start: {failed.reason}; {ADVICE}") from failed.cause
                    self.private.miss(f"start in a faster way ({failed.reason})", next_way.lacks)
                else:
                    break
        except BaseException:
            if threading.current_thread() is threading.main_thread():
                signal.alarm(0)  # if Ray's core had SIGTERM just then, it is set to abort this process in 3 s
            self._leave()
            raise
        self.private.silence()

    def follow(self, address: str) -> None:
        """Watch a cluster's control service, too.

        Args:
            address: ``host:port``.
        """
        self._lifeline = Lifeline(address)

    def capacity(self) -> tuple[Resources, ...]:
        """What each node has in all."""
        return tuple(resources_of(node["Resources"]) for node in self.ray.nodes() if node["Alive"])

    def checked(self, events: list[JobEvent]) -> list[JobEvent]:
        """What was heard of jobs, without what only says that Ray is gone.

        Raises:
            EngineLost: one of Ray's servers is, and nothing else was heard.
        """
        dead = self.servers.dead()
        lost = f"Ray's {dead}" if dead is not None else self._lifeline.dead() if self._lifeline else None
        if lost is None:
            return events
        # Jobs that died with it are no failures of theirs; what others still said holds.
        said = [event for event in events if not (isinstance(event, JobEnded) and event.death)]
        if not said:
            raise EngineLost(lost)
        return said

    def close(self) -> None:
        """Disconnect; what was started here and everything below it is ended."""
        self.store.clear()
        self._shut_down()
        self._leave()

    def _shut_down(self) -> None:
        """Ray's core took SIGTERM from whoever had it; the run has not ended yet, so it gets it back."""
        handler = handler_of(signal.SIGTERM)
        self.ray.shutdown()
        set_handler(signal.SIGTERM, handler)
        if self._thread:
            self._thread.release()
        self.servers.close()

    def _leave(self) -> None:
        self._watchdog.close()
        self.tokens.give_back()
        for name in self._variables:
            os.environ.pop(name, None)
        self.servers.close()
        if self._lifeline:
            self._lifeline.close()


def task_options(needed: Resources, name: str) -> dict[str, Any]:
    """For a task of Ray's that holds these resources."""
    options: dict[str, Any] = {
        "num_cpus": needed.num_cpus,
        "num_gpus": needed.num_gpus,
        "resources": dict(needed.custom),
        "name": name,
    }
    return {**options, "memory": needed.memory} if needed.memory else options


def only_on(node: str) -> Any:
    """For a task that can run on this node alone.

    Args:
        node: its id, as Ray writes it.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


def resources_of(amounts: Mapping[str, float]) -> Resources:
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
