"""Requests to stop (Ctrl-C, SIGTERM): first they raise, then they are counted instead of striking anywhere."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""SIGTERM is what CI systems and ``docker stop`` send."""


class Interrupts:
    """While entered, both signals raise KeyboardInterrupt; after :meth:`count_from_now` they are counted in ``count``.

    Only a main thread receives signals; elsewhere nothing is changed and the count stays 0.
    """

    def __init__(self) -> None:
        self.count = 0
        self._counting = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        self._install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def count_from_now(self) -> None:
        """There is a run that can be ended in order; its loop looks at the count."""
        self._counting = True
        self._install()  # once more: Ray's core takes SIGTERM for itself as it starts

    def _install(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before.setdefault(number, signal.getsignal(number))
                signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self._counting:
            raise KeyboardInterrupt
        self.count += 1
