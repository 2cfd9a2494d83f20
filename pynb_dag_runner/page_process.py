"""The process that makes pages, however it comes about."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from pynb_dag_runner.fork_server.client import Asked, ForkedProcess, ForkRefused, ServerPlace, ask, own_oom_score_adj
from pynb_dag_runner.fork_server.wire import ForkRequest

PAGES_ENTRY = "pynb_dag_runner.work.html"
"""What it runs: requests come in and answers go out, a line each."""

_END_BOUND_S = 0.5
_DIRECTORY = "/"
"""Where it starts: not where the user's modules are, which it would find in place of those that it needs."""


class PageProcess:
    """Forked from a server that has imported half of what it needs, or else started. End it.

    A server answers when its imports are done. Requests may be written before; :meth:`settle` waits for it.

    Args:
        server: to be asked for the process; None: it is started.

    Attributes:
        requests: to be written to.
        answers: to be read from; they end with the process.
    """

    def __init__(self, server: ServerPlace | None) -> None:
        requests, mine = os.pipe()
        self.requests = os.fdopen(mine, "w", encoding="utf-8")
        mine, answers = os.pipe()
        self.answers = os.fdopen(mine, encoding="utf-8")
        self._ends = (requests, answers)
        self._lock = threading.Lock()
        self._ended = False
        self._process: ForkedProcess | subprocess.Popen[bytes] | None = None
        self._asked = self._ask(server) if server is not None else None
        if self._asked is None:
            self._started()

    def _ask(self, server: ServerPlace) -> Asked | None:
        requests, answers = self._ends
        request = ForkRequest(
            arguments=(),
            cwd=_DIRECTORY,
            environment=dict(os.environ),
            entry=PAGES_ENTRY,
            oom_score_adj=own_oom_score_adj(),
        )
        with contextlib.suppress(ForkRefused, OSError), Path(os.devnull).open("wb") as nowhere:
            return ask(server.sockets[-1], request, [answers, nowhere.fileno(), requests])
        return None

    def _started(self) -> None:
        requests, answers = self._ends
        # A session of its own: Ctrl-C at the terminal is for the driver, which decides what becomes of the pages.
        self._process = subprocess.Popen(
            [sys.executable, "-m", PAGES_ENTRY, str(os.getpid())],
            stdin=requests,
            stdout=answers,
            stderr=subprocess.DEVNULL,
            cwd=_DIRECTORY,
            start_new_session=True,
        )

    def settle(self) -> None:
        """Wait until there is a process, in a thread that lives as long: a started one dies with it."""
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
        for end in self._ends:
            os.close(end)

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
        with contextlib.suppress(BrokenPipeError):
            self.requests.close()

    def reap(self) -> None:
        """After the end of the answers: leave nothing of it in the process table."""
        with self._lock:
            if isinstance(self._process, ForkedProcess):
                self._process.close()
            elif self._process is not None:
                self._process.wait()
