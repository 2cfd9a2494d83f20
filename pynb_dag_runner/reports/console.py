"""Show a run on the terminal: a live view while it runs, and a summary at its end.

On a terminal a live view: a line per running task and a bar of counts, with finished tasks printed above. Elsewhere
plain lines with a time stamp. All of it goes to one stream, stderr; when that is closed or breaks, the run goes on in
silence.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pynb_dag_runner.events import (
    AttemptEnded,
    AttemptStarted,
    AttemptWaits,
    EngineStarting,
    Event,
    PagesBeingMade,
    RunEnded,
    RunResumed,
    RunStarted,
    TaskSettled,
    Warned,
)
from pynb_dag_runner.model.outcomes import RunStatus, TaskStatus
from pynb_dag_runner.model.quantities import count
from pynb_dag_runner.model.text import printable
from pynb_dag_runner.reports.styled_text import STYLES, duration_text, failure_lines, short_failure, shown_path
from pynb_dag_runner.reports.terminal import LastingStream, LiveView, SerialConsole
from pynb_dag_runner.reports.wording import state_word
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.run import TaskRun, seconds_between

MAX_RUNNING_LINES = 10
"""More running tasks than that are counted, not listed: a cluster may run a thousand."""
MAX_SKIPPED_LINES = 5
"""One failure at the root of a large graph would else scroll everything of interest away."""
MAX_FAILURES = 20
SECONDS_BETWEEN_WAITS = 10.0
"""Between two lines that say how far something has come that takes long, where there is no live view."""
_NAME_WIDTH = 40

_GLYPHS: Mapping[str, str] = {"SUCCEEDED": "✓", "SKIPPED": "○", "CANCELLED": "■"}
_ASCII_GLYPHS: Mapping[str, str] = {"SUCCEEDED": "+", "SKIPPED": "-", "CANCELLED": "-"}


@dataclass(slots=True)
class _Running:
    """A running attempt; ``since`` in seconds of the console's clock."""

    number: int
    since: float


