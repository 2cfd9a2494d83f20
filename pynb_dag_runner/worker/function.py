"""Call a Python function as a task: its output goes to the log, its timeout interrupts it."""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from pynb_dag_runner.processes.changed_names import notes
from pynb_dag_runner.secrets.masking import Redactor
from pynb_dag_runner.worker.failures import AttemptTimedOut
from pynb_dag_runner.worker.logs import Log
from pynb_dag_runner.worker.masked_log import open_log

_REPEAT_S = 0.25
"""A task that swallows the interruption is interrupted again; the driver ends its process soon after."""


def call(function: Callable[..., Any], arguments: Mapping[str, Any], timeout_s: float | None) -> Any:
    """Call ``function`` with keyword arguments.

    Raises:
        AttemptTimedOut: it was still running after ``timeout_s`` seconds.
        BaseException: whatever the function raises.
    """
    with _alarm(timeout_s):
        return function(**arguments)


@contextlib.contextmanager
def _alarm(timeout_s: float | None) -> Iterator[None]:
    """Raise AttemptTimedOut in this thread after ``timeout_s``: a real signal also wakes a sleeping call.

    Only a main thread can have it; elsewhere the driver's own clock has to do.
    """
    if timeout_s is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_alarm(_number: int, _frame: object) -> None:
        raise AttemptTimedOut

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, timeout_s, _REPEAT_S)
    try:
        yield
    finally:
        # An alarm that strikes in here must not pass for the task's own.
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def logged(path: Path, *, terminal: bool, redactor: Redactor) -> Iterator[None]:
    """Write standard output and error to the file ``path``; a file that stays empty is removed.

    Args:
        terminal: keep showing them as well, and leave the process's own descriptors alone, so that a debugger works.
            Then only what Python code prints is logged; otherwise also what C code and child processes write.
        redactor: hides secrets in the file and on the terminal.
    """
    with contextlib.closing(open_log(path, redactor)) as log, log.watched():
        if terminal:
            out, err = _Tee(sys.stdout, log, redactor), _Tee(sys.stderr, log, redactor)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                yield
        else:
            with _descriptors_to(log.fileno()):
                yield
        for line in notes():
            log.remark(line)


@contextlib.contextmanager
def _descriptors_to(target: int) -> Iterator[None]:
    _flush()
    saved = [(number, os.dup(number)) for number in (1, 2)]
    try:
        for number, _ in saved:
            os.dup2(target, number)
        yield
    finally:
        _flush()
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # a process without a terminal may have none
            continue
        with contextlib.suppress(ValueError, OSError):  # closed by the task, or nobody reads it any more
            stream.flush()


class _Tee(io.TextIOBase):
    """Writes to a terminal and to a log."""

    def __init__(self, terminal: TextIO | None, log: Log, redactor: Redactor) -> None:
        self._terminal = terminal
        self._log = log
        self._redactor = redactor

    def write(self, text: str) -> int:
        self._log.write(text.encode("utf-8", "replace"))
        if self._terminal is not None:
            self._terminal.write(self._redactor.text(text))
        return len(text)

    def flush(self) -> None:
        if self._terminal is not None:
            self._terminal.flush()

    def isatty(self) -> bool:
        return self._terminal is not None and self._terminal.isatty()

    def fileno(self) -> int:
        if self._terminal is None:
            raise io.UnsupportedOperation("fileno")
        return self._terminal.fileno()
