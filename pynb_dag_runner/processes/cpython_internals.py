"""What is private to CPython: the end of an interpreter, taken apart.

An interpreter ends by waiting for threads, running exit handlers and taking everything down. A forked process has most
of what it holds from the process that it was forked from; to take that down would copy it first. So forked processes do
the first two steps alone, and those of a host forget its exit handlers, which are for its own end.
"""

import atexit
import ctypes
import sys
import threading
import weakref
from functools import cache
from typing import Any, NoReturn

from pynb_dag_runner.processes.changed_names import note, problem_of

TESTED_RELEASES = ("3.11", "3.14")
"""The oldest and the newest minor release for which the tests pass."""

_THREADING: Any = threading
_ATEXIT: Any = atexit
_FINALIZE: Any = weakref.finalize


@cache
def can_end_by_steps() -> bool:
    """Whether :func:`wait_for_threads` and :func:`run_exit_handlers` do what they say; if not, that is noted."""
    problem = problem_of(threading, "_shutdown") or problem_of(atexit, "_run_exitfuncs")
    if problem is not None:
        note("Python", problem, "forked processes end as started ones do, which takes longer")
    return problem is None


def wait_for_threads() -> None:
    """Wait for all threads that are no daemons; then run what is to be done before exit handlers."""
    _THREADING._shutdown()


def run_exit_handlers() -> None:
    """Run what was registered with :mod:`atexit`."""
    _ATEXIT._run_exitfuncs()


def end_plainly(code: int) -> NoReturn:
    """End this process as an interpreter ends by itself: all of the above, and everything is taken down."""
    ctypes.pythonapi.Py_Exit(code)
    raise AssertionError("it has ended")


def can_forget_exit_handlers() -> bool:
    """Whether :func:`forget_exit_handlers` does what it says; if not, that is noted."""
    problem = problem_of(atexit, "_clear")
    if problem is None and not isinstance(getattr(_FINALIZE, "_registry", None), dict):
        problem = "weakref.finalize has no dictionary _registry"
    if problem is None and not isinstance(getattr(_FINALIZE, "_registered_with_atexit", None), bool):
        problem = "weakref.finalize has no truth value _registered_with_atexit"
    if problem is None and (multiprocessing := sys.modules.get("multiprocessing.util")) is not None:
        problem = problem_of(multiprocessing, "_exit_function", *_EXIT_FUNCTION)
    if problem is not None:
        note(
            "Python",
            problem,
            "attempts of functions are not forked from a process that has imported their modules",
        )
    return problem is None


_EXIT_FUNCTION = ("info", "debug", "_run_finalizers", "active_children", "current_process")
"""Its parameters, all with defaults: names that it needs when those of its module are gone."""


def forget_exit_handlers() -> None:
    """In a fork: what its parent has registered is for the parent's own end; multiprocessing's is for each process."""
    _ATEXIT._clear()
    _FINALIZE._registry.clear()
    _FINALIZE._registered_with_atexit = False
    multiprocessing: Any = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None:
        atexit.register(multiprocessing._exit_function)
