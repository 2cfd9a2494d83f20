"""How a host's words go over its connection: a byte that says what it is, then perhaps a content.

Only hosts and supervisors know these bytes: what a supervisor returns are the words of ``executors/base.py``.
"""

from enum import Enum
from multiprocessing.connection import Connection

_SHORT_BYTES = 4096
"""Up to here a copy is cheaper than another message."""


class Frame(Enum):
    """What a host sends. Contents are pickled by the host and unpickled by the driver, by nobody in between."""

    STARTED = b"S"
    """The job's call runs now; no content."""
    MESSAGE = b"M"
    """Something that the job yielded."""
    UNLIMITED = b"U"
    """The job's limits do not hold any more; no content."""
    WAITING = b"W"
    """What the job waits for, as UTF-8 text; its limits hold from the next message on."""
    KEPT = b"K"
    """A value to keep."""
    SPENT = b"X"
    """The host takes no further job; no content. The job's end follows."""
    ENDED = b"E"
    """The call came to its end; no content."""
    FAILED = b"F"
    """An exception left the call; its traceback as UTF-8 text."""

    def send(self, connection: Connection, content: bytes | None = None) -> None:
        """Send this frame. A long content goes by itself: joining it to the byte before would copy it."""
        if content and len(content) <= _SHORT_BYTES:
            connection.send_bytes(self.value + content)
            return
        connection.send_bytes(self.value)
        if content is not None:
            connection.send_bytes(content)


_WITHOUT_CONTENT = (Frame.STARTED, Frame.UNLIMITED, Frame.SPENT, Frame.ENDED)


def received(connection: Connection) -> tuple[Frame, bytes]:
    """The next frame, waiting for it; raises EOFError when the other end is closed."""
    data = connection.recv_bytes()
    frame = Frame(data[:1])
    return frame, b"" if frame in _WITHOUT_CONTENT else data[1:] or connection.recv_bytes()
