"""Processes of an attempt: what they used, and ending them with everything that they started."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_END_BOUND_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """CPU seconds (user and system, children included) and the largest resident set in bytes; None where unknown."""

    cpu_time_s: float | None = None
    peak_memory_bytes: int | None = None


def usage_of(pid: int) -> Usage:
    """What the process ``pid`` has used so far, with its living children."""
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        cpu = times.user + times.system + times.children_user + times.children_system
        peak = peak_memory_bytes(pid) or 0
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child_times = child.cpu_times()
                cpu += child_times.user + child_times.system
                peak += peak_memory_bytes(child.pid) or 0
    except psutil.Error:
        return Usage()
    return Usage(cpu_time_s=round(cpu, 3), peak_memory_bytes=peak or None)


def peak_memory_bytes(pid: int) -> int | None:
    """The largest resident set that the process ever had (VmHWM of proc(5)); None where the system does not say."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return None
    return None


def forget_peak_memory() -> None:
    """Start measuring the peak of this process afresh: a worker serves many attempts (proc(5), clear_refs)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def with_marker(marker: str) -> list[psutil.Process]:
    """Processes whose environment holds ``marker`` (``NAME=value``), except this one.

    The environment is inherited whatever a process does with sessions and process groups, so this finds children that
    a walk over the process tree would lose.
    """
    wanted = marker.encode()
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


def end_processes(marker: str) -> int:
    """Kill all processes that carry ``marker``, until none is left.

    Returns:
        How many were killed.
    """
    killed: set[int] = set()
    give_up = time.monotonic() + _END_BOUND_S
    while processes := [process for process in with_marker(marker) if _alive(process)]:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
                killed.add(process.pid)
        psutil.wait_procs(processes, timeout=0.2)
        if time.monotonic() > give_up:
            break
    return len(killed)


def has_children() -> bool:
    """Whether this process has child processes; costs microseconds, unlike a walk over all processes."""
    try:
        return any((thread / "children").read_text().strip() for thread in Path("/proc/self/task").iterdir())
    except OSError:
        return bool(psutil.Process().children())


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def describe_exit(code: int | None) -> str:
    """A process's exit in words: ``exit code 3`` or ``signal SIGSEGV``."""
    if code is None:
        return "no exit code"
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        hint = " (often the system's answer to too little memory)" if -code == signal.SIGKILL else ""
        return f"signal {name}{hint}"
    return f"signal {-code}"
