"""Tell whether the system killed a process for lack of memory, by the kernel's count of such deaths."""

from pathlib import Path

_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")
_VMSTAT = Path("/proc/vmstat")


def kills(cgroup: Path = _CGROUP, mounted: Path = _CGROUPS, vmstat: Path = _VMSTAT) -> int | None:
    """How many processes were killed for lack of memory: in this process's control group, else on this machine.

    None where the system does not say. Two values compared tell whether there was one between.

    Args:
        cgroup: which control groups this process is in.
        mounted: where they are, version 1 or 2.
        vmstat: counts of the machine.
    """
    for path in [*_counts_of_group(cgroup, mounted), vmstat]:
        try:
            words = path.read_text().split()
        except OSError:
            continue
        if "oom_kill" in words[:-1]:
            return int(words[words.index("oom_kill") + 1])
    return None


def _counts_of_group(cgroup: Path, mounted: Path) -> list[Path]:
    """Candidates; in a container the group's path may be as seen from outside, and the group itself at the top."""
    found = []
    try:
        lines = cgroup.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            top, name = mounted / "memory", "memory.oom_control"
        elif not controllers:
            top, name = mounted, "memory.events"
        else:
            continue
        found += [top / group.lstrip("/") / name, top / name]
    return found
