"""Describe a run in styled lines, which the console and the commands print each in its way.

Nothing here draws. Rich does that for the live view, and its import takes longer than reading a small run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pynb_dag_runner.model.outcomes import Failure
from pynb_dag_runner.model.quantities import duration
from pynb_dag_runner.model.text import cut_end, first_line, printable
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


class Styled(NamedTuple):
    """A text in one style, in rich's words; empty: as the terminal shows text."""

    text: str
    style: str = ""


Line = tuple[Styled, ...]
"""What stands in one line; a text in it may still hold line feeds and tabs."""


def duration_text(seconds: float | None) -> str:
    """A duration as in the reports; ``-`` where there is none, which every terminal can show."""
    return "-" if seconds is None else duration(seconds)


def short_failure(failure: Failure, limit: int = 160) -> str:
    """A failure's kind and the first line of its message, cut to ``limit`` characters."""
    message = first_line(failure.message, limit)
    return cut_end(f"{printable(failure.kind)}: {message}" if message else printable(failure.kind), limit)


def shown_path(path: Path, cwd: Path) -> str:
    """``path`` as a person in ``cwd`` would type it."""
    return printable(str(path.relative_to(cwd) if path.is_relative_to(cwd) else path))


def failure_lines(task: TaskRun, folder: Path, cwd: Path) -> list[Line]:
    """Why a task did not succeed, and where its log and notebook are; nothing for one that has no failure.

    Args:
        folder: the run folder, absolute.
        cwd: paths are as a person there would type them.
    """
    last, failure = task.last_attempt, task.failure
    if last is None or failure is None:
        return []
    attempt = f" (attempt {last.number} of {task.most_attempts})" if task.most_attempts > 1 else ""
    lines: list[Line] = [
        (Styled(f"  {printable(task.name)} "), Styled(task.status, STYLES[task.status]), Styled(attempt))
    ]
    message = printable(f"{failure.kind}: {failure.message}" if failure.message else failure.kind).strip().splitlines()
    lines += [(Styled(f"    {line}"),) for line in message[:MAX_MESSAGE_LINES]]
    if len(message) > MAX_MESSAGE_LINES:
        lines.append((Styled(f"    ... {len(message) - MAX_MESSAGE_LINES} more lines", "dim"),))
    places = (("log", last.log), ("notebook", last.html or last.notebook))
    lines += [(Styled(f"    {word}: {shown_path(folder / path, cwd)}"),) for word, path in places if path]
    return lines
