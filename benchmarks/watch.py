"""Runs one command and says what it cost, seen from outside; standard library only, so that it starts quickly.

``python watch.py RESULT BOUND_S COMMAND ...``: writes a JSON object to RESULT. The command keeps our standard streams.

Processor time is that of the command and of everything that it started. Orphans become children of this process (it is
a "subreaper"), so that the system counts them here when they end. Ray's node ignores the end of its children; those are
counted by nobody, and so taken from the last look at the table of processes.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

LOOK_S = 0.02
"""Between two looks at the command's own memory; its peak is missed only if it comes later than this before the end."""
TREE_S = 0.2
"""Between two looks at the processes below it: a look takes some milliseconds."""
ORPHANS_S = 10.0
"""What processes get to end by themselves after the command has; what is left then is named and killed."""

_PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Entry:
    """A line of the table of processes; ``ticks``: its processor time and that of children it has waited for."""

    pid: int
    name: str
    parent: int
    ticks: int
    begun: int


@dataclass
class Watched:
    """What is known so far.

    Attributes:
        reaped: processes that were counted when they ended.
        seen: the last look at each other one, and whether its parent ignores the end of its children.
    """

    cpu_s: float = 0.0
    reaped: set[int] = field(default_factory=set)
    seen: dict[tuple[int, int], tuple[Entry, bool]] = field(default_factory=dict)

    def count(self, pid: int, usage: resource.struct_rusage) -> None:
        """Take the end of a process."""
        self.reaped.add(pid)
        self.cpu_s += usage.ru_utime + usage.ru_stime

    def reap(self) -> None:
        """Take the ends that have happened.

        Raises:
            ChildProcessError: there is no process left.
        """
        while True:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            self.count(pid, usage)

    def look(self) -> list[Entry]:
        """Look at all processes below this one."""
        below = descendants(table())
        ignoring = {entry.pid: ignores_children(entry.pid) for entry in below}
        for entry in below:
            self.seen[entry.pid, entry.begun] = (entry, ignoring.get(entry.parent, False))
        return below

    def total_cpu_s(self) -> float:
        """Of all that has ended."""
        lost = [entry.ticks for entry, uncounted in self.seen.values() if uncounted and entry.pid not in self.reaped]
        return self.cpu_s + sum(lost) / _TICKS_PER_S


def table() -> dict[int, Entry]:
    """All processes of this machine."""
    found = {}
    for directory in os.listdir("/proc"):  # noqa: PTH208 - half the time of iterdir(), five times a second
        if directory.isdecimal():
            try:
                text = Path("/proc", directory, "stat").read_text()
            except OSError:
                continue
            name, _, rest = text.partition("(")[2].rpartition(")")
            fields = rest.split()
            found[int(directory)] = Entry(
                int(directory), name, int(fields[1]), sum(map(int, fields[11:15])), int(fields[19])
            )
    return found


def descendants(processes: dict[int, Entry]) -> list[Entry]:
    """Those below this process."""
    children: dict[int, list[Entry]] = {}
    for entry in processes.values():
        children.setdefault(entry.parent, []).append(entry)
    found = list(children.get(os.getpid(), ()))
    for entry in found:
        found.extend(children.get(entry.pid, ()))
    return found


def ignores_children(pid: int) -> bool:
    """Whether a process has asked not to be told of its children's ends."""
    return bool(int(status_field(pid, "SigIgn") or "0", 16) >> (signal.SIGCHLD - 1) & 1)


def status_field(pid: int, name: str) -> str | None:
    """A field of ``/proc/PID/status``; None: the process has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return line.split()[1]
    except OSError:
        pass
    return None


def end(below: list[Entry]) -> None:
    """Kill processes."""
    for entry in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(entry.pid, signal.SIGKILL)


def until_gone(watched: Watched, bound_s: float) -> list[str]:
    """Wait for what the command left; returns the names of what did not end by itself."""
    deadline = time.perf_counter() + bound_s
    left: list[str] = []
    while True:
        try:
            watched.reap()
        except ChildProcessError:
            return left
        if time.perf_counter() > deadline:
            below = watched.look()
            left = left or [entry.name for entry in below]
            end(below)
        time.sleep(LOOK_S)


def watch(command: list[str], bound_s: float) -> dict[str, object]:
    """Run the command to its end, or to the bound."""
    watched = Watched()
    started, begin = time.time(), time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    try:
        peak_kib = until_end(watched, pid, begin + bound_s)
    except KeyboardInterrupt:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)  # it may be of another process group; now it can remove its files
        until_gone(watched, ORPHANS_S)
        raise
    wall_s = time.perf_counter() - begin
    _, status, usage = os.wait4(pid, 0)
    watched.count(pid, usage)
    left = until_gone(watched, ORPHANS_S)
    return {
        "exit_code": os.waitstatus_to_exitcode(status),
        "started": started,
        "wall_s": wall_s,
        "cpu_s": watched.total_cpu_s(),
        "peak_bytes": peak_kib * 1024,
        "left": left,
    }


def until_end(watched: Watched, pid: int, deadline: float) -> int:
    """Look at the command until it ends, or kill all of it after the deadline; the most memory that it had, in KiB."""
    peak_kib = 0
    looked = 0.0
    handle = os.pidfd_open(pid)
    while not select.select([handle], [], [], LOOK_S)[0]:
        now = time.perf_counter()
        peak_kib = max(peak_kib, int(status_field(pid, "VmHWM") or 0))
        if now - looked > TREE_S:
            looked = now
            watched.look()
        orphans(watched, pid)
        if now > deadline:
            end(watched.look())
    os.close(handle)
    return peak_kib


def orphans(watched: Watched, main: int) -> None:
    """Take the ends of processes that became our children, and leave that of the command itself."""
    while True:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None or found.si_pid == main:
            return
        _, _, usage = os.wait4(found.si_pid, 0)
        watched.count(found.si_pid, usage)


def main() -> None:
    """Watch what the command line says."""
    result, bound_s, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        found = watch(command, float(bound_s))
    finally:
        end(descendants(table()))  # nothing, unless we were interrupted twice
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
