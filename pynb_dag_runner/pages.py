"""HTML pages of evaluated notebooks, made in the background while the run goes on."""

import contextlib
import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pynb_dag_runner.fork_server.client import ServerPlace
from pynb_dag_runner.outcome import Failure, Outcome
from pynb_dag_runner.page_process import PageProcess
from pynb_dag_runner.run_folder import paths

PAGE_BOUND_S = 120.0
"""How long the end of a run waits for one page; a notebook with hundreds of MB of outputs takes that long."""
_END_BOUND_S = 0.5
_MOST_DEATHS = 3
"""A page that ends its process does so again: the others are not made for its sake."""


@dataclass(frozen=True, kw_only=True)
class PageProblem:
    """A page that could not be made."""

    key: str
    problem: str


class Pages:
    """Asks a process of its own for pages; it is started with the first one, or before. Close it.

    The process ends when this one does. If it dies before, another one is started for what it had not made.

    Args:
        server: of which the process may be forked; None: it is started.
    """

    def __init__(self, server: ServerPlace | None = None) -> None:
        self._server = server
        self._process: PageProcess | None = None
        self._listener: threading.Thread | None = None
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._open: dict[str, str] = {}
        self._deaths = 0

    def start(self) -> None:
        """Start the process already: it needs half a second of processor time, and takes it while tasks wait."""
        self._process = self._process or self._start()

    def make(self, key: str, attempt_folder: Path, title: str, outcome: Outcome, failure: Failure | None) -> None:
        """Ask for the page of an attempt's notebook; returns at once.

        Args:
            key: names the attempt in a :class:`PageProblem`.
        """
        why = {} if failure is None else {"kind": failure.kind, "message": failure.message}
        request = {
            "key": key,
            "notebook": str(attempt_folder / paths.NOTEBOOK),
            "page": str(attempt_folder / paths.NOTEBOOK_HTML),
            "title": title,
            "outcome": outcome.value,
            **why,
        }
        self._open[key] = json.dumps(request) + "\n"
        self._ask(self._open[key])

    def _ask(self, request: str) -> None:
        process = self._process or self._start()
        with contextlib.suppress(BrokenPipeError):  # it died, which the end of its answers says
            process.requests.write(request)
            process.requests.flush()

    def finish(self, bound_s: float = PAGE_BOUND_S) -> Iterator[PageProblem]:
        """Wait for the pages asked for and give those that could not be made.

        Args:
            bound_s: give up when no page was made for so long.
        """
        while self._open:
            try:
                answer = self._answers.get(timeout=bound_s)
            except queue.Empty:
                yield from self._give_up(f"not made within {bound_s:g} s")
                return
            if answer is None:
                yield from self._go_on()
                continue
            said = json.loads(answer)
            del self._open[said["key"]]
            if said["problem"] is not None:
                yield PageProblem(key=said["key"], problem=said["problem"])

    def _go_on(self) -> Iterator[PageProblem]:
        """The process died: with its server, for want of memory, of an odd notebook."""
        self.close()
        self._server = None
        self._deaths += 1
        if self._deaths >= _MOST_DEATHS:
            yield from self._give_up("the process that makes pages died")
        for request in self._open.values():
            self._ask(request)

    def _give_up(self, problem: str) -> Iterator[PageProblem]:
        keys = sorted(self._open)
        self._open.clear()
        yield from (PageProblem(key=key, problem=problem) for key in keys)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None and self._listener is not None:
            self._process.end()
            self._listener.join(_END_BOUND_S)
            self._process = self._listener = None

    def _start(self) -> PageProcess:
        self._process = process = PageProcess(self._server)
        self._listener = threading.Thread(target=self._listen, args=(process,), name="pages", daemon=True)
        self._listener.start()
        return process

    def _listen(self, process: PageProcess) -> None:
        process.settle()
        with process.answers:
            for line in process.answers:
                self._answers.put(line)
        self._answers.put(None)
        process.reap()
