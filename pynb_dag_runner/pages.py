"""HTML pages of evaluated notebooks, made in the background while the run goes on."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pynb_dag_runner.outcome import Failure, Outcome
from pynb_dag_runner.run_folder import paths

PAGE_BOUND_S = 120.0
"""How long the end of a run waits for one page; a notebook with hundreds of MB of outputs takes that long."""
_END_BOUND_S = 0.5


@dataclass(frozen=True, kw_only=True)
class PageProblem:
    """A page that could not be made."""

    key: str
    problem: str


class Pages:
    """Asks a process of its own for pages; it is started with the first one, or before. Close it.

    The process ends when this one does: its standard input ends then.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._open: set[str] = set()

    def start(self) -> None:
        """Start the process already: it needs a second of processor time, and takes it while tasks wait for theirs."""
        self._process = self._process or self._start()

    def make(self, key: str, attempt_folder: Path, title: str, outcome: Outcome, failure: Failure | None) -> None:
        """Ask for the page of an attempt's notebook; returns at once.

        Args:
            key: names the attempt in a :class:`PageProblem`.
        """
        process = self._process or self._start()
        why = {} if failure is None else {"kind": failure.kind, "message": failure.message}
        request = {
            "key": key,
            "notebook": str(attempt_folder / paths.NOTEBOOK),
            "page": str(attempt_folder / paths.NOTEBOOK_HTML),
            "title": title,
            "outcome": outcome.value,
            **why,
        }
        assert process.stdin is not None
        self._open.add(key)
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            self._answers.put(json.dumps({"key": key, "problem": "the process that makes pages died"}))

    def finish(self, bound_s: float = PAGE_BOUND_S) -> Iterator[PageProblem]:
        """Wait for the pages asked for and give those that could not be made.

        Args:
            bound_s: give up when no page was made for so long.
        """
        waiting_since = time.monotonic()
        while self._open:
            try:
                answer = json.loads(self._answers.get(timeout=0.5))
            except queue.Empty:
                dead = self._process is None or self._process.poll() is not None
                if dead or time.monotonic() - waiting_since > bound_s:
                    reason = "the process that makes pages died" if dead else f"not made within {bound_s:g} s"
                    yield from (PageProblem(key=key, problem=reason) for key in sorted(self._open))
                    self._open.clear()
                continue
            waiting_since = time.monotonic()
            self._open.discard(answer["key"])
            if answer["problem"] is not None:
                yield PageProblem(key=answer["key"], problem=answer["problem"])

    def close(self) -> None:
        """End the process, whatever it is doing. On a busy machine it needs a while to die, which nobody waits for."""
        if self._process is not None and self._listener is not None:
            self._process.kill()
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._listener.join(_END_BOUND_S)
            self._process = self._listener = None

    def _start(self) -> "subprocess.Popen[str]":
        # A session of its own: Ctrl-C at the terminal is for the driver, which decides what becomes of the pages.
        process = subprocess.Popen(
            [sys.executable, "-m", "pynb_dag_runner.work.html", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, args=(process,), name="pages", daemon=True)
        self._listener.start()
        self._process = process
        return process

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._answers.put(line)
        process.wait()
