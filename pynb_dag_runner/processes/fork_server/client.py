"""Start a fork server, ask it for processes, and wait for these."""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pynb_dag_runner.processes.fork_server import wire
from pynb_dag_runner.processes.fork_server.child import ROOM_BYTES, ROOM_VARIABLE
from pynb_dag_runner.processes.fork_server.wire import ForkedExit, ForkReply, ForkRequest
from pynb_dag_runner.processes.private_directory import is_same_user

SERVER = "pynb_dag_runner.processes.fork_server.server"

SWITCH = "PYNB_DAG_RUNNER_FORK"
"""Environment variable: ``off`` starts each process as a program of its own, as everybody else does."""

_REPLY_BOUND_S = 30.0
"""A server that is still importing answers when it has; one that does not in this time is not waited for."""
_LATE_BOUND_S = 0.5
"""The same where somebody has waited in vain: what hangs at an import costs a run this once. One that took its time is
used as soon as it answers."""


@dataclass(frozen=True, kw_only=True)
class ServerPlace:
    """Where a server can be asked.

    Attributes:
        directory: of its sockets, on the machine where it was started.
        preload: modules that it imports on the user's wish.
    """

    directory: Path
    preload: tuple[str, ...] = ()

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.directory / wire.BASE


def is_possible() -> bool:
    """Whether processes may be forked here."""
    return sys.platform == "linux" and os.environ.get(SWITCH, "").lower() not in ("off", "0", "no", "false")


class ForkRefused(Exception):
    """There is no process; the message says why, in words that go into a record."""


class ForkServer:
    """A server process, which ends when this object is closed or its process ends. It is ready some time later.

    Args:
        entries: modules that its processes run, see :mod:`pynb_dag_runner.processes.fork_server.server`.
        environment: of the server.
        modules: that its processes need.
        preload: modules to import on the user's wish.
        below: a private directory with a short path, for the server's own.

    Attributes:
        place: where it can be asked.
    """

    def __init__(
        self,
        *entries: str,
        environment: Mapping[str, str],
        modules: Sequence[str] = (),
        preload: Sequence[str] = (),
        below: Path,
    ) -> None:
        directory = Path(tempfile.mkdtemp(prefix="fork-", dir=below))
        self.place = ServerPlace(directory=directory, preload=tuple(preload))
        with wire.bound(self.place.socket) as listener:  # before there is a server: who comes early waits
            owner, number = str(os.getpid()), listener.fileno()
            names = [",".join(entries), ",".join(modules)]
            self._process = subprocess.Popen(
                [sys.executable, "-m", SERVER, owner, str(directory), str(number), *names, *preload],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[number],
                start_new_session=True,
                cwd=directory,
                env={**environment, ROOM_VARIABLE: "-" * ROOM_BYTES},
            )

    def import_for(self, cwd: Path, environment: Mapping[str, str]) -> None:
        """Have it import the preload for processes with such surroundings, before one is asked for."""
        request = ForkRequest(arguments=(), cwd=str(cwd), environment=environment, purpose=wire.FIND)
        with contextlib.suppress(ForkRefused):
            ask(self.place.socket, request).hang_up()

    def close(self) -> None:
        """End it, and with it what it forked."""
        assert self._process.stdin is not None
        self._process.kill()  # the system ends its processes with it
        self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(self.place.directory, ignore_errors=True)


