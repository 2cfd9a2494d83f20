"""The messages of a fork server and its clients: JSON over a Unix socket, file descriptors beside it."""

import contextlib
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

BASE = "base"
PRELOADED = "preloaded"
"""Names of a server's sockets: processes with its own imports alone; and, with a number, what it has imported ahead."""

FORK, FIND, WAIT = "fork", "find", "wait"
"""Purposes of a request: a process; the socket of what has imported, or is about to, for such a process; that it has
imported."""
_BACKLOG = 128

_LENGTH = struct.Struct("!I")
_MAX_BYTES = 64 * 1024 * 1024
_MAX_DESCRIPTORS = 8


@dataclass(frozen=True, kw_only=True)
class ForkRequest:
    """A process that is asked for.

    Attributes:
        arguments: for the entry.
        cwd: where it starts.
        environment: the whole of it.
        purpose: FORK, FIND or WAIT.
        entry: which of the server's entries the process runs; empty: the first.
        oom_score_adj: as in ``/proc/PID/oom_score_adj``; the one of whoever asks.
    """

    arguments: Sequence[str]
    cwd: str
    environment: Mapping[str, str] = field(repr=False)
    entry: str = ""
    purpose: str = FORK
    oom_score_adj: int = 0


@dataclass(frozen=True, kw_only=True)
class ForkReply:
    """The first answer.

    Attributes:
        pid: of the new process; None if there is none.
        preloaded: modules that were imported for it on the user's wish.
        remarks: how it differs from one that imports them by itself.
        socket: where to ask for it, by its name.
        refusal: why there is no process.
    """

    pid: int | None = None
    preloaded: Sequence[str] = ()
    remarks: Sequence[str] = ()
    socket: str | None = None
    refusal: str | None = None


@dataclass(frozen=True, kw_only=True)
class ForkedExit:
    """The last answer: how the process ended, as ``subprocess.Popen.returncode`` has it."""

    returncode: int


def bound(path: Path) -> socket.socket:
    """A socket that listens there."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(_BACKLOG)
    return listener


def send(connection: socket.socket, message: object, descriptors: Sequence[int] = ()) -> None:
    """Send one message, a dataclass whose fields JSON can hold."""
    content = json.dumps(asdict(message)).encode()  # type: ignore[call-overload]
    data = _LENGTH.pack(len(content)) + content
    if descriptors:
        sent = socket.send_fds(connection, [data], list(descriptors))
        data = data[sent:]
    if data:  # to send nothing fails, too, where the other side has answered and is gone
        connection.sendall(data)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """One message's fields, and descriptors that came with it.

    Raises:
        EOFError: the other side is gone.
        ValueError: that is no message.
        OSError: nothing came in time.
    """
    data, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, _MAX_DESCRIPTORS)
    try:
        while len(data) < _LENGTH.size:
            data += _more(connection, _LENGTH.size - len(data))
        (length,) = _LENGTH.unpack(data[: _LENGTH.size])
        if length > _MAX_BYTES:
            raise ValueError(f"a message of {length} bytes")
        while (missing := _LENGTH.size + length - len(data)) > 0:
            data += _more(connection, missing)
        return dict(json.loads(data[_LENGTH.size : _LENGTH.size + length])), descriptors
    except BaseException:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                socket.close(descriptor)
        raise


def _more(connection: socket.socket, wanted: int) -> bytes:
    data = connection.recv(min(wanted, 1 << 20))
    if not data:
        raise EOFError
    return data
