"""Keep stdout for a command's result alone."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


def open_standard_streams() -> None:
    """Lead each standard stream that this process was started without to nowhere.

    Else the next file opened would get its descriptor, and what is printed would land in that file; and Python has None
    for the stream, where libraries and tasks expect one.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, which is this one
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


@contextmanager
def stdout_for_result() -> Iterator[TextIO]:
    """Within the context, all that is printed goes to stderr, except through the stream that this yields.

    Scripts read our stdout, and the user's modules, libraries and child processes print as they like: so it is the file
    descriptor that changes place. A process that outlives us then does not hold the pipe open either.
    """
    _flush_stdout()
    kept = os.dup(1)
    os.dup2(2, 1)
    # The encoding of file names: a run folder's path comes out byte for byte.
    with os.fdopen(kept, "w", encoding=sys.getfilesystemencoding(), errors="surrogateescape") as result:
        try:
            yield result
        finally:
            _flush_stdout()
            os.dup2(kept, 1)


def _flush_stdout() -> None:
    """Send off what was printed so far; there may be no reader any more."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
