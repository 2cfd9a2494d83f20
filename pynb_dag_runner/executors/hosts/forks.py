"""A job in a fork of its host: it begins in the host's state, and leaves nothing of its own there.

The host has imported the modules of the user's that functions are in, and has never run anything of theirs. A fork has
them at once; a process that imports them anew would need up to seconds.
"""

import contextlib
import mmap
import os
import resource
import signal
import threading
import warnings
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

from pynb_dag_runner.executors.hosts.cancellation import CANCEL_SIGNAL, Cancellation
from pynb_dag_runner.processes import cpython_internals, marks
from pynb_dag_runner.processes.fork_server.child import die_with, end_of, reseed_random
from pynb_dag_runner.processes.fork_server.client import is_possible

_END_BOUND_S = 1.0
"""What a fork gets to end after its job: exit handlers, threads that are no daemons."""


class Verdict(IntEnum):
    """How a fork's job ended; nothing is known of one that died."""

    NONE = 0
    ENDED = 1
    FAILED = 2


class Forks:
    """Makes jobs in forks of this process, one at a time, and passes their cancellations on.

    This process gives up its number as a member of the run, by which an attempt ends all that it has started.

    Attributes:
        number: what processes bear that make jobs.
    """

    def __init__(self) -> None:
        self.number = marks.own()
        marks.set_number(marks.run_of(self.number))
        self._verdict = mmap.mmap(-1, 1)  # shared with forks
        self._child: int | None = None
        self.cancel_requested = False

    def expect(self) -> None:
        """A job begins: from now on a signal to this process is meant for it."""
        self.cancel_requested = False
        signal.signal(CANCEL_SIGNAL, self._pass_on)

    def _pass_on(self, number: int, _frame: object) -> None:
        if self._child is None:
            self.cancel_requested = True
        else:
            os.kill(self._child, number)

    def make(self, work: Callable[[Cancellation], Verdict]) -> Verdict:
        """Have work done by a fork, and wait for the fork's end. If it dies, this process dies in the same way."""
        self._verdict[0] = Verdict.NONE
        host = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, [CANCEL_SIGNAL])
        self._child = os.fork() or None
        if self._child is None:
            self._run_in_fork(host, work)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [CANCEL_SIGNAL])
        status = 0
        with contextlib.suppress(ChildProcessError):  # a module of the user's has SIGCHLD ignored
            os.waitid(os.P_PID, self._child, os.WEXITED | os.WNOWAIT)
        signal.signal(CANCEL_SIGNAL, signal.SIG_IGN)  # while there is still somebody of that pid
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(self._child, 0)
        self._child = None
        verdict = Verdict(self._verdict[0])
        if verdict is Verdict.NONE:
            _end_with_status(status)
        return verdict

    def _run_in_fork(self, host: int, work: Callable[[Cancellation], Verdict]) -> NoReturn:
        die_with(host)
        os.setsid()
        marks.set_number(self.number)
        cpython_internals.forget_exit_handlers()
        reseed_random()
        cancellation = Cancellation(requested=self.cancel_requested)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [CANCEL_SIGNAL])

        def whole() -> None:
            self._verdict[0] = work(cancellation)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            signal.setitimer(signal.ITIMER_REAL, _END_BOUND_S)
            _silence_output()

        end_of(whole)


def may_fork() -> bool:
    """Whether a fork of this process, as it is now, would be whole: it would lack all threads but this one.

    Some libraries end their own threads before a fork, and start them anew when they need them (OpenBLAS, so numpy): a
    fork for nothing shows whether all do.
    """
    if not is_possible() or threading.active_count() > 1 or not cpython_internals.can_forget_exit_handlers():
        return False
    if _number_of_threads() > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            os._exit(0)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    return _number_of_threads() == 1


def _number_of_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def _silence_output() -> None:
    """The job's log is closed, and the terminal is the driver's."""
    with Path(os.devnull).open("wb") as nowhere:
        for descriptor in (1, 2):
            os.dup2(nowhere.fileno(), descriptor)


def _end_with_status(status: int) -> NoReturn:
    """End as a fork of this process did, which had something left to do."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # there is one
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-code])
        os.kill(os.getpid(), -code)
    os._exit(code)
