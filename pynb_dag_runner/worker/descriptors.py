"""Capture what a kernel's processes write to standard output and error beside Jupyter's messages: children, C code.

It comes through two pipes, and the messages through a socket. A kernel of ours keeps the order of both: before it
starts a child it writes a mark into each pipe and sends a message that names the mark. What comes after a mark waits
for its message; and before a message is looked at, all that came through the pipes is.
"""

import array
import asyncio
import contextlib
import fcntl
import os
import termios
from collections.abc import Callable, Iterator

_READ_BYTES = 1 << 16

Take = Callable[[str, bytes], None]
"""Is given ``stdout`` or ``stderr``, and what was written there; nothing: that was all."""

MARKS_VARIABLE = "PYNB_DAG_RUNNER_PRINTED_MARKS"
"""Is set for a kernel whose pipes somebody reads who knows of marks."""
MARK_FIELD = "pynb_dag_runner_mark"
"""In the metadata of the message that names a mark."""


_BEGIN = b"\0pynb-dag-runner-mark:"


def mark(name: str) -> bytes:
    """The bytes of a mark in a pipe."""
    return _BEGIN + name.encode() + b"\0"


class Descriptors:
    """The pipes of one kernel. Close them.

    Args:
        take: gets what comes, in order.

    Attributes:
        stdout, stderr: the ends to write to, until :meth:`handed_over`.
    """

    def __init__(self, take: Take) -> None:
        self._seen: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pipes = [_Pipe(name, self._seen, take) for name in ("stdout", "stderr")]
        self.stdout, self.stderr = self._pipes

    def handed_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """The kernel has its ends; from now on ``loop`` reads what comes."""
        self._loop = loop
        for pipe in self._pipes:
            pipe.close_writer()
            loop.add_reader(pipe.reader, self._look, pipe)

    def _look(self, pipe: "_Pipe") -> None:
        if not pipe.read() and self._loop is not None:
            self._loop.remove_reader(pipe.reader)  # nobody can write to it any more

    def drain(self, seen: str | None = None, *, all_marks: bool = False) -> None:
        """Take what is in the pipes now.

        Args:
            seen: the mark whose message has come.
            all_marks: wait for no message: none comes any more.
        """
        if seen is not None:
            self._seen.add(seen)
        for pipe in self._pipes:
            pipe.drain()
            pipe.give(all_marks=all_marks)

    def close(self) -> None:
        """Take the rest, and read no more."""
        self.drain(all_marks=True)
        for pipe in self._pipes:
            pipe.end()
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(pipe.reader)
            pipe.close_writer()
            os.close(pipe.reader)


class _Pipe:
    def __init__(self, name: str, seen: set[str], take: Take) -> None:
        self.name = name
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        self._seen = seen
        self._take = take
        self._held = b""

    def fileno(self) -> int:
        """The end to write to."""
        return self._writer

    def close_writer(self) -> None:
        """Once; later calls do nothing."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def read(self) -> bool:
        """Take one piece; False at the end."""
        try:
            data = os.read(self.reader, _READ_BYTES)
        except BlockingIOError:
            return True
        self._held += data
        self.give()
        return bool(data)

    def drain(self) -> None:
        """Read what is there; who writes without end must not keep us."""
        there = array.array("i", [0])
        fcntl.ioctl(self.reader, termios.FIONREAD, there)
        left = there[0]
        with contextlib.suppress(BlockingIOError):
            while left > 0 and (data := os.read(self.reader, min(left, _READ_BYTES))):
                left -= len(data)
                self._held += data

    def end(self) -> None:
        """Nothing more comes."""
        self._take(self.name, b"")

    def give(self, *, all_marks: bool = False) -> None:
        """Hand on what may be."""
        if self._held:
            for data in self._free(all_marks):
                self._take(self.name, data)

    def _free(self, all_marks: bool) -> Iterator[bytes]:
        """What is before a mark that is waited for, without the marks; it is not held any more."""
        while self._held:
            start = self._held.find(_BEGIN)
            if start < 0:
                start = len(self._held) if all_marks else self._possible_begin()
                data, self._held = self._held[:start], self._held[start:]
                if data:
                    yield data
                return
            data, self._held = self._held[:start], self._held[start:]
            if data:
                yield data
            end = self._held.find(b"\0", len(_BEGIN))
            if end < 0:
                if all_marks:
                    data, self._held = self._held, b""
                    yield data
                return
            name = self._held[len(_BEGIN) : end].decode("ascii", "replace")
            if name not in self._seen and not all_marks:
                return
            self._held = self._held[end + 1 :]

    def _possible_begin(self) -> int:
        """Where a mark may begin that has not come wholly."""
        start = self._held.rfind(b"\0", -len(_BEGIN))
        return start if start >= 0 and _BEGIN.startswith(self._held[start:]) else len(self._held)
