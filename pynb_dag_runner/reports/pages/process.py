"""Start the process that makes pages, by fork or by itself, and talk to it."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from pynb_dag_runner.processes import marks
from pynb_dag_runner.processes.fork_server.client import (
    Asked,
    ForkedProcess,
    ForkRefused,
    ServerPlace,
    ask,
    own_oom_score_adj,
)
from pynb_dag_runner.processes.fork_server.wire import ForkRequest
from pynb_dag_runner.processes.private_directory import MARK_VARIABLE

PAGES_ENTRY = "pynb_dag_runner.reports.pages.page"
"""What it runs: requests come in and answers go out, a line each, and a first line when it is ready."""
NICENESS = 10
"""Of a process that works beside tasks."""

_END_BOUND_S = 0.5
_DIRECTORY = "/"
"""Where it starts: not where the user's modules are, which it would find in place of those that it needs."""


class PageProcess:
    """Forked from a server that has imported half of what it needs, or else started. End it.

    One thread makes this object, asks for pages and lives as long as the process does: a started one ends with it.
    Any other may end it.

    Args:
        server: to be asked for the process; None: it is started.
        niceness: what is added to this process's own.
    """

    def __init__(self, server: ServerPlace | None, niceness: int) -> None:
        requests, mine = os.pipe()
        self._requests = os.fdopen(mine, "w", encoding="utf-8")
        mine, answers = os.pipe()
        self._answers = os.fdopen(mine, encoding="utf-8")
        self._ends = (requests, answers)
        self._niceness = niceness
        self._lock = threading.Lock()
        self._ended = False
        self._process: ForkedProcess | subprocess.Popen[bytes] | None = None
        self._asked = self._ask(server) if server is not None else None
        if self._asked is None:
            self._started()

    def _ask(self, server: ServerPlace) -> Asked | None:
        requests, answers = self._ends
        request = ForkRequest(
            arguments=(str(self._niceness),),
            cwd=_DIRECTORY,
            environment=_environment(),
            entry=PAGES_ENTRY,
            oom_score_adj=own_oom_score_adj(),
        )
        with contextlib.suppress(ForkRefused, OSError), Path(os.devnull).open("wb") as nowhere:
            return ask(server.socket, request, [answers, nowhere.fileno(), requests])
        return None

    def _started(self) -> None:
        requests, answers = self._ends
        # A session of its own: Ctrl-C at the terminal is for the driver, which decides what becomes of the pages.
        self._process = subprocess.Popen(
            [sys.executable, "-m", PAGES_ENTRY, str(os.getpid()), str(self._niceness)],
            stdin=requests,
            stdout=answers,
            stderr=subprocess.DEVNULL,
            cwd=_DIRECTORY,
            env=_environment(),
            start_new_session=True,
        )
        marks.take_from(self._process.pid)  # in this thread no other's processes must lose theirs

    def settle(self) -> bool:
        """Wait until it is ready for the first page; False: it died before.

        A server answers when its own imports are done.
        """
        try:
            if self._asked is not None:
                try:
                    forked = self._asked.answer()
                except ForkRefused:
                    forked = None
                with self._lock:
                    self._asked, self._process = None, forked
                    if forked is not None and self._ended:
                        forked.close()
                    elif forked is None and not self._ended:
                        self._started()
        finally:
            for end in self._ends:
                os.close(end)
        return self._answers.readline() != ""

    def answer_to(self, request: str) -> str | None:
        """Have a page made, and wait for the answer.

        Args:
            request: a line.

        Returns:
            A line; None: the process died over it.
        """
        with contextlib.suppress(OSError, ValueError):  # it died, or was ended by another thread
            self._requests.write(request)
            self._requests.flush()
            return self._answers.readline() or None
        return None

    def processor_s(self) -> float | None:
        """How much processor time it has used, in seconds; None: there is none, or no more."""
        process = self._process
        if process is None:
            return None
        try:
            times = psutil.Process(process.pid).cpu_times()
        except psutil.Error:
            return None
        return float(times.user + times.system)

    def end(self) -> None:
        """End it, whatever it is doing. On a busy machine it needs a while to die, which nobody waits for."""
        with self._lock:
            self._ended = True
            if self._asked is not None:
                self._asked.close()
            if self._process is not None:
                self._process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_END_BOUND_S)

    def reap(self) -> None:
        """After its end: leave nothing of it in the process table, and no file open."""
        with contextlib.suppress(OSError):  # something was left to be written to a process that is gone
            self._requests.close()
        self._answers.close()
        with self._lock:
            if isinstance(self._process, ForkedProcess):
                self._process.close()
            elif self._process is not None:
                self._process.wait()


def _environment() -> dict[str, str]:
    """This process's, without the mark by which an engine, when it closes, finds what it has to end."""
    return {name: value for name, value in os.environ.items() if name != MARK_VARIABLE}
