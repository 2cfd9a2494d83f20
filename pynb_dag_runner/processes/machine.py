"""Tell how many processors, how much memory and how many open files this process may use."""

import os
import resource
from pathlib import Path

from pynb_dag_runner.errors import ExecutorError

_LEAST_OPEN_FILES = 128
"""With 48 a kernel waits for minutes for what it can't open; with 128 all executors work."""


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


def check_open_files() -> None:
    """Raises:
    ExecutorError: processes may open so few files that they would hang, or fail in odd places.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < _LEAST_OPEN_FILES:
        raise ExecutorError(
            f"a process may have no more than {files} files open here (ulimit -n); a run needs {_LEAST_OPEN_FILES}"
        )
