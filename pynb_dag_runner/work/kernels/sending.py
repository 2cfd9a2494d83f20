"""How a kernel of ours sends what cells print: no more of it waits in memory than the reader takes.

By default a kernel drops messages when its queue is full, also the one that says that the cell has ended; and text
waits without bound. Here whoever puts something out waits until there is room; the queue's side of it is in
:mod:`pynb_dag_runner.work.kernels.application`.
"""

import io
import os
import sys
import threading
from typing import Any, Self

from ipykernel.iostream import OutStream

from pynb_dag_runner.work.bounds import PIECE_CHARACTERS


class PiecewiseStream(OutStream):
    """A cell's standard output or error: what is not sent yet is one piece at most."""

    _unsent = 0
    _ahead: io.StringIO | None = None

    @classmethod
    def ahead(cls, name: str) -> Self:
        """One that can't send yet, for who imports before there is a notebook. It keeps what is written."""
        made = cls.__new__(cls)
        made.name, made.echo, made._isatty, made._ahead = name, None, False, io.StringIO()
        return made

    def written_ahead(self) -> str:
        """What was written before it could be sent; nobody will see it in a notebook."""
        return self._ahead.getvalue() if self._ahead else ""

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
        for start in range(0, len(string), PIECE_CHARACTERS):
            piece = string[start : start + PIECE_CHARACTERS]
            super().write(piece)
            self._unsent += len(piece)
            if self._unsent >= PIECE_CHARACTERS:
                self._unsent = 0
                self._send()
        return len(string)

    def _send(self) -> None:
        """Wait until all is sent; not where nothing can be sent meanwhile."""
        if threading.current_thread() is not self.pub_thread.thread and os.getpid() == self._master_pid:
            self.flush()


def stream(session: Any, thread: Any, name: str, **options: Any) -> PiecewiseStream:
    """A stream in place of ``sys.stdout`` or ``sys.stderr``; the very object, if one that was made ahead is there."""
    there = getattr(sys, name)
    if not isinstance(there, PiecewiseStream):
        return PiecewiseStream(session, thread, name, **options)  # type: ignore[no-untyped-call]
    there._ahead = None
    there.__init__(session, thread, name, **options)  # type: ignore[misc]
    return there


# Libraries that ask whether their output goes to a notebook look here.
PiecewiseStream.__module__ = OutStream.__module__
