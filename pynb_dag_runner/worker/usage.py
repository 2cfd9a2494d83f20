"""Measure what the processes of an attempt used."""

import contextlib
import ctypes
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from pynb_dag_runner.processes import marks
from pynb_dag_runner.processes.process_table import end_marked

_PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""


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


def cpu_time_s(pid: int) -> float:
    """Seconds of processor time that one process has used; 0 if it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


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


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent ends, so that :func:`has_children` knows of them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_what_is_left(marker: str, *, adopted: bool) -> None:
    """End what an attempt in this process leaves running.

    Args:
        marker: ``NAME=value``, in the environment of all that it started, if that was not cleared.
        adopted: whether orphans were; if not, what is left need not be among the children.
    """
    if not adopted:
        end_marked(marker, marks.own())
    elif has_children():
        end_marked(marker, marks.own())
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass  # an adopted one has nobody else to ask how it ended


def has_children() -> bool:
    """Whether this process has child processes; costs microseconds, unlike a walk over all processes."""
    try:
        return any((thread / "children").read_text().strip() for thread in Path("/proc/self/task").iterdir())
    except OSError:
        return bool(psutil.Process().children())
