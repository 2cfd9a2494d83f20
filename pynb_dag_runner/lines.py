"""Lines about a run for a terminal: text in pieces, each in a style. Drawing them is for others.

Styles are words of rich's, which takes as long to import as Python to start: who only tells something does without.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pynb_dag_runner.outcome import Failure
from pynb_dag_runner.reports.wording import duration
from pynb_dag_runner.reports.wording import printable as printable  # whoever writes to the terminal needs it
from pynb_dag_runner.run_folder.run import TaskRun

MAX_MESSAGE_LINES = 8

STYLES: Mapping[str, str] = {
    "SUCCEEDED": "green",
    "REUSED": "green",
    "FAILED": "bold red",
    "TIMED_OUT": "bold magenta",
    "CRASHED": "bold red",
    "CANCELLED": "yellow",
    "INTERRUPTED": "yellow",
    "SKIPPED": "dim",
    "PENDING": "dim",
    "RUNNING": "cyan",
}
"""By status."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text without line ends, in one style."""

    text: str
    style: str = ""


Line = Sequence[Piece]


def duration_text(seconds: float | None) -> str:
    """A duration as in the reports; ``-`` where there is none, which every terminal can show."""
    return "-" if seconds is None else duration(seconds)


def status_piece(status: str) -> Piece:
    """A status in its colour."""
    return Piece(status, STYLES.get(status, ""))


def first_line(failure: Failure, limit: int = 160) -> str:
    """A failure's kind and the first line of its message, cut to ``limit`` characters."""
    message = next((line.strip() for line in printable(failure.message).splitlines() if line.strip()), "")
    line = f"{printable(failure.kind)}: {message}" if message else printable(failure.kind)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def shown_path(path: Path, cwd: Path) -> str:
    """``path`` as a person in ``cwd`` would type it."""
    return printable(str(path.relative_to(cwd) if path.is_relative_to(cwd) else path))


def failure_lines(task: TaskRun, folder: Path, cwd: Path) -> list[Line]:
    """Why a task did not succeed, and where its log and notebook are."""
    last, failure = task.last_attempt, task.failure
    if last is None or failure is None:
        return []
    attempt = f" (attempt {last.number} of {task.most_attempts})" if task.most_attempts > 1 else ""
    lines: list[Line] = [(Piece(f"  {printable(task.name)} "), status_piece(task.status), Piece(attempt))]
    message = printable(f"{failure.kind}: {failure.message}" if failure.message else failure.kind).strip().splitlines()
    lines += [(Piece(f"    {line}"),) for line in message[:MAX_MESSAGE_LINES]]
    if len(message) > MAX_MESSAGE_LINES:
        lines.append((Piece(f"    ... {len(message) - MAX_MESSAGE_LINES} more lines", "dim"),))
    places = (("log", last.log), ("notebook", last.html or last.notebook))
    lines += [(Piece(f"    {word}: {shown_path(folder / path, cwd)}"),) for word, path in places if path]
    return lines
