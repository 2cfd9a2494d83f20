"""Look at the system's processes: how one ended, what a family of them uses; end all that bear a mark."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pynb_dag_runner.processes import marks

if TYPE_CHECKING:
    import psutil

_END_BOUND_S = 2.0
_PARENT_AFTER_NAME, _GROUP_AFTER_NAME, _SESSION_AFTER_NAME, _START_AFTER_NAME = 1, 2, 3, 19
"""Fields 4, 5, 6 and 22 of proc(5)'s ``/proc/PID/stat``; the name is the second one."""


def describe_exit(code: int | None) -> str:
    """A process's exit in words: ``exit code 3`` or ``signal SIGSEGV``.

    Args:
        code: as ``subprocess.Popen.returncode`` has it: negative for a signal; None if it is not known.
    """
    if code is None:
        return "no exit code"
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        hint = " (often the system's answer to too little memory)" if -code == signal.SIGKILL else ""
        return f"signal {name}{hint}"
    return f"signal {-code}"


def start_of(pid: int) -> int | None:
    """When the process started, in the system's ticks: with its pid, which another one may get, it names it.

    Returns:
        None if there is none.
    """
    fields = _stat(pid)
    return None if fields is None else int(fields[_START_AFTER_NAME])


def _stat(pid: int) -> list[bytes] | None:
    """What follows a process's name in proc(5)'s ``/proc/PID/stat``; the name may hold anything. None: it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return stat[stat.rindex(b")") + 1 :].split()


def tree_memory_bytes(pid: int, *, enough: int | None = None) -> int:
    """Resident memory of a process and its descendants, in bytes; 0 if it is gone. See :func:`memory_bytes`."""
    import psutil

    try:
        process = psutil.Process(pid)
        return memory_bytes([process, *process.children(recursive=True)], enough=enough)
    except psutil.Error:
        return 0


def memory_bytes(processes: "Iterable[psutil.Process]", *, enough: int | None = None) -> int:
    """Resident memory of processes, in bytes.

    Args:
        enough: a sum above this is measured again with each page that processes share counted once, as it should be:
            the copies of a process that a pool forks share most of theirs. It is not done always, since the system
            walks through all the pages for it.
    """
    import psutil

    members = list(processes)
    total = 0
    for member in members:
        with contextlib.suppress(psutil.Error):
            total += member.memory_info().rss
    if enough is None or total <= enough:
        return total
    shared_once = [_proportional_bytes(member.pid) for member in members]
    return total if None in shared_once else sum(size for size in shared_once if size is not None)


def _proportional_bytes(pid: int) -> int | None:
    """Pss of proc(5): each page divided by the number of processes that have it; None if the system does not say."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except FileNotFoundError:
        return 0 if not Path(f"/proc/{pid}").exists() else None
    except ProcessLookupError:
        return 0  # it ended meanwhile
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def with_mark(mark: str, number: int = 0) -> "list[psutil.Process]":
    """Processes whose environment holds ``mark`` (``NAME=value``), except this one and those that it descends from.

    The environment is inherited whatever a process does with sessions and process groups, so this finds children that
    a walk over the process tree would lose. Where it was cleared, the number is left: see
    :mod:`pynb_dag_runner.processes.marks`.

    Args:
        number: whoever has this one belongs to them, too. If the mark's value is one, it need not be told.
    """
    import psutil

    found = []
    for pid in _marked(mark, number):
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(pid))
    return found


def _marked(mark: str, number: int) -> Iterator[int]:
    """The same, the youngest first and each as soon as it is found: some live for a few milliseconds."""
    wanted, value = mark.encode(), mark.partition("=")[2]
    number = int(value) if marks.is_number(value) else number
    own = _own_line()
    for pid in sorted((int(name) for name in os.listdir("/proc") if name.isdecimal()), reverse=True):  # noqa: PTH208
        if pid not in own and (_has_number(f"/proc/{pid}", number) or _has_in_environment(f"/proc/{pid}", wanted)):
            yield pid


def _own_line() -> set[int]:
    """This process, its parent, and so on: a fork has the number of what it was forked from."""
    line, pid = {os.getpid()}, os.getppid()
    while pid > 1 and (fields := _stat(pid)) is not None:
        line.add(pid)
        pid = int(fields[_PARENT_AFTER_NAME])
    return line


def _has_number(directory: str, number: int) -> bool:
    """Whether a process has it, and is not one of another user's that nobody here can end."""
    with contextlib.suppress(OSError):  # gone meanwhile, or another user's
        if number and marks.is_in(Path(directory, "limits").read_bytes(), number):
            os.kill(int(Path(directory).name), 0)
            return True
    return False


def _has_in_environment(directory: str, mark: bytes) -> bool:
    with contextlib.suppress(OSError):  # gone meanwhile, or another user's
        return mark in Path(directory, "environ").read_bytes().split(b"\0")
    return False


def end_marked(mark: str, number: int = 0) -> int:
    """Kill all processes that :func:`with_mark` finds, until none is left.

    Returns:
        How many were killed.
    """
    import psutil

    killed: set[int] = set()
    own_session = os.getsid(0)
    give_up = time.monotonic() + _END_BOUND_S
    while time.monotonic() < give_up:
        found = []
        for pid in _marked(mark, number):
            if _is_over(fields := _stat(pid)):
                continue
            if fields is not None and int(fields[_SESSION_AFTER_NAME]) != own_session:
                _kill_orphaned_group(int(fields[_GROUP_AFTER_NAME]))
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(pid))
                found[-1].send_signal(signal.SIGKILL)
            killed.add(pid)
        if not found:
            break
        psutil.wait_procs(found, timeout=0.2)
    return len(killed)


def _is_over(fields: list[bytes] | None) -> bool:
    """Whether a process has ended and only waits to be asked how."""
    return fields is not None and fields[0] in (b"Z", b"X")


def _kill_orphaned_group(group: int) -> None:
    """Kill all of a group at once whose leader has gone: one that forks itself and ends, on and on, is not caught else.

    Where the leader is there, others than the run's may be in its group: a script that has started the run, say.
    """
    leader = _stat(group)
    if leader is None or _is_over(leader):
        with contextlib.suppress(OSError):  # gone meanwhile
            os.killpg(group, signal.SIGKILL)
