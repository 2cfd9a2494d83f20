"""How states, times and sizes are said: one place, so that page, pictures, summary and console agree."""

import math
import re
import unicodedata
from datetime import UTC, datetime

from pynb_dag_runner.model.outcomes import Outcome, RunStatus, TaskStatus
from pynb_dag_runner.run_folder.run import AttemptRun, Run, TaskRun

State = TaskStatus | RunStatus | Outcome
"""What a report can say of a run, a task or an attempt. They share their words; a task or an attempt whose driver died
while it ran is ``RunStatus.INTERRUPTED``."""

UNKNOWN = "–"
"""Stands where a value is not known."""

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""ECMA-48, sections 5.4 (control sequences) and 8.3 (operating system commands)."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""What XML 1.0 can't hold (section 2.2), the other control characters but tab and line feed, and those that turn the
direction of text."""


MAX_NAMES_IN_SENTENCE = 3


def printable(text: str) -> str:
    """``text`` as HTML, XML and a terminal can show it: error messages and names come from user code and strangers.

    Escape sequences of terminals go. Every other character that HTML or XML can't hold, that steers a terminal, or
    that hides others, is spelled out: ``\\x07``. Line ends become line feeds.
    """
    if text.isprintable():  # most are, and the page of a large run holds half a million
        return text
    plain = _ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n")
    return _UNPRINTABLE.sub(lambda match: match.group().encode("unicode_escape").decode(), plain)


def state_of_task(run: Run, task: TaskRun) -> State:
    """A task's status; INTERRUPTED if it was running when the driver died."""
    last = task.last_attempt
    if run.status is RunStatus.INTERRUPTED and not task.status.is_final and last and last.outcome is None:
        return RunStatus.INTERRUPTED
    return task.status


def state_of_attempt(run: Run, attempt: AttemptRun) -> State:
    """An attempt's outcome; RUNNING or INTERRUPTED while it has none."""
    if attempt.outcome is not None:
        return attempt.outcome
    return TaskStatus.RUNNING if run.status is RunStatus.RUNNING else RunStatus.INTERRUPTED


def state_word(state: State) -> str:
    """A state in plain words, such as ``timed out``."""
    return state.value.lower().replace("_", " ")


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


def kernel_notes(run: Run) -> list[str]:
    """Why kernels did not come about in the fastest way, or what notebooks missed by that: a sentence for each reason.

    Of each task the last attempt counts.
    """
    tasks: dict[str, list[str]] = {}
    for task in run.tasks:
        start = task.last_attempt.kernel_start if task.last_attempt else None
        for remark in start.remarks if start else ():
            tasks.setdefault(remark, []).append(task.name)
    return [f"kernel of {_some(names)}: {remark}" for remark, names in tasks.items()]


def _some(names: list[str]) -> str:
    more = len(names) - MAX_NAMES_IN_SENTENCE
    return ", ".join(names[:MAX_NAMES_IN_SENTENCE]) + (f" and {more} more" if more > 0 else "")


def columns(text: str) -> int:
    """Width of ``text`` in columns: two for a wide character (Unicode annex 11), none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def cut(text: str, width: int) -> str:
    """``text`` if it is at most ``width`` columns wide, else its beginning and end with an ellipsis between.

    Names of one family mostly differ at the end (``train-400``, ``train-500``), so both ends are kept.
    """
    if columns(text) <= width:
        return text
    head, tail = text, text[-(width // 3) :]
    while columns(tail) > width // 3:
        tail = tail[1:]
    head = head[: width - 1 - columns(tail)]
    while columns(head) > width - 1 - columns(tail):
        head = head[:-1]
    return f"{head}…{tail}"
