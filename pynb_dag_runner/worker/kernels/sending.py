"""Send what cells print: no more of it waits in the kernel's memory than the reader takes.

By default a kernel drops messages when its queue is full, also the one that says that the cell has ended; and text
waits without bound. Here whoever puts something out waits until there is room; the queue's side of it is in
:mod:`pynb_dag_runner.worker.kernels.application`.
"""

import contextlib
import ctypes
import io
import itertools
import os
import sys
from typing import Any, ClassVar, Self

from ipykernel.iostream import OutStream

from pynb_dag_runner.model.output_limits import CELL_TURNS, PIECE_CHARACTERS
from pynb_dag_runner.worker.descriptors import MARK_FIELD, MARKS_VARIABLE, mark
from pynb_dag_runner.worker.kernels.ipykernel_internals import cell_of, is_sender, send_now

_STARTS = frozenset(
    ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec", "pty.spawn")
)
"""Python's audit events of what lets others write to our descriptors."""

SENT_TURNS = 2 * CELL_TURNS
"""Of a cell: a message for each is more work than printing, and the notebook keeps fewer apart."""


class Turns:
    """Standard output and error take turns: what one holds is sent before the other has something to send.

    ipykernel sends each of them now and then, so that what was printed in turns comes apart.
    """

    def __init__(self) -> None:
        self._last: PiecewiseStream | None = None
        self._cell: object = None
        self._left = 0

    def take(self, stream: "PiecewiseStream") -> None:
        """``stream`` is about to be written to."""
        last, self._last = self._last, stream
        if last is None or last is stream:
            return
        cell = cell_of(stream)
        if cell != self._cell:
            self._cell, self._left = cell, SENT_TURNS
        if self._left > 0:
            self._left -= 1
            last.send_now()


class PiecewiseStream(OutStream):
    """A cell's standard output or error: what is not sent yet is one piece at most."""

    _unsent = 0
    _ahead: io.StringIO | None = None
    _turns: ClassVar = Turns()

    @classmethod
    def ahead(cls, name: str) -> Self:
        """One that can't send yet, for who imports before there is a notebook. It keeps what is written."""
        made = cls.__new__(cls)
        made.name, made.echo, made._ahead = name, None, io.StringIO()
        return made

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
        self._process = os.getpid()

    def written_ahead(self) -> str:
        """What was written before it could be sent; nobody will see it in a notebook."""
        return self._ahead.getvalue() if self._ahead else ""

    def isatty(self) -> bool:
        """See io.TextIOBase."""
        return self._ahead is None and bool(super().isatty())  # type: ignore[no-untyped-call]

    @property
    def closed(self) -> bool:
        """See io.TextIOBase."""
        return self._ahead is None and super().closed

    def flush(self) -> None:
        """See io.TextIOBase."""
        if self._ahead is None:
            super().flush()  # type: ignore[no-untyped-call]

    def write(self, string: str) -> int:
        """See io.TextIOBase."""
        if self._ahead is not None:
            return self._ahead.write(string)
        if not string or not isinstance(string, str):
            return super().write(string) or 0  # which says in a TypeError what it expects
        if os.getpid() == self._process:
            self._turns.take(self)
        for start in range(0, len(string), PIECE_CHARACTERS):
            piece = string[start : start + PIECE_CHARACTERS]
            super().write(piece)
            self._unsent += len(piece)
            if self._unsent >= PIECE_CHARACTERS:
                self._unsent = 0
                self._send()
        return len(string)

    def send_now(self) -> None:
        """Send what is there before anything that is put out from now on, without waiting."""
        if self.pub_thread is not None:
            send_now(self)

    def send_mark(self, name: str) -> None:
        """Send a message without text that names a mark."""
        content = {"name": self.name, "text": ""}
        message = self.session.msg("stream", content, parent=self.parent_header, metadata={MARK_FIELD: name})
        self.session.send(self.pub_thread, message, ident=self.topic)

    def _send(self) -> None:
        """Wait until all is sent; not where nothing can be sent meanwhile."""
        if not is_sender(self) and os.getpid() == self._process:
            self.flush()


def keep_order() -> None:
    """Let what children print stay between what the notebook prints before and after; see work/descriptors.py."""
    is_read = os.environ.pop(MARKS_VARIABLE, None)
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, PiecewiseStream)]
    if is_read is None or len(streams) < 2:
        return
    pipes = [os.dup(1), os.dup(2)]  # whatever the notebook does with its own
    numbers = itertools.count()
    this = os.getpid()

    def watch(event: str, _: Any) -> None:
        if event in _STARTS and os.getpid() == this:
            name = str(next(numbers))
            with contextlib.suppress(Exception):  # the kernel ends; no child may fail for its place among the outputs
                for stream in streams:
                    stream.send_now()
                streams[0].send_mark(name)
                for pipe in pipes:
                    os.write(pipe, mark(name))

    sys.addaudithook(watch)


def flush_c() -> None:
    """Write what C code has printed and not written yet: into a pipe, it waits for there to be 4 KB."""
    library = ctypes.CDLL(None)
    with contextlib.suppress(ValueError):  # a C library that calls it otherwise
        library.fflush(ctypes.c_void_p.in_dll(library, "stdout"))


def stream(session: Any, thread: Any, name: str, **options: Any) -> PiecewiseStream:
    """A stream in place of ``sys.stdout`` or ``sys.stderr``; the very object, if one that was made ahead is there."""
    there = getattr(sys, name)
    if not isinstance(there, PiecewiseStream):
        return PiecewiseStream(session, thread, name, **options)
    there._ahead = None
    there.__init__(session, thread, name, **options)  # type: ignore[misc]
    return there


# Libraries that ask whether their output goes to a notebook look here.
PiecewiseStream.__module__ = OutStream.__module__
