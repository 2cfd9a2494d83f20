"""Restore what a function changed in a process that goes on: for tasks that run in the driver itself.

That is what can be put back cheaply. Modules' variables, threads, open files and the state of libraries stay as the
function left them; the other executors have a process for each attempt.
"""

import contextlib
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Put back, in the end: environment, directory, umask, search path, standard streams, signal handlers, warnings,
    the root logger, random generators.
    """
    undo = [_environment(), _directory(), _umask(), _streams(), _signals(), _logging(), _random()]
    path = list(sys.path)
    with warnings.catch_warnings():
        try:
            yield
        finally:
            sys.path[:] = path
            for put_back in undo:
                put_back()


def _environment() -> Callable[[], None]:
    before = dict(os.environ)

    def put_back() -> None:
        if os.environ != before:
            os.environ.clear()
            os.environ.update(before)

    return put_back


def _directory() -> Callable[[], None]:
    try:
        descriptor = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # it is gone
        return lambda: None

    def put_back() -> None:
        os.fchdir(descriptor)
        os.close(descriptor)

    return put_back


def _umask() -> Callable[[], None]:
    os.umask(mask := os.umask(0o77))

    def put_back() -> None:
        os.umask(mask)

    return put_back


def _streams() -> Callable[[], None]:
    before = (sys.stdin, sys.stdout, sys.stderr)

    def put_back() -> None:
        sys.stdin, sys.stdout, sys.stderr = before

    return put_back


def _signals() -> Callable[[], None]:
    if threading.current_thread() is not threading.main_thread():
        return lambda: None  # no function can change them there
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}

    def put_back() -> None:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    return put_back


def _logging() -> Callable[[], None]:
    root = logging.getLogger()
    level, handlers, disabled = root.level, list(root.handlers), root.manager.disable

    def put_back() -> None:
        root.setLevel(level)
        root.handlers[:] = handlers
        logging.disable(disabled)

    return put_back


def _random() -> Callable[[], None]:
    state = random.getstate()
    numpy: Any = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy else None
    random.seed()
    if numpy:
        numpy.random.seed()  # else each attempt would draw the same numbers from the state that is put back

    def put_back() -> None:
        random.setstate(state)
        if numpy:
            numpy.random.set_state(numpy_state)

    return put_back
