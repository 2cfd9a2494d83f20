"""Write to a terminal that may go away and that several threads write to, or to what stands in for one."""

import io
import threading
from collections.abc import Callable
from typing import Self, TextIO, cast

from rich.console import Console, RenderableType
from rich.live import Live


class LastingStream(io.TextIOBase):
    """Writes to another text stream until that fails, then nowhere: who watches a run must not be able to end it.

    Args:
        stream: None for a process that was started with a closed stderr.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a plain attribute where the class has a property
        """As of the stream below."""
        return getattr(self._stream, "encoding", None) or "ascii"

    def write(self, text: str) -> int:
        """Write, or be silent from now on."""
        self._try(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, or be silent from now on."""
        self._try(lambda stream: stream.flush())

    def isatty(self) -> bool:
        """Whether a terminal is below."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        """As of the stream below; rich asks it for the terminal's size."""
        if self._stream is None:
            raise io.UnsupportedOperation("there is no stream below")
        return self._stream.fileno()

    def _try(self, action: Callable[[TextIO], object]) -> None:
        if self._stream is None:
            return
        try:
            action(self._stream)
        except (OSError, ValueError):  # the reader went away, the terminal was closed, or the stream was
            self._stream = None


class SerialConsole(Console):
    """A console that threads write to one after the other.

    Rich computes how far to move the cursor up before it writes. A print and a redraw by another thread in between
    would each move up by the height of the same old view, and a line printed for good would be drawn over.
    """

    def __init__(self, stream: LastingStream) -> None:
        super().__init__(file=cast(TextIO, stream), highlight=False, soft_wrap=not stream.isatty())
        self._one_at_a_time = threading.RLock()

    def __enter__(self) -> Self:
        self._one_at_a_time.acquire()
        super().__enter__()
        return self

    def __exit__(self, exc_type: object, exc_value: object, traceback: object) -> None:
        try:
            super().__exit__(exc_type, exc_value, traceback)
        finally:
            self._one_at_a_time.release()


class LiveView:
    """Rich's live display, redrawn by a thread of ours: rich's own takes its locks in another order than a print does.

    While it is shown, ``sys.stdout`` and ``sys.stderr`` are redirected: what libraries print appears above the view.

    Args:
        view: gives what to draw; called by the redrawing thread.
        redraw_s: seconds between two drawings.
    """

    def __init__(self, console: SerialConsole, view: Callable[[], RenderableType], redraw_s: float = 0.125) -> None:
        self._console = console
        self._redraw_s = redraw_s
        self._live = Live(console=console, get_renderable=view, auto_refresh=False, transient=True)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._redraw, name="pynb-dag-runner-console", daemon=True)

    def start(self) -> None:
        """Show the view."""
        with self._console:
            self._live.start(refresh=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the view away; what was printed above it stays."""
        self._stopped.set()
        self._thread.join()
        with self._console:
            self._live.stop()

    def _redraw(self) -> None:
        while not self._stopped.wait(self._redraw_s):
            with self._console:
                self._live.refresh()
