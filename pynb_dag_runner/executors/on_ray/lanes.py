"""Jobs on a private Ray, as the driver sees them: lanes, which are Ray tasks that take one job after another.

A Ray task for each job costs the driver 3 ms, and its messages pass through the object store; a job in a lane costs
a tenth of that, since its call and its messages go over a socket of this machine. Ray still says what runs when: a lane
holds its resources as any task does, takes only jobs that ask for the same, and gives them back as soon as a lane for
other resources waits.
"""

import contextlib
import math
import secrets
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pynb_dag_runner.executors.base import (
    Job,
    JobEnded,
    JobEvent,
    JobKept,
    JobMessage,
    JobStarted,
    Resources,
)
from pynb_dag_runner.executors.hosts.cancellation import CANCEL_SIGNAL
from pynb_dag_runner.executors.hosts.supervisor import Host, opened
from pynb_dag_runner.executors.on_ray.errors import death_of, lost_input
from pynb_dag_runner.executors.on_ray.lane_worker import serve
from pynb_dag_runner.executors.on_ray.relay import Request, send_signal
from pynb_dag_runner.executors.on_ray.session import RaySession, task_options
from pynb_dag_runner.processes.pickling import dumps
from pynb_dag_runner.processes.private_directory import is_same_user

_PATIENCE_S = 0.05
"""How long a lane for other resources may wait before those that work let Ray choose again after each job."""
_TOKEN_BYTES = 16
_MOST_EVENTS = 256
"""Told at once; what reads them has other things to look at, too."""


@dataclass(eq=False)
class _Lane:
    """One Ray task.

    Attributes:
        bound: the job for which it was opened, since that needs values from Ray's store.
        connection: None until Ray has started the task.
        job: what it works on.
        process: of that job, once it has begun.
        stop: signal for the job, to be sent when it has begun.
    """

    shape: Resources
    opened: float
    generator: Any = None
    finish: Any = None
    bound: Job | None = None
    connection: Connection | None = None
    job: Job | None = None
    process: JobStarted | None = None
    stop: int | None = None
    closed: bool = False


