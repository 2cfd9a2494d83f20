"""Whether the servers of a Ray are still there: its own remedies take a minute, and one of them aborts the driver.

Those on this machine are watched as processes, a cluster's control service by a connection to it.
"""

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pynb_dag_runner.executors.on_ray.internals import SERVER_NAMES
from pynb_dag_runner.processes.process_table import describe_exit

_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)
_REACHED_BOUND_S = 2.0
_AGAIN_S = 1.0
_AWAY_BOUND_S = 30.0
"""A cluster may start its control service again; Ray gives up, and this process with it, after 60 s."""
_SILENT_S = 10
"""Before the system asks whether the other machine is still there, three times."""


@dataclass(frozen=True)
class _Server:
    name: str
    pid: int
    end: int


class Servers:
    """Processes of Ray on this machine. Close it.

    Attributes:
        was_killed: the one that is dead was ended from outside.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Server] = {}
        self._dead: str | None = None
        self.was_killed = False

    def __len__(self) -> int:
        return len(self._known)

    def watch_children_of(self, thread: int) -> None:
        """Those that one of this process's threads has started until now.

        Args:
            thread: its id, as the system has it.
        """
        with contextlib.suppress(OSError):  # not every system shows them
            pids = Path(f"/proc/self/task/{thread}/children").read_text().split()
            self.watch(int(pid) for pid in pids if int(pid) not in self._known)

    def watch(self, pids: Iterable[int]) -> None:
        """Those of these processes that are servers of Ray's."""
        for pid in pids:
            with contextlib.suppress(OSError):  # it was gone already, and none of ours
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if name in SERVER_NAMES:
                    self._known[pid] = _Server(name, pid, os.pidfd_open(pid))

    def dead(self) -> str | None:
        """Which one is dead, in words; None: none is."""
        for server in self._known.values():
            if self._dead is None and select.select([server.end], [], [], 0)[0]:
                code = _exit_code(server)
                self._dead = f"{server.name} ended ({f'process {server.pid}' if code is None else describe_exit(code)})"
                self.was_killed = code in _FROM_OUTSIDE
        return self._dead

    def close(self) -> None:
        """Watch no more."""
        for server in self._known.values():
            os.close(server.end)
        self._known.clear()


def _exit_code(server: _Server) -> int | None:
    """As subprocess has it; leaves the process's status to whoever started it. None: nobody knows."""
    with contextlib.suppress(OSError):
        status = os.waitid(os.P_PIDFD, server.end, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if status is not None:
            killed = status.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
            return -status.si_status if killed else status.si_status
    return None


class Lifeline:
    """A connection to a cluster's control service, which says nothing and ends with it. Close it.

    Args:
        address: ``host:port``.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: socket.socket | None = None
        self._was_there = False
        self._away_since: float | None = None
        self._next_try = 0.0

    def dead(self) -> str | None:
        """That it is not there any more, in words; None: it is, or may come back."""
        if self._connection is not None and select.select([self._connection], [], [], 0)[0]:
            self._read(self._connection)
        now = time.monotonic()
        if self._connection is None and now >= self._next_try:
            self._connect()
        # What never answered is not reached in this way, by this release of Ray or through this network.
        if not self._was_there or self._away_since is None or time.monotonic() - self._away_since < _AWAY_BOUND_S:
            return None
        return f"the cluster's control service at {self._address} has not answered for {_AWAY_BOUND_S:g} s"

    def _read(self, connection: socket.socket) -> None:
        """It greets, and hangs up after a while on those who say nothing."""
        try:
            said = connection.recv(4096)
        except OSError:
            said = b""
        if not said:
            self.close()

    def _connect(self) -> None:
        host, _, port = self._address.rpartition(":")
        try:
            connection = socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_BOUND_S)
        except OSError:
            now = time.monotonic()
            self._away_since = self._away_since or now
            self._next_try = now + _AGAIN_S
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, seconds in (("TCP_KEEPIDLE", _SILENT_S), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
        self._connection, self._away_since, self._was_there = connection, None, True

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
