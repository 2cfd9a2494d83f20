"""What the processes of an attempt used."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import psutil


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


def has_children() -> bool:
    """Whether this process has child processes; costs microseconds, unlike a walk over all processes."""
    try:
        return any((thread / "children").read_text().strip() for thread in Path("/proc/self/task").iterdir())
    except OSError:
        return bool(psutil.Process().children())
