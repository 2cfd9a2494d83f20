"""Handle requests to stop (Ctrl-C, SIGTERM, a closed terminal): first they raise, later they are counted.

Whoever had the signals before gets them again afterwards, by :func:`deliver_again`.
"""

import contextlib
import os
import signal
import stat
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGTERM is what CI systems and ``docker stop`` send, SIGHUP what a terminal sends that is closed."""


class Interrupts:
    """While entered, the signals raise KeyboardInterrupt; after :meth:`count_from_now` they are counted in ``count``.

    Only a main thread receives signals; elsewhere nothing is changed and the count stays 0.

    Attributes:
        first: the first signal; None if there was none.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: signal.Signals | None = None
        self._counting = False
        self._raised = False
        self._pid = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        self._install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def raise_again(self) -> None:
        """For a signal whose KeyboardInterrupt went astray: modules that are imported catch everything at times.

        Raises:
            KeyboardInterrupt: there was one.
        """
        if self._raised:
            raise self._exception()

    def count_from_now(self) -> None:
        """There is a run that can be ended in order; its loop looks at the count."""
        self._counting = True

    def _install(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue  # nohup: the user wants the run to go on
                self._before.setdefault(number, signal.getsignal(number))
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a fork of multiprocessing's, in a task that runs inline: it is ended in this way
            signal.signal(number, self._before[signal.Signals(number)] or signal.SIG_DFL)
            signal.raise_signal(number)
            return
        if number == signal.SIGHUP:
            _leave_terminal()
        self.first = self.first or signal.Signals(number)
        if not self._counting:
            self._raised = True
            raise self._exception()
        self.count += 1

    def _exception(self) -> KeyboardInterrupt:
        """What :func:`signal_of` knows the signal of."""
        return KeyboardInterrupt() if self.first in (None, signal.SIGINT) else KeyboardInterrupt(self.first)


def signal_of(error: KeyboardInterrupt) -> signal.Signals | None:
    """The signal that a run's start was interrupted by, if it was another than that of Ctrl-C."""
    found = error.args[0] if error.args else None
    return found if isinstance(found, signal.Signals) else None


def deliver_again(number: signal.Signals) -> None:
    """Give a signal to whoever has it now that the run is over: a program's own handler, or the system.

    Raises:
        KeyboardInterrupt: as Python answers Ctrl-C by itself. By SIGTERM a program without a handler is ended here.
    """
    signal.raise_signal(number)


def _leave_terminal() -> None:
    """Nobody sees it any more, and writing to it is an error: from now on what is said there goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # closed from the start
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)
    os.close(nowhere)
