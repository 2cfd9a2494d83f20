"""What an attempt of a function leaves behind in its process, no other one finds, unless both ask for it."""

import asyncio
import atexit
import builtins
import contextvars
import decimal
import faulthandler
import gc
import json
import locale
import logging
import multiprocessing
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynb_dag_runner import Pipeline, RunStatus, read_run
from pynb_dag_runner.model.graph import Task

CACHE: list[int] = []
LIMIT = 1
VARIABLE = contextvars.ContextVar("VARIABLE", default=0)


class Settings:
    strict = False


def _umask() -> int:
    os.umask(mask := os.umask(0o22))
    return mask


def _rebind() -> None:
    global LIMIT
    LIMIT = 2


def _open_and_keep() -> None:
    CACHE.append(os.open(os.devnull, os.O_RDONLY))


def _move_to_tokyo() -> None:
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()


def _run_for_ever() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


STATES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "environment": (lambda: os.environ.__setitem__("LEFT", "1"), lambda: os.environ.get("LEFT")),
    "directory": (lambda: os.chdir("/"), os.getcwd),
    "umask": (lambda: os.umask(0o777), _umask),
    "search path": (lambda: sys.path.insert(0, "/left"), lambda: list(sys.path)),
    "finders": (lambda: sys.meta_path.insert(0, sys.meta_path[-1]), lambda: len(sys.meta_path)),
    "modules": (lambda: sys.modules.__setitem__("left", json), lambda: "left" in sys.modules),
    "a module's variables": (lambda: setattr(json, "left", 1), lambda: hasattr(json, "left")),
    "own variables": (_rebind, lambda: LIMIT),
    "own lists": (_open_and_keep, lambda: len(CACHE)),
    "class attributes": (lambda: setattr(Settings, "strict", True), lambda: Settings.strict),
    "built-in functions": (lambda: setattr(builtins, "print", abs), lambda: builtins.print.__name__),
    "standard output": (lambda: setattr(sys, "stdout", sys.__stderr__), lambda: sys.stdout is sys.__stdout__),
    "signal handlers": (
        lambda: [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGUSR2)],
        lambda: [str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGUSR2)],
    ),
    "blocked signals": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP]),
        lambda: str(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    ),
    "timers": (lambda: signal.setitimer(signal.ITIMER_VIRTUAL, 1000), lambda: signal.getitimer(signal.ITIMER_VIRTUAL)),
    "warnings": (lambda: warnings.simplefilter("ignore"), lambda: warnings.filters[0]),
    "logging": (
        lambda: logging.basicConfig(level=logging.DEBUG),
        lambda: [logging.root.level, len(logging.root.handlers)],
    ),
    "threads": (_run_for_ever, lambda: sorted(thread.name for thread in threading.enumerate())),
    "open files": (_open_and_keep, lambda: len(list(Path("/proc/self/fd").iterdir()))),
    "decimal": (lambda: setattr(decimal.getcontext(), "prec", 3), lambda: decimal.getcontext().prec),
    "numpy": (lambda: np.seterr(all="ignore"), np.geterr),
    "locale": (lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"), lambda: locale.setlocale(locale.LC_NUMERIC)),
    "time zone": (_move_to_tokyo, lambda: time.tzname),
    "limits": (
        lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
        lambda: resource.getrlimit(resource.RLIMIT_CORE),
    ),
    "niceness": (lambda: os.nice(1), lambda: os.nice(0)),
    "recursion": (lambda: sys.setrecursionlimit(5000), sys.getrecursionlimit),
    "collector": (gc.disable, gc.isenabled),
    "tracing": (lambda: sys.setprofile(lambda *_: None), sys.getprofile),
    "exception hook": (lambda: setattr(sys, "excepthook", print), lambda: sys.excepthook is sys.__excepthook__),
    "sockets": (lambda: socket.setdefaulttimeout(3.0), socket.getdefaulttimeout),
    "context variables": (lambda: VARIABLE.set(1), VARIABLE.get),
    "processes": (lambda: multiprocessing.set_start_method("spawn", force=True), multiprocessing.get_start_method),
    "event loops": (
        lambda: asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy()),
        lambda: asyncio.events._event_loop_policy is None,  # type: ignore[attr-defined]
    ),
    "fault handler": (lambda: faulthandler.enable(file=2), faulthandler.is_enabled),
}


RESTORED = (
    *("environment", "directory", "umask", "search path", "signal handlers", "warnings", "logging"),
    "standard output",
)
"""In the driver's own process, by ``inline``."""


def look() -> dict[str, str]:
    print("in its own log")
    return {name: repr(see()) for name, (_, see) in STATES.items()}


def change() -> dict[str, str]:
    """What it finds afterwards: each change is one that :func:`look` sees."""
    for change, _ in STATES.values():
        change()
    random.seed(0)
    np.random.seed(0)
    atexit.register(lambda: os.kill(os.getppid(), signal.SIGKILL))
    return {name: repr(see()) for name, (_, see) in STATES.items()}