class Lanes:
    """Gives jobs to lanes. Close it before Ray is shut down.

    Args:
        session: with a private Ray.
        directory: for the socket.
        node: what there is to share out.
        most: lanes at once for one kind of resources.
        new_host: makes a process for jobs, in a Ray worker.
    """

    def __init__(
        self, session: RaySession, directory: Path, node: Resources, most: int, new_host: Callable[[], Host]
    ) -> None:
        self._store = session.store
        self._remote = session.ray.remote(max_retries=0, num_returns="streaming")(serve)
        self._node = node
        self._most = most
        self._new_host = new_host
        self._waiting: dict[Resources, dict[str, Job]] = {}
        self._lanes: dict[Resources, list[_Lane]] = {}
        self._expected: dict[bytes, _Lane] = {}
        self._connected: dict[int, _Lane] = {}
        self._by_key: dict[str, _Lane] = {}
        self._cancelled: set[str] = set()
        self._events: list[JobEvent] = []
        self._over: deque[_Lane] = deque()
        self._known_to_ray: set[_Lane] = set()
        self._address = str(directory / f"lanes-{secrets.token_hex(4)}")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._listener.bind(self._address)
        self._listener.listen(socket.SOMAXCONN)
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._listener, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)

    def warm_up(self, shape: Resources) -> None:
        """Have Ray start its workers before there are jobs."""
        for _ in range(self._room(shape)):
            self._open(shape)

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._waiting.setdefault(job.resources, {})[job.key] = job
        self._fill(job.resources)

    def _room(self, shape: Resources) -> int:
        """How many lanes of this kind can be of use at once; one more would only wait in Ray's queue."""
        pairs = [
            (shape.num_cpus, self._node.num_cpus),
            (shape.num_gpus, self._node.num_gpus),
            (shape.memory, self._node.memory),
            *((amount, self._node.custom.get(name, 0.0)) for name, amount in shape.custom.items()),
        ]
        return max(1, min([self._most, *(int(there / needed) for needed, there in pairs if needed)]))

    def _fill(self, shape: Resources) -> None:
        """Give waiting jobs of one kind to idle lanes, and open lanes for more."""
        waiting = self._waiting.get(shape)
        lanes = self._lanes.setdefault(shape, [])
        for idle in [lane for lane in lanes if self._is_idle(lane)]:
            if waiting:
                self._serve(idle)
        coming = sum(lane.connection is None and lane.bound is None for lane in lanes)
        while waiting and len(lanes) < self._room(shape):
            first = next(iter(waiting.values()))
            if first.inputs:
                del waiting[first.key]
                self._open(shape, first)
            elif coming < len(waiting):
                self._open(shape)
                coming += 1
            else:
                break

    def _open(self, shape: Resources, bound: Job | None = None) -> None:
        """Ask Ray for a lane. Lanes for other resources that do nothing make room for it."""
        for other in [lane for lanes in self._lanes.values() for lane in lanes]:
            if other.shape != shape and self._is_idle(other):
                self._close(other)
        opened = _Lane(shape=shape, opened=time.monotonic(), bound=bound)
        token = secrets.token_bytes(_TOKEN_BYTES)
        options = task_options(shape, bound.key if bound else "lane")
        inputs = self._store.references(bound.inputs) if bound else []
        opened.generator = self._remote.options(**options).remote(self._address, token, inputs, self._new_host)
        self._expected[token] = opened
        self._lanes.setdefault(shape, []).append(opened)
        if bound:
            self._by_key[bound.key] = opened
        self._known_to_ray.add(opened)
        opened.finish = opened.generator.completed().future()
        opened.finish.add_done_callback(lambda _: self._is_over(opened))

    def _is_over(self, lane: _Lane) -> None:
        """In a thread of Ray's: the lane's task ended."""
        self._over.append(lane)
        with contextlib.suppress(OSError):  # full: it is awake; closed: nobody listens
            self._wake.send(b"w")

    def _is_idle(self, lane: _Lane) -> bool:
        return lane.connection is not None and not lane.connection.closed and lane.job is None

    def _close(self, lane: _Lane) -> None:
        """Give a lane's resources back."""
        lane.closed = True
        self._lanes[lane.shape].remove(lane)
        self._disconnect(lane)

    def _disconnect(self, lane: _Lane) -> None:
        if lane.connection and not lane.connection.closed:
            del self._connected[lane.connection.fileno()]
            self._poll.unregister(lane.connection.fileno())
            lane.connection.close()

    def wait(self, timeout_s: float) -> list[JobEvent]:
        """What happened; the wait ends with the first event."""
        timeout_ms = 0 if self._events else math.ceil(timeout_s * 1000)
        while (ready := self._poll.poll(timeout_ms)) and len(self._events) < _MOST_EVENTS:
            timeout_ms = 0  # what else is there already comes along
            for descriptor, _ in ready:
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor == self._woken.fileno():
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(4096)
                elif descriptor in self._connected:
                    self._receive(self._connected[descriptor])
        while self._over:
            over = self._over.popleft()
            self._end_lane(over)
            self._release(over)
        events, self._events = self._events, []
        return events

    def _accept(self) -> None:
        """A lane has started."""
        accepted, _ = self._listener.accept()
        if not is_same_user(accepted):
            accepted.close()
            return
        connection = Connection(accepted.detach())
        try:
            lane = self._expected.pop(connection.recv_bytes(_TOKEN_BYTES))
        except (EOFError, OSError, KeyError):  # it died, or is none of ours
            connection.close()
            return
        lane.connection = connection
        self._connected[connection.fileno()] = lane
        self._poll.register(connection.fileno(), select.POLLIN)
        self._next(lane)

    def _next(self, lane: _Lane) -> None:
        """What a lane does now that it has nothing to do."""
        if lane.bound:
            job, lane.bound = lane.bound, None
            self._give(lane, job)
            return
        others = [other for lanes in self._lanes.values() for other in lanes if other.connection is None]
        patient_until = time.monotonic() - _PATIENCE_S
        waiting = self._waiting.get(lane.shape)
        if any(other.shape != lane.shape and (not waiting or other.opened < patient_until) for other in others):
            self._close(lane)
            self._fill(lane.shape)
        elif waiting:
            self._serve(lane)

    def _serve(self, lane: _Lane) -> None:
        """Give a lane the next job of its kind; one that needs values from Ray's store needs a lane of its own."""
        waiting = self._waiting[lane.shape]
        job = waiting.pop(next(iter(waiting)))
        if job.inputs:
            self._close(lane)
            self._open(lane.shape, job)
        else:
            self._give(lane, job)

    def _give(self, lane: _Lane, job: Job) -> None:
        assert lane.connection is not None
        lane.job, lane.process = job, None
        self._by_key[job.key] = lane
        request = Request(
            key=job.key,
            imports=job.imports,
            shared=job.shared,
            call=dumps(job.call),
            rescue=None,
            limits=job.limits,
        )
        with contextlib.suppress(ConnectionError):  # it died; Ray says how
            lane.connection.send(request)

    def _receive(self, lane: _Lane) -> None:
        """Take the next event of a lane."""
        assert lane.connection is not None
        try:
            said = lane.connection.recv()
        except (EOFError, ConnectionError):  # Ray tells how it ended
            self._disconnect(lane)
        else:
            self._take(lane, said)

    def _take(self, lane: _Lane, event: JobEvent) -> None:
        job = lane.job
        assert job is not None
        match event:
            case JobStarted():
                lane.process = event
                self._events.append(event)
                if lane.stop is not None:
                    send_signal(event, lane.stop)
            case JobMessage():
                self._events.append(opened(event))
            case JobKept():
                self._events.append(replace(event, handle=self._store.keep(next(lane.generator))))
            case JobEnded():
                self._ended(lane, event)
                self._next(lane)

    def _ended(self, lane: _Lane, ended: JobEnded) -> None:
        lane.job = lane.bound = lane.process = lane.stop = None
        del self._by_key[ended.key]
        cancelled = ended.key in self._cancelled
        self._cancelled.discard(ended.key)
        self._events.append(replace(ended, cancelled=cancelled))

    def _end_lane(self, lane: _Lane) -> None:
        """The lane's Ray task is over. If nobody asked for that, its job died with it."""
        while not lane.closed and lane.connection and not lane.connection.closed:
            self._receive(lane)  # its last words
        if lane.closed:
            return
        waiting = self._waiting.get(lane.shape)
        job = lane.job or lane.bound
        if job is None and lane.connection is None and waiting:
            # A worker that can't even start is the end of a job, or there would be no end.
            job = waiting.pop(next(iter(waiting)))
            self._by_key[job.key] = lane
        self._close(lane)
        if job is not None:
            error = lane.finish.exception()
            death = "the Ray worker that it ran under ended" if error is None else death_of(error)
            lost = error is not None and lane.process is None and lost_input(job, error)
            self._ended(lane, JobEnded(key=job.key, death=death, lost_input=lost))
        self._fill(lane.shape)

    def _release(self, lane: _Lane) -> None:
        """Drop what is Ray's. A lane and its ``finish`` know each other, so they would be left to the collector."""
        self._known_to_ray.discard(lane)
        lane.generator = lane.finish = None

    def cancel(self, key: str, *, force: bool) -> None:
        """Drop a job that waits; signal the process of one that runs."""
        for waiting in self._waiting.values():
            if waiting.pop(key, None):
                self._events.append(JobEnded(key=key, cancelled=True))
                return
        lane = self._by_key.get(key)
        if lane is None:
            return
        self._cancelled.add(key)
        if lane.bound:
            self._ended(lane, JobEnded(key=key))
            return
        number = signal.SIGKILL if force else CANCEL_SIGNAL
        lane.stop = number
        if lane.process is not None:
            send_signal(lane.process, number)

    def close(self) -> None:
        """Let all lanes end."""
        self._waiting.clear()
        self._by_key.clear()
        for lane in [lane for lanes in self._lanes.values() for lane in lanes]:
            self._close(lane)
        for lane in list(self._known_to_ray):
            self._release(lane)
        self._listener.close()
        self._woken.close()
        self._wake.close()
        with contextlib.suppress(OSError):
            Path(self._address).unlink()
