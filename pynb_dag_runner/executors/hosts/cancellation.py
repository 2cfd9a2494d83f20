"""Cancelling a job in a worker process by a signal."""

import inspect
import signal
from collections.abc import Generator

from pynb_dag_runner.executors.base import JobCancelled

CANCEL_SIGNAL = signal.SIGUSR1
"""Ray's own cancel can't wake a sleeping call, and refuses the messages that the job yields afterwards."""


class Cancellation:
    """Delivers the cancel signal inside the job, once, wherever it strikes.

    Between two messages the process is in Ray's own code, which an exception must not enter; so the request is kept
    until the job goes on.

    Args:
        requested: the signal has come already.
    """

    def __init__(self, *, requested: bool = False) -> None:
        self._requested = requested
        self._inside = False
        signal.signal(CANCEL_SIGNAL, self._on_signal)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._requested = not self._inside
        if self._inside:
            self._inside = False
            raise JobCancelled

    def advance(self, messages: Generator[object]) -> object:
        """The job's next message.

        Raises:
            StopIteration: there is none.
            JobCancelled: the job did not handle its cancellation.
        """
        if self._requested:
            return self._deliver(messages)
        try:
            self._inside = True
            message = next(messages)
            self._inside = False
        except JobCancelled:
            if inspect.getgeneratorstate(messages) == inspect.GEN_CLOSED:
                raise
            return self._deliver(messages)  # it struck on the way into the job or out of it
        finally:
            self._inside = False
        return message

    def _deliver(self, messages: Generator[object]) -> object:
        self._requested = False
        return messages.throw(JobCancelled())

    def over(self) -> None:
        """The worker serves other jobs now; a late signal is for none of them."""
        signal.signal(CANCEL_SIGNAL, signal.SIG_IGN)
