"""How a kernel of ours sends what cells print: no more of it waits in memory than the reader takes.

By default a kernel drops messages when its queue is full, also the one that says that the cell has ended; and text
waits without bound. Here whoever puts something out waits until there is room; the queue's side of it is in
:mod:`pynb_dag_runner.work.kernels.application`.
"""

import os
import threading

from ipykernel.iostream import OutStream

from pynb_dag_runner.work.bounds import PIECE_CHARACTERS


class PiecewiseStream(OutStream):
    """A cell's standard output or error: what is not sent yet is one piece at most."""

    _unsent = 0

    def write(self, string: str) -> int:
        """See io.TextIOBase."""
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
            self.flush()  # type: ignore[no-untyped-call]


# Libraries that ask whether their output goes to a notebook look here.
PiecewiseStream.__module__ = OutStream.__module__