class ForkedProcess:
    """A process that a server forked, with the methods of ``subprocess.Popen`` that jupyter_client uses.

    It is killed when this object is closed, or its process ends.
    """

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket, reply: ForkReply) -> None:
        assert reply.pid is not None
        self.pid = reply.pid
        self.preloaded, self.remarks = tuple(reply.preloaded), tuple(reply.remarks)
        self.returncode: int | None = None
        self._connection = connection

    def fileno(self) -> int:
        """Readable when :meth:`poll` has something new to say."""
        return self._connection.fileno()

    def poll(self) -> int | None:
        """How it ended, as ``Popen.returncode`` has it; None: it still runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"forked process {self.pid}", timeout or 0.0)
        return code

    def _look(self, timeout_s: float | None) -> int | None:
        if self.returncode is None:
            self._connection.settimeout(timeout_s)
            try:
                fields, _ = wire.receive(self._connection)
                self.returncode = ForkedExit(**fields).returncode
            except (BlockingIOError, TimeoutError):
                return None
            except (EOFError, OSError, ValueError):
                self.returncode = -signal.SIGKILL  # the server is gone, and the system ends its processes with it
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def close(self) -> None:
        """Have the server end it, and ask no more about it."""
        self._connection.close()
        if self.returncode is None:
            self.returncode = -signal.SIGKILL

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Asked:
    """A server was asked for a process and has not answered yet; it does when its imports are done.

    Close it, or take the answer: what was forked for nobody is killed.

    Attributes:
        bound_s: how long to wait for the answer.
    """

    def __init__(self, connection: socket.socket, server: Path, bound_s: float) -> None:
        self.bound_s = bound_s
        self._connection = connection
        self._server = server

    def fileno(self) -> int:
        """Readable when the answer is there."""
        return self._connection.fileno()

    def close(self) -> None:
        """Want no answer any more; whoever waits for it hears that there is none."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def give_up(self) -> ForkRefused:
        """The answer did not come in time; others need not wait as long."""
        self.close()
        with contextlib.suppress(OSError):  # it is gone
            _mark_of(self._server).touch()
        return ForkRefused(f"the fork server did not answer within {self.bound_s:g} s")

    def hang_up(self) -> None:
        """Leave without an answer; what was asked for is done."""
        self._connection.close()

    def is_answered(self, timeout_s: float) -> bool:
        """Whether there is an answer, or none to come, before so many seconds are over."""
        ready, _, _ = select.select([self._connection], [], [], timeout_s)
        return bool(ready)

    def answer(self) -> ForkedProcess:
        """The process; waits for it as long as it is bound to. Raises ForkRefused: there is none."""
        reply = self._reply()
        if reply.pid is None:
            self._connection.close()
            raise ForkRefused("the fork server gave no process")
        return ForkedProcess(self._connection, reply)

    def found(self) -> Path:
        """The socket of what has imported ahead, or is about to. Raises ForkRefused."""
        reply = self._reply()
        self._connection.close()
        if reply.socket is None:
            raise ForkRefused("the fork server gave no place")
        return self._server.with_name(reply.socket)

    def imported(self) -> None:
        """Returns when it has; raises ForkRefused."""
        self._reply()
        self._connection.close()

    def _reply(self) -> ForkReply:
        try:
            fields, _ = wire.receive(self._connection)
            reply = ForkReply(**fields)
        except TimeoutError:
            raise self.give_up() from None
        except (OSError, EOFError, ValueError, TypeError) as error:
            self._connection.close()
            raise ForkRefused(_no_answer(error)) from error
        if reply.refusal is not None:
            self._connection.close()
            raise ForkRefused(reply.refusal)
        return reply


def ask(
    server: Path, request: ForkRequest, descriptors: Sequence[int] = (), *, bound_s: float = _REPLY_BOUND_S
) -> Asked:
    """Ask a server for a process, or what else the request's purpose is.

    Args:
        server: its socket.
        descriptors: the first two become the process's standard output and error; they stay open here.
        bound_s: how long to wait for the answer; where somebody has waited in vain it is less.

    Raises:
        ForkRefused: nobody can be asked.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound_s = min(bound_s, _LATE_BOUND_S) if _mark_of(server).exists() else bound_s
    connection.settimeout(bound_s)
    try:
        connection.connect(str(server))
        if not is_same_user(connection):
            raise PermissionError(f"{server}: another user listens there")
        wire.send(connection, request, descriptors)
    except OSError as error:
        connection.close()
        raise ForkRefused(_no_answer(error)) from error
    return Asked(connection, server, bound_s)


def _mark_of(server: Path) -> Path:
    """There once somebody waited for it in vain."""
    return server.with_name(f"{server.name}-late")


def _no_answer(error: Exception) -> str:
    return f"the fork server did not answer: {str(error) or type(error).__name__}"


def own_oom_score_adj() -> int:
    """This process's, for a request."""
    return int(Path("/proc/self/oom_score_adj").read_text())
