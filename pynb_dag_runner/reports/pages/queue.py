"""Make the pages of evaluated notebooks in the background while the run goes on."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pynb_dag_runner.model.outcomes import Failure, Outcome
from pynb_dag_runner.processes.fork_server.client import ServerPlace
from pynb_dag_runner.reports.pages.process import NICENESS, PageProcess
from pynb_dag_runner.run_folder import paths

PROCESSOR_BOUND_S = 120.0
"""Processor time that one page may take; a notebook with hundreds of MB of outputs takes that long. On a busy machine,
where a second of it comes every minute, nothing is given up for that."""
IDLE_BOUND_S = 120.0
"""How long a process with a page to make may use no processor at all: it hangs."""
HURRY_AFTER_S = 0.3
"""What is left at the end of the tasks is mostly made in that time, and another process would be for nothing."""
TELL_AFTER_S = 1.0
"""Nobody wonders before."""

_LOOK_S = 0.1
_END_BOUND_S = 0.5
_MOST_DEATHS = 2
"""A page that ends its process does so again: the others are not made wait for its sake."""
_MOST_STARTS = 3
"""A process that dies before it is ready does so again."""
_DIED = "the process that makes pages died"


@dataclass(frozen=True, kw_only=True)
class PageProblem:
    """A page that could not be made, or was made in another way than usual.

    Attributes:
        key: names the attempt.
        problem: a clause.
        is_made: there is a page.
    """

    key: str
    problem: str
    is_made: bool = False

    @property
    def sentence(self) -> str:
        """For the log of the run."""
        return f"{'the' if self.is_made else 'no'} HTML page of {self.key}: {self.problem}"


@dataclass(frozen=True, kw_only=True)
class PagesLeft:
    """How many of all pages that were asked for are still to be made."""

    left: int
    total: int


@dataclass(eq=False)
class _Page:
    key: str
    request: str
    deaths: int = 0


@dataclass(eq=False)
class _Maker:
    """A process that makes one page after another, and the thread that hands them to it.

    Attributes:
        hurried: works at the priority of the run itself.
        ready: its process has started.
        page: the one that it is at.
        processor_s: what its process had used when the page came.
        worked_s, worked_at: what it had used when that was seen to grow, and when that was.
    """

    hurried: bool
    process: PageProcess | None = None
    thread: threading.Thread | None = None
    ready: bool = False
    page: _Page | None = None
    processor_s: float = 0.0
    worked_s: float = 0.0
    worked_at: float = 0.0


class Pages:
    """Asks processes of their own for pages; the first is started with the first page, or before. Close it.

    While tasks run, one process makes them, at low priority. When only pages are left, another one at full priority
    helps it: a process of an ordinary user can't go back to that. Whatever dies is replaced.

    Args:
        server: of which the processes may be forked; None: they are started.
    """

    def __init__(self, server: ServerPlace | None = None) -> None:
        self._server = server
        self._state = threading.Condition()
        self._makers: list[_Maker] = []
        self._waiting: deque[_Page] = deque()
        self._open: dict[str, _Page] = {}
        self._problems: list[PageProblem] = []
        self._total = 0
        self._bad_starts = 0
        self._made_at = 0.0
        self._closed = False

    def start(self) -> None:
        """Start a process already: it needs half a second of processor time, and takes it while tasks wait."""
        with self._state:
            if not self._makers:
                self._add_maker(hurried=False)

    def make(
        self,
        key: str,
        attempt_folder: Path,
        title: str,
        outcome: Outcome,
        failure: Failure | None,
        pictures: tuple[Path, Path] | None = None,
    ) -> None:
        """Ask for the page of an attempt's notebook; returns at once.

        Args:
            key: names the attempt in a :class:`PageProblem`.
            pictures: the directory that relative paths in the notebook start from, and one outside of which no file is
                read. None: none is; so it is for a notebook that came from elsewhere.
        """
        why = {} if failure is None else {"kind": failure.kind, "message": failure.message}
        request = {
            "notebook": str(attempt_folder / paths.NOTEBOOK),
            "page": str(attempt_folder / paths.NOTEBOOK_HTML),
            "title": title,
            "outcome": outcome.value,
            **why,
            **({"directory": str(pictures[0]), "root": str(pictures[1])} if pictures else {}),
        }
        page = _Page(key, json.dumps(request) + "\n")
        self.start()
        with self._state:
            self._total += 1
            self._open[key] = page
            self._waiting.append(page)
            self._state.notify_all()

    def finish(self, patience_s: Callable[[], float | None] = lambda: None) -> Iterator[PageProblem | PagesLeft]:
        """Wait for the pages asked for; gives those that could not be made and, after a second, how many are left.

        Args:
            patience_s: called again and again; tells how many seconds may pass without a page until all that are left
                are given up. None: as many as it takes.
        """
        began = self._made_at = time.monotonic()
        told = None
        while True:
            with self._state:
                self._state.wait_for(lambda: self._problems or not self._open, _LOOK_S)
                problems, self._problems = self._problems, []
                left, now = len(self._open), time.monotonic()
                if left and now - began > HURRY_AFTER_S and not any(maker.hurried for maker in self._makers):
                    self._add_maker(hurried=True)
                for maker in self._makers:
                    self._end_if_stuck(maker, now)
                patience = patience_s()
                if patience is not None and now - self._made_at > patience:
                    self._give_up_all(f"not made within {patience:g} s")
            yield from problems
            if not left:
                return
            if now - began > TELL_AFTER_S and left != told:
                told = left
                yield PagesLeft(left=left, total=self._total)

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        with self._state:
            self._closed = True
            self._state.notify_all()
            makers, self._makers = self._makers, []
        for maker in makers:
            if maker.process is not None:
                maker.process.end()
        for maker in makers:
            if maker.thread is not None:
                maker.thread.join(_END_BOUND_S)

    def _add_maker(self, *, hurried: bool) -> None:
        maker = _Maker(hurried=hurried)
        maker.thread = threading.Thread(target=self._work, args=(maker,), name="pages", daemon=True)
        self._makers.append(maker)
        maker.thread.start()

    def _work(self, maker: _Maker) -> None:
        """What a maker's thread does: one process after another, should they die."""
        server = self._server
        while (process := self._begin(maker, server)) is not None:
            if process.settle():
                while (page := self._next(maker)) is not None:
                    answer = process.answer_to(page.request)
                    self._answered(maker, page, answer)
                    if answer is None:
                        break
            else:
                self._bad_start()
            process.end()
            process.reap()
            server = None  # perhaps it was the server that died

    def _begin(self, maker: _Maker, server: ServerPlace | None) -> PageProcess | None:
        """Its first process at once, another one when there is something to do; None: there never will be."""
        with self._state:
            self._state.wait_for(lambda: maker.process is None or self._closed or self._choice(maker) is not None)
            if self._closed:
                return None
            try:
                maker.process = PageProcess(server, 0 if maker.hurried else NICENESS)
                maker.ready, maker.processor_s, maker.worked_s = False, 0.0, 0.0
                maker.worked_at = time.monotonic()
            except OSError as error:  # the machine has no more processes, memory or files to give
                self._give_up_all(f"no process for pages could be started: {error}")
                self._makers.remove(maker)
                return None
            return maker.process

    def _choice(self, maker: _Maker) -> _Page | None:
        """What it should do next. Nothing waits but somebody slow is still at it: who is in a hurry does that, too."""
        if self._waiting:
            return self._waiting[0]
        others = [other.page for other in self._makers if other.page is not None and not other.hurried]
        return next((page for page in others if maker.hurried and self._is_open(page)), None)

    def _is_open(self, page: _Page) -> bool:
        return self._open.get(page.key) is page

    def _next(self, maker: _Maker) -> _Page | None:
        """Wait for something to do; None: there will be nothing."""
        with self._state:
            self._bad_starts, maker.ready = 0, True
            self._state.wait_for(lambda: self._closed or self._choice(maker) is not None)
            page = None if self._closed else self._choice(maker)
            if page is not None:
                if self._waiting and self._waiting[0] is page:
                    self._waiting.popleft()
                maker.page, maker.worked_at = page, time.monotonic()
                used = maker.process.processor_s() if maker.process is not None else None
                maker.processor_s = maker.worked_s = used or 0.0
                self._state.notify_all()  # others may help
            return page

    def _answered(self, maker: _Maker, page: _Page, answer: str | None) -> None:
        with self._state:
            maker.page = None
            if not self._is_open(page) or self._closed:
                return
            if answer is not None:
                self._made_at = time.monotonic()
                told = json.loads(answer)
                del self._open[page.key]
                if told["problem"] is not None:
                    self._problems.append(PageProblem(key=page.key, problem=told["problem"]))
                for remark in told["remarks"]:
                    self._problems.append(PageProblem(key=page.key, problem=remark, is_made=True))
            else:
                page.deaths += 1
                if page.deaths >= _MOST_DEATHS:
                    self._give_up(page, _DIED)
                elif page not in self._waiting:
                    self._waiting.appendleft(page)
            self._state.notify_all()

    def _bad_start(self) -> None:
        with self._state:
            self._bad_starts += 1
            if self._bad_starts >= _MOST_STARTS and not self._closed:
                self._give_up_all(_DIED)

    def _end_if_stuck(self, maker: _Maker, now: float) -> None:
        """End its process if a page takes too much, or nothing happens; the next pages get another one."""
        page, process = maker.page, maker.process
        if process is None or (page is None and maker.ready):
            return
        used = process.processor_s()
        if used is None:
            return
        if used > maker.worked_s:
            maker.worked_s, maker.worked_at = used, now
        if used - maker.processor_s > PROCESSOR_BOUND_S:
            problem = f"not made within {PROCESSOR_BOUND_S:g} s of processor time"
        elif maker.hurried and now - maker.worked_at > IDLE_BOUND_S:
            problem = f"its process did nothing for {IDLE_BOUND_S:g} s"
        else:
            return
        if page is not None and self._is_open(page):
            self._give_up(page, problem)
        process.end()

    def _give_up(self, page: _Page, problem: str) -> None:
        del self._open[page.key]
        if page in self._waiting:
            self._waiting.remove(page)
        self._problems.append(PageProblem(key=page.key, problem=problem))

    def _give_up_all(self, problem: str) -> None:
        for page in sorted(self._open.values(), key=lambda page: page.key):
            self._give_up(page, problem)
        self._state.notify_all()
