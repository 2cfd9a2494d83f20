"""Keep the children of a fork server that have imported what the user asked for, one for each set of surroundings.

What a module reads at its import, an environment variable or a file of the working directory, is nobody's guess. So the
modules are imported once for each environment and directory that processes are asked for in, when the first one is.
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pynb_dag_runner.processes.fork_server import wire

MOST = 8
"""Each has the imported modules in its memory."""

Key = tuple[object, ...]
"""Tells sets of surroundings apart."""


@dataclass(eq=False, kw_only=True)
class Importer:
    """One.

    Attributes:
        name: of its socket.
        done: pipe that can be read when it has imported; None: that was heard.
        is_ready: it has.
        used: when it was last asked for.
    """

    key: Key
    name: str
    pid: int
    pidfd: int
    done: int | None
    is_ready: bool = False
    used: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Role:
    """What a new child of the server is to do.

    Attributes:
        listener: its socket.
        done: pipe to write to when it has imported.
    """

    listener: socket.socket
    done: int


class Importers:
    """Knows them, for the server.

    Args:
        directory: of their sockets.
        names: modules to import.
    """

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._directory = directory
        self._known: dict[Key, Importer] = {}
        self._failed: dict[Key, str] = {}
        self._count = 0

    def known(self, key: Key) -> Importer | None:
        """The one for these surroundings, if there is one already."""
        importer = self._known.get(key)
        if importer is not None:
            importer.used = time.monotonic()
        return importer

    def refusal(self, key: Key) -> str | None:
        """Why there can't be one for these surroundings; None: there can."""
        if not self.names:
            return "there is nothing to import"
        if key in self._failed:
            return self._failed[key]
        if len(self._known) >= MOST and not self._make_room():
            return f"modules have been imported for {MOST} other sets of variables and directories, all in use"
        return None

    def _make_room(self) -> bool:
        """End the one that has not been asked for longest, of those that nobody uses."""
        idle = [importer for importer in self._known.values() if importer.is_ready and not _has_children(importer.pid)]
        if not idle:
            return False
        oldest = min(idle, key=lambda importer: importer.used)
        del self._known[oldest.key]
        os.kill(oldest.pid, 9)
        return True

    def begin(self, key: Key) -> Importer | Role:
        """Fork one; in the new process its role is what this returns."""
        self._count += 1
        name = f"{wire.PRELOADED}-{self._count}"
        listener = wire.bound(self._directory / name)  # before there is a server: who comes early waits
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            self.forget()
            return Role(listener=listener, done=theirs)
        listener.close()
        os.close(theirs)
        importer = Importer(key=key, name=name, pid=pid, pidfd=os.pidfd_open(pid), done=ours, used=time.monotonic())
        self._known[key] = importer
        return importer

    def forget(self) -> None:
        """In a forked process: close what is the server's."""
        for importer in self._known.values():
            os.close(importer.pidfd)
            if importer.done is not None:
                os.close(importer.done)
        self._known.clear()

    def receive(self, importer: Importer) -> None:
        """It has imported, or died."""
        assert importer.done is not None
        importer.is_ready = os.read(importer.done, 1) != b""
        os.close(importer.done)
        importer.done = None

    def remove(self, importer: Importer) -> None:
        """It has ended. What can't be imported once is not tried again; one that was killed later is replaced."""
        _, status = os.waitpid(importer.pid, 0)
        os.close(importer.pidfd)
        (self._directory / importer.name).unlink(missing_ok=True)
        if self._known.get(importer.key) is importer:
            del self._known[importer.key]
        if not importer.is_ready:
            code = os.waitstatus_to_exitcode(status)
            how = f"exit code {code}" if code >= 0 else f"signal {-code}"
            self._failed[importer.key] = f"importing {', '.join(self.names)} ended its process: {how}"


def key_of(cwd: str, variables: Mapping[str, str]) -> Key:
    """Of surroundings: the working directory, and the variables that modules may read."""
    return (cwd, *sorted(variables.items()))


def _has_children(pid: int) -> bool:
    """Whether it has; yes where the system does not tell."""
    with contextlib.suppress(OSError):
        return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text().strip())
    return True