class RunConsole:
    """Tells what happens in a run. A context manager around it, and one of its listeners.

    Args:
        stream: where to; None if there is no such stream.
        max_attempts: for each task how many attempts it may have.
        live: draw a live view; only of use on a terminal.
        silent: say nothing until the summary.
    """

    def __init__(
        self, stream: TextIO | None, *, max_attempts: Mapping[str, int], live: bool = False, silent: bool = False
    ) -> None:
        self._lasting = LastingStream(stream)
        self.console = SerialConsole(self._lasting)
        self._max_attempts = max_attempts
        self._silent = silent
        self._unicode = self._lasting.encoding.lower().startswith("utf")
        self._spinner = Spinner("dots" if self._unicode else "line")
        self._lock = threading.Lock()  # the live view is drawn by a thread of its own
        self._started_at = self.console.get_time()
        self._total = 0
        self._running: dict[str, _Running] = {}
        self._waiting: dict[str, str] = {}
        self._retrying: set[str] = set()
        self._settled: Counter[str] = Counter()
        self._first_start: dict[str, datetime] = {}
        self._last_attempt: dict[str, AttemptEnded] = {}
        self._run_times: list[datetime] = []
        self._waits_for = "starting"
        self._said_at: datetime | None = None
        drawn = live and not silent and not self.console.is_dumb_terminal
        self._live = LiveView(self.console, self._view) if drawn else None

    @property
    def duration_s(self) -> float | None:
        """Seconds from the run's start to its end; None before."""
        return seconds_between(self._run_times[0], self._run_times[-1]) if len(self._run_times) > 1 else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take in an event and say what is worth saying."""
        with self._lock:
            line = self._take(event)
        if line is not None and not self._silent:
            try:
                self._say(event.time, line)
            except OSError:
                self._silent = True  # nobody reads it any more; the run goes on

    def say(self, lines: Iterable[str]) -> None:
        """Print lines, if anything is to be said at all; for before and after the run."""
        if not self._silent:
            for line in lines:
                self.console.print(Text(printable(line)), soft_wrap=True)

    def _say(self, time: datetime, line: Text) -> None:
        stamp = Text() if self._live else Text(f"{time:%H:%M:%SZ} ", style="dim")
        self.console.print(stamp + line, soft_wrap=True)

    def _take(self, event: Event) -> Text | None:
        """Bring the counts up to date; the line to print for good, if any."""
        match event:
            case RunStarted():
                self._run_times.append(event.time)
                self._total, self._waits_for = len(event.tasks), ""
                return Text(f"run {event.run_id} of pipeline {printable(event.pipeline)}: {count(self._total, 'task')}")
            case RunResumed():  # what runs again, and why, was said before the engine was started
                self._run_times.append(event.time)
                self._total, self._waits_for = len(event.tasks), ""
                return None
            case AttemptWaits():
                return self._attempt_waits(event)
            case AttemptStarted():
                self._waiting.pop(event.task, None)
                self._running[event.task] = _Running(event.number, self.console.get_time())
                self._retrying.discard(event.task)
                self._first_start.setdefault(event.task, event.time)
                return None if self._live else Text(f"{printable(event.task)}: {self._attempt(event)}started")
            case AttemptEnded():
                self._waiting.pop(event.task, None)
                self._running.pop(event.task, None)
                return self._attempt_ended(event)
            case TaskSettled():
                self._running.pop(event.task, None)
                self._settled[event.status] += 1
                return self._task_settled(event)
            case Warned():
                about = f"{printable(event.task)}: " if event.task else ""
                return Text(f"warning: {about}{printable(event.message)}", style="yellow")
            case EngineStarting():
                self._waits_for = printable(event.message)
                return None if self._live else Text(self._waits_for)
            case PagesBeingMade():
                return self._pages_being_made(event)
            case RunEnded():
                self._run_times.append(event.time)
                return None

    def _pages_being_made(self, event: PagesBeingMade) -> Text | None:
        """A line now and then: a log that says nothing looks like a run that hangs."""
        self._waits_for = f"making {event.left} of {count(event.total, 'page')}"
        seconds = seconds_between(self._said_at, event.time)
        if self._live or (seconds is not None and seconds < SECONDS_BETWEEN_WAITS):
            return None
        self._said_at = event.time
        return Text(self._waits_for)

    def _attempt(self, event: AttemptStarted | AttemptEnded) -> str:
        most = self._max_attempts.get(event.task, 1)
        return f"attempt {event.number} of {most} " if most > 1 else ""

    def _attempt_waits(self, event: AttemptWaits) -> Text | None:
        """A line for good, once for each reason, unless a live view shows it."""
        is_new = event.reason not in self._waiting.values()
        self._waiting[event.task] = event.reason
        return Text(printable(event.reason)) if is_new and not self._live else None

    def _attempt_ended(self, event: AttemptEnded) -> Text | None:
        """A line for an attempt that another one follows; of a last attempt the task's line tells."""
        if event.retry_at is None:
            self._last_attempt[event.task] = event
            return None
        self._retrying.add(event.task)
        wait = seconds_between(event.time, event.retry_at) or 0.0
        line = self._name(event.task, "↻" if self._unicode else "~", "yellow")
        line.append(f" {self._attempt(event)}").append(event.outcome, STYLES[event.outcome])
        line.append(f" after {duration_text(seconds_between(event.start, event.time))}")
        line.append(f", next in {duration_text(wait)}" if wait else ", trying again")
        return line.append(f"; {short_failure(event.failure)}" if event.failure else "")

    def _task_settled(self, event: TaskSettled) -> Text | None:
        """A task's line for good; skipped tasks beyond a few are only counted in a live view."""
        last = self._last_attempt.pop(event.task, None)
        if event.status is TaskStatus.REUSED:
            return None  # said before, all together
        if event.status is TaskStatus.SKIPPED and self._live and self._settled["SKIPPED"] > MAX_SKIPPED_LINES:
            more = self._settled["SKIPPED"] == MAX_SKIPPED_LINES + 1
            return Text("  more tasks are skipped; the summary counts them", style="dim") if more else None
        style = STYLES[event.status]
        glyphs, other = (_GLYPHS, "✗") if self._unicode else (_ASCII_GLYPHS, "x")
        line = self._name(event.task, glyphs.get(event.status, other), style).append(f" {event.status}", style)
        if event.blocked_by is not None:
            return line.append(f" because {printable(event.blocked_by)} did not succeed", "dim")
        if event.task in self._first_start:
            line.append(f" in {duration_text(seconds_between(self._first_start.pop(event.task), event.time))}")
        if last and last.number > 1:
            line.append(f", {self._attempt(last).strip()}", "dim")
        return line.append(f"; {short_failure(last.failure)}" if last and last.failure else "")

    def _name(self, task: str, glyph: str, style: str) -> Text:
        name = Text(printable(task))
        if self._live:
            name.align("left", max(self._name_width(), name.cell_len))
            return Text(f"{glyph} ", style).append(name)
        return name.append(":")

    def _name_width(self) -> int:
        return min(_NAME_WIDTH, max((Text(printable(name)).cell_len for name in self._max_attempts), default=1))

    def _view(self) -> RenderableType:
        """What stands at the bottom of the terminal now. Called from the redrawing thread, too."""
        with self._lock:
            running, retrying, settled = dict(self._running), len(self._retrying), Counter(self._settled)
            reasons = Counter(self._waiting.values())
        now = self.console.get_time()
        most = min(MAX_RUNNING_LINES, max(1, self.console.height - 4))
        lines: list[RenderableType] = [self._running_line(name, running[name], now) for name in list(running)[:most]]
        if len(running) > most:
            lines.append(Text(f"  and {len(running) - most} more running", style="dim"))
        for reason, waiting in reasons.items():
            what = f"{printable(reason)}: {count(waiting, 'task')} waiting"
            lines.append(Text.assemble(self._spinner.render(now), " ", what))  # type: ignore[arg-type]
        bar = Table.grid(padding=(0, 1), expand=False)
        done = sum(settled.values())
        seconds = int(now - self._started_at)
        elapsed = f"{seconds} s" if seconds < 60 else duration_text(seconds)
        counts = [f"{done} of {count(self._total, 'task')}"] if self._total else []
        counts += [self._waits_for] if self._waits_for else []
        counts += [f"{number} {word}" for number, word in ((len(running), "running"), (retrying, "to retry")) if number]
        counts += [f"{number} {word}" for word, number in _words(settled) if word != "succeeded"]
        width = max(10, min(40, self.console.width // 3))
        separator = " · " if self._unicode else ", "
        bar.add_row(
            ProgressBar(total=self._total or 1, completed=done, width=width), Text(separator.join([*counts, elapsed]))
        )
        return Group(*lines, bar)

    def _running_line(self, name: str, attempt: _Running, now: float) -> Text:
        line = Text.assemble(self._spinner.render(now), " ")  # type: ignore[arg-type]  # a spinner without text renders to Text
        shown = Text(printable(name))
        shown.truncate(_NAME_WIDTH, overflow="ellipsis", pad=False)
        shown.align("left", self._name_width())
        line.append(shown).append(f" {int(now - attempt.since):>4} s")
        most = self._max_attempts.get(name, 1)
        if most > 1:
            line.append(f"  attempt {attempt.number} of {most}", "dim")
        line.truncate(self.console.width - 1, overflow="ellipsis")
        return line

    def summarise(self, status: RunStatus, folder: Path, tasks: Sequence[TaskRun]) -> None:
        """Say how it ended: counts, each task that failed, where to look.

        Args:
            folder: the run folder, absolute.
            tasks: all tasks of the run, as read from the folder.
        """
        if self._silent and status is RunStatus.SUCCEEDED:
            return
        for line in summary(status, folder, tasks, duration_s=self.duration_s, cwd=Path.cwd()):
            self.console.print(line, soft_wrap=True)


def summary(
    status: RunStatus,
    folder: Path,
    tasks: Sequence[TaskRun],
    *,
    duration_s: float | None,
    cwd: Path,
) -> list[Text]:
    """The last words of a run, a line each; arguments as for :meth:`RunConsole.summarise`."""
    counts = ", ".join(f"{number} {word}" for word, number in _words(Counter(task.status for task in tasks)))
    head = Text().append(status, STYLES.get(status, ""))
    head.append(f" in {duration_text(duration_s)}" if duration_s is not None else "")
    lines = [Text(), head.append(f": {counts or 'no tasks'}")]
    failed = [task for task in tasks if task.status.is_final and task.failure]
    for task in failed[:MAX_FAILURES]:
        lines += [Text.assemble(*line) for line in failure_lines(task, folder, cwd)]
    if len(failed) > MAX_FAILURES:
        lines.append(Text(f"  and {len(failed) - MAX_FAILURES} more; the report has them all"))
    lines.append(Text(f"run folder  {shown_path(folder, cwd)}"))
    report = folder / paths.REPORT
    if report.is_file():
        lines.append(Text(f"report      {shown_path(report, cwd)}"))
    return lines


def _words(counts: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    """Statuses in plain words with how often each is there, in the order of the enumeration."""
    return [(state_word(status), counts[status]) for status in TaskStatus if counts.get(status)]
