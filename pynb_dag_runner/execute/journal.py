"""Record what happens in a run, then tell it to listeners."""

from pynb_dag_runner import events
from pynb_dag_runner.execute.context import RunContext
from pynb_dag_runner.run_folder.writer import RunWriter

HEARTBEAT_S = 10.0
"""So often the run folder shows readers on other machines that the driver is alive."""


class Journal:
    """Records and tells what happens.

    Attributes:
        writer: writes the run folder; closed by the caller.
    """

    def __init__(self, context: RunContext, writer: RunWriter) -> None:
        self.writer = writer
        self._context = context
        self._touched = context.clock.monotonic()

    def say(self, event: events.RecordedEvent) -> None:
        """Record the event, then tell it."""
        self.writer.event(event)
        self.tell(event)

    def tell(self, event: events.Event) -> None:
        """Tell listeners alone: the event is no part of the record."""
        for listener in self._context.listeners:
            listener(event)

    def warn(self, message: str) -> None:
        """Say what the user should know and what changes no outcome; secrets in it are masked."""
        self.say(events.Warned(time=self._context.clock.now(), message=self._context.redactor.text(message)))

    def beat(self) -> None:
        """Give a sign of life, if the last one was :data:`HEARTBEAT_S` ago. Call it again and again."""
        now = self._context.clock.monotonic()
        if now - self._touched > HEARTBEAT_S:
            self._touched = now
            self.writer.touch()
