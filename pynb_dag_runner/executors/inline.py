"""Jobs in this process, one at a time, in the order in which they were submitted: for debuggers.

Calls, their inputs and what they keep are pickled and unpickled, as on their way to another process and back: a job
gets values of its own, and what can't be pickled fails here as there.
"""

import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from pynb_dag_runner.executors.base import (
    Handle,
    Job,
    JobEnded,
    JobEvent,
    JobKept,
    JobMessage,
    JobStarted,
    Keep,
    Resources,
)
from pynb_dag_runner.executors.project import PackedProject
from pynb_dag_runner.processes import marks
from pynb_dag_runner.processes.module_files import make_findable, make_findable_no_longer
from pynb_dag_runner.processes.pickling import InputError, dumps, loads, loads_input


class InlineExecutor:
    """Runs a job up to its next message each time it is waited for."""

    in_process = True

    def __init__(self) -> None:
        self._queue: deque[Job] = deque()
        self._current: tuple[Job, Generator[object]] | None = None
        self._cancelled: set[str] = set()
        self._number = 0

    def capacity(self) -> tuple[Resources, ...]:
        """One job at a time gets all there is, so nothing is too much to ask."""
        infinite = float("inf")
        return (Resources(num_cpus=infinite, num_gpus=infinite, memory=infinite, custom=_Anything()),)

    def share(self, project: Callable[[], PackedProject]) -> tuple[str, ...]:
        """Jobs run where the files are."""
        return ()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._queue.append(job)

    def put(self, value: Any) -> Handle:
        """A handle is the value's pickle here."""
        return Handle(dumps(value))

    def wait(self, timeout_s: float) -> list[JobEvent]:
        """Run the current job up to its next message. The work happens here, so ``timeout_s`` can't be kept."""
        if self._current is None:
            return self._start_next(timeout_s)
        job, messages = self._current
        try:
            with _interruptible(), marks.with_number(self._number):
                message = next(messages)
        except StopIteration:
            self._current = None
            return [JobEnded(key=job.key)]
        except BaseException as error:  # noqa: BLE001 - whatever leaves a job ends it, here as on Ray
            self._current = None
            death = "".join(traceback.format_exception(error))
            return [JobEnded(key=job.key, death=death, cancelled=isinstance(error, KeyboardInterrupt))]
        if isinstance(message, Keep):
            return [JobKept(key=job.key, handle=Handle(message.pickled or dumps(message.value)))]
        return [JobMessage(key=job.key, message=message)]

    def _start_next(self, timeout_s: float) -> list[JobEvent]:
        if not self._queue:
            threading.Event().wait(timeout_s)
            return []
        job = self._queue.popleft()
        if job.key in self._cancelled:
            return [JobEnded(key=job.key, cancelled=True)]
        self._number = marks.new_member(marks.own())
        make_findable(job.imports.files)
        try:
            call, inputs = loads(dumps(job.call)), [loads_input(_pickle_of(handle)) for handle in job.inputs]
        except InputError as error:
            return [JobEnded(key=job.key, death=str(error))]
        except Exception as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
            return [JobEnded(key=job.key, death="".join(traceback.format_exception(error)))]
        self._current = (job, call(*inputs))
        return [JobStarted(key=job.key, host=os.uname().nodename, pid=os.getpid())]

    def cancel(self, key: str, *, force: bool = False) -> None:
        """A queued job is dropped; the running one is in this very process and goes on to its next message."""
        self._cancelled.add(key)
        if self._current is not None and self._current[0].key == key:
            job, messages = self._current
            self._current = None
            with marks.with_number(self._number):
                messages.close()
            self._queue.appendleft(job)

    def close(self) -> None:
        """Drop what is queued."""
        self._queue.clear()
        self._current = None
        make_findable_no_longer()


def _pickle_of(handle: Handle) -> bytes:
    assert isinstance(handle, bytes)
    return handle


class _Anything(dict[str, float]):
    def get(self, key: str, default: float | None = None) -> float:  # type: ignore[override] # one answer for all keys
        return float("inf")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in the job, which runs in the driver's thread, whatever handler that has."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
