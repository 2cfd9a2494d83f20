"""What this machine gives to a process."""

import os
from pathlib import Path


def usable_cpus() -> int:
    """Processors that this process may use: its affinity, and the limit of its control group if that is lower.

    Ray counts the host's processors in some containers (ray issue 27958).
    """
    affinity = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(affinity, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return affinity


def total_memory_bytes() -> int:
    """Memory that this process may use: the machine's, or the limit of its control group if that is lower."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            return min(machine, int(limit.read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return machine
