"""Durations, sizes, numbers and times in words, so that pages, pictures, terminals and MLflow say the same."""

import math
from datetime import UTC, datetime

UNKNOWN = "–"
"""Stands where a value is not known."""


def duration(seconds: float | None) -> str:
    """Seconds for people: ``85 ms``, ``3.2 s``, ``48 s``, ``1 min 5 s``, ``2 h 3 min``, ``3 d 4 h``."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 0.0005:
        return "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, smaller, smaller_size in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def size(amount: int | None) -> str:
    """Bytes for people, in binary units: ``132 MiB``."""
    if amount is None:
        return UNKNOWN
    value, unit = float(amount), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1023.5:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"


def megabytes(amount: int) -> str:
    """Bytes for people, in the decimal unit in which people write ``memory=500_000_000``: ``500 MB``."""
    return f"{amount / 1e6:,.0f} MB"


def more_memory_than_declared(used_bytes: int, declared_bytes: int) -> str:
    """What a task did that was ended for its memory: ``used 612 MB, more than the 500 MB that it declared``."""
    return f"used {megabytes(used_bytes)}, more than the {megabytes(declared_bytes)} that it declared (memory=...)"


def moment(time: datetime | None) -> str:
    """A time to the second in UTC."""
    return UNKNOWN if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(time: datetime | None) -> str:
    """A time of day to the tenth of a second in UTC, without the date."""
    if time is None:
        return UNKNOWN
    utc = time.astimezone(UTC)
    return f"{utc:%H:%M:%S}.{utc.microsecond // 100_000}"


def count(number: int, noun: str) -> str:
    """``1 task``, ``2 tasks``, ``12,000 tasks``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
