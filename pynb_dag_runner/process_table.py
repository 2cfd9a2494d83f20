"""Processes as the system shows them: how one ended, what a family of them uses, ending all that bear a mark."""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_END_BOUND_S = 2.0


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


def tree_memory_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants, in bytes; 0 if it is gone."""
    import psutil

    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += member.memory_info().rss
    return total


def with_mark(mark: str) -> "list[psutil.Process]":
    """Processes whose environment holds ``mark`` (``NAME=value``), except this one.

    The environment is inherited whatever a process does with sessions and process groups, so this finds children that
    a walk over the process tree would lose.
    """
    import psutil

    wanted = mark.encode()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            environment = Path(entry.path, "environ").read_bytes()
        except OSError:
            continue  # gone meanwhile, or another user's
        if wanted in environment.split(b"\0"):
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(int(entry.name)))
    return found


def end_marked(mark: str) -> int:
    """Kill all processes that bear ``mark``, until none is left.

    Returns:
        How many were killed.
    """
    import psutil

    killed: set[int] = set()
    give_up = time.monotonic() + _END_BOUND_S
    while processes := [process for process in with_mark(mark) if _alive(process)]:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
                killed.add(process.pid)
        psutil.wait_procs(processes, timeout=0.2)
        if time.monotonic() > give_up:
            break
    return len(killed)


def _alive(process: "psutil.Process") -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
