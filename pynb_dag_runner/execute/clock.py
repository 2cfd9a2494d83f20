"""Tell the time of day, and how much time has passed. One seam holds both clocks, so that tests can bring their own."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the time is, and how much of it has passed."""

    def now(self) -> datetime:
        """The current time with a time zone. For records only: somebody may set this clock back."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never fewer than before. Says what happens when."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment of this machine."""
        return time.monotonic()