def draw() -> list[float]:
    return [random.random(), float(np.random.random())]


def pipeline_of(tmp_path: Path, *functions: Callable[..., Any], **options: Any) -> tuple[Pipeline, list[Task]]:
    """One after the other."""
    p, tasks = Pipeline("states", base_dir=tmp_path), list[Task]()
    for number, function in enumerate(functions):
        tasks.append(p.function(function, name=f"{number}-{function.__name__}", after=tasks[-1:], **options))
    return p, tasks


def returned(p: Pipeline, tasks: list[Task], tmp_path: Path, executor: Any) -> tuple[Path, list[Any]]:
    cpus = None if executor == "inline" else 1
    result = p.run(executor=executor, num_cpus=cpus, progress=False, output_dir=tmp_path)
    assert result.status is RunStatus.SUCCEEDED, {name: task.failure for name, task in result.tasks.items()}
    return result.folder, [result.tasks[task.name].outputs["return"] for task in tasks]


@pytest.mark.parametrize("executor", ["process", "ray"])
def test_nothing_crosses_from_one_attempt_to_the_next(tmp_path: Path, executor: Any) -> None:
    functions = (look, change, look, draw, change, draw)
    p, tasks = pipeline_of(tmp_path, *functions)
    folder, (first, changed, second, drawn, _, again) = returned(p, tasks, tmp_path, executor)
    assert {name for name in STATES if changed[name] == first[name]} == set()
    assert second == first
    assert not set(drawn) & set(again)
    logs = [task.last_attempt.folder for task in read_run(folder).tasks if task.last_attempt and "look" in task.name]
    assert [(folder / log / "output.log").read_text() for log in logs] == ["in its own log\n"] * 2


def change_some() -> None:
    for name in RESTORED:
        STATES[name][0]()


def look_at_some() -> dict[str, str]:
    return {name: repr(STATES[name][1]()) for name in RESTORED}


def seed() -> None:
    random.seed(0)


def test_inline_puts_back_what_it_can(tmp_path: Path) -> None:
    before = look_at_some()
    p, tasks = pipeline_of(tmp_path, look_at_some, change_some, look_at_some, seed)
    _, (first, _, second, _) = returned(p, tasks, tmp_path, "inline")
    first.pop("signal handlers"), second.pop("signal handlers")  # while an attempt runs the driver has its own
    assert first == second
    assert look_at_some() == before
    assert random.random() != random.Random(0).random()


def test_inline_gives_each_attempt_random_numbers_of_its_own(tmp_path: Path) -> None:
    p, tasks = pipeline_of(tmp_path, draw, draw)
    random.seed(0)
    np.random.seed(0)
    expected = draw()
    random.seed(0)
    np.random.seed(0)
    _, (first, second) = returned(p, tasks, tmp_path, "inline")
    assert len({*first, *second, *expected}) == 6
    assert draw()[1] == expected[1]  # the program's own go on as if nothing had run


def say_so_and_pause(begun: Connection) -> None:
    begun.send("begun")
    signal.pause()


def end_a_child() -> int | None:
    """End it once it runs: what comes while it is being forked, Python forgets for whoever has a handler."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=say_so_and_pause, args=(there,))
    child.start()
    here.recv()
    child.terminate()
    child.join(10)
    code = child.exitcode
    child.kill()
    return code


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_what_a_task_forks_can_be_ended_by_a_signal(tmp_path: Path, executor: Any) -> None:
    p, tasks = pipeline_of(tmp_path, end_a_child)
    assert returned(p, tasks, tmp_path, executor)[1] == [-signal.SIGTERM]


def count() -> list[int]:
    CACHE.append(1)
    return [len(CACHE), os.getpid()]


@pytest.mark.parametrize("executor", ["process", "ray"])
def test_those_that_ask_for_it_share_a_process_and_no_other_finds_it(tmp_path: Path, executor: Any) -> None:
    p, shared = pipeline_of(tmp_path, count, count, count, isolation="shared")
    fresh = p.function(count, name="fresh", after=[shared[-1]])
    _, counted = returned(p, [*shared, fresh], tmp_path, executor)
    assert [number for number, _ in counted] == [1, 2, 3, 1]
    assert len({pid for _, pid in counted[:3]}) == 1


def test_an_unknown_isolation_is_refused() -> None:
    p: Any = Pipeline("states")
    p.function(count, isolation="none")
    with pytest.raises(Exception, match="isolation must be 'fresh' or 'shared', got 'none'"):
        p.build()


@pytest.mark.parametrize("executor", ["process"])
def test_where_no_fork_is_possible_each_attempt_has_a_process(
    tmp_path: Path, executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYNB_DAG_RUNNER_FORK", "off")
    p, tasks = pipeline_of(tmp_path, count, count)
    _, counted = returned(p, tasks, tmp_path, executor)
    assert [number for number, _ in counted] == [1, 1]
