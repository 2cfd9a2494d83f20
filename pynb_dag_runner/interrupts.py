"""Counts requests to stop (Ctrl-C, SIGTERM) instead of letting them strike anywhere in the driver."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""SIGTERM is what CI systems and ``docker stop`` send."""


class Interrupts:
    """While entered, signals are counted in ``count``. Only a main thread receives any; elsewhere it stays 0."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        self.arm()
        return self

    def arm(self) -> None:
        """Receive the signals, also after a library took them: Ray's core takes SIGTERM for itself as it starts."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before.setdefault(number, signal.getsignal(number))
                signal.signal(number, self._on_signal)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
