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
_ENDING_S = 0.2
"""What a killed process may take to end before all of them are looked for again."""
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
    """Living processes whose environment holds ``mark``, except this one and those that it descends from.

    The environment is inherited whatever a process does with sessions and process groups, so this finds children that
    a walk over the process tree would lose. Where it was cleared, the number is left: see
    :mod:`pynb_dag_runner.processes.marks`.

    Args:
        mark: ``NAME=value``.
        number: whoever has this one belongs to them, too. If the mark's value is one, it need not be told.
    """
    import psutil

    found = []
    for pid in _Family(mark, number).members():
        with contextlib.suppress(psutil.Error):
            if not has_ended(pid):
                found.append(psutil.Process(pid))
    return found


def is_running(pid: int, created_s: float) -> bool:
    """Whether the process that was created then (seconds since 1970) still runs; another one may have got its pid."""
    import psutil

    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created_s) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):  # a pid below 0 is a ValueError
        return False


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie: one that has ended and whose parent has not asked how.

    Zombies of orphans stay for ever where the first process does not ask, as in a container without an init process.
    """
    return _is_over(_stat(pid))


def _is_over(fields: list[bytes] | None) -> bool:
    return fields is None or fields[0] in (b"Z", b"X")


class _Family:
    """All that bear a mark or a number, except this process and those that it descends from."""

    def __init__(self, mark: str, number: int) -> None:
        value = mark.partition("=")[2]
        self._mark = mark.encode()
        self._number = int(value) if marks.is_number(value) else number
        self._own_line = _own_line()

    def members(self) -> Iterator[int]:
        """Zombies included; the youngest first and each as soon as it is found: some live for a few milliseconds."""
        return (pid for pid in sorted(_pids(), reverse=True) if self.has(pid))

    def has(self, pid: int) -> bool:
        """Whether a process is one of them."""
        return pid not in self._own_line and (_has_number(pid, self._number) or _has_in_environment(pid, self._mark))


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - half the time of iterdir()


def _own_line() -> set[int]:
    """This process, its parent, and so on: a fork has the number of what it was forked from."""
    line, pid = {os.getpid()}, os.getppid()
    while pid > 1 and (fields := _stat(pid)) is not None:
        line.add(pid)
        pid = int(fields[_PARENT_AFTER_NAME])
    return line


def _has_number(pid: int, number: int) -> bool:
    """Whether a process has it, and is not one of another user's that nobody here can end."""
    with contextlib.suppress(OSError):  # gone meanwhile, or another user's
        if number and marks.is_in(Path(f"/proc/{pid}/limits").read_bytes(), number):
            os.kill(pid, 0)
            return True
    return False


def _has_in_environment(pid: int, mark: bytes) -> bool:
    with contextlib.suppress(OSError):  # gone meanwhile, or another user's
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def end_marked(mark: str, number: int = 0) -> None:
    """Kill all processes that :func:`with_mark` finds, until none is left."""
    import psutil

    family = _Family(mark, number)
    own_session = os.getsid(0)
    zombies: set[int] = set()
    give_up = time.monotonic() + _END_BOUND_S
    while time.monotonic() < give_up:
        living, is_new = [], False
        for pid in family.members():
            if pid in zombies:
                continue
            is_new = True
            fields = _stat(pid)
            if fields is None:
                continue  # it has ended, and may have forked before
            if int(fields[_SESSION_AFTER_NAME]) != own_session:
                _kill_orphaned_group(int(fields[_GROUP_AFTER_NAME]), family)
            if _is_over(fields):
                zombies.add(pid)
                continue
            with contextlib.suppress(psutil.Error):
                living.append(psutil.Process(pid))
                living[-1].send_signal(signal.SIGKILL)
        if not is_new:
            break
        _wait_until_ended(living)


def _kill_orphaned_group(group: int, family: _Family) -> None:
    """Kill all of a process group at once: one that forks itself and ends, on and on, can't be caught one by one.

    Only where its leader has gone and all that live belong to the family: others than the run's may be in the group, a
    script that has started the run, say. Where nobody asks how orphans ended, zombies are all that is seen of a chain
    of forks, and tell its group.
    """
    if not has_ended(group):
        return
    for pid in _pids():
        fields = _stat(pid)
        is_in = fields is not None and int(fields[_GROUP_AFTER_NAME]) == group
        if is_in and not family.has(pid) and not has_ended(pid):
            return
    with contextlib.suppress(OSError):  # gone meanwhile
        os.killpg(group, signal.SIGKILL)


def _wait_until_ended(processes: "list[psutil.Process]") -> None:
    """For a moment. Children of this process are asked how they ended."""
    import psutil

    give_up = time.monotonic() + _ENDING_S
    while processes and time.monotonic() < give_up:
        _, left = psutil.wait_procs(processes, timeout=0.01)
        processes = [process for process in left if not has_ended(process.pid)]
