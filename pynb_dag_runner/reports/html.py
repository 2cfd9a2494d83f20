"""Draw ``report.html``: one file that shows a run, from disk and without a network.

Everything in a run folder may come from a stranger. So all text is escaped, links lead only into the folder, the page's
content security policy allows nothing but its own style and its own script (by its hash), and long texts share a
budget: a page for ten thousand tasks still opens.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynb_dag_runner.model.outcomes import Outcome, RunStatus, TaskStatus
from pynb_dag_runner.model.quantities import duration, moment, size
from pynb_dag_runner.model.text import cut_middle
from pynb_dag_runner.reports.gantt import gantt_of_run
from pynb_dag_runner.reports.gantt_html import gantt_html
from pynb_dag_runner.reports.graph import graph_of_run
from pynb_dag_runner.reports.graph_svg import graph_svg
from pynb_dag_runner.reports.templating import render, source, text
from pynb_dag_runner.reports.wording import State, kernel_notes, state_of_attempt, state_of_task, state_word
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.run import AttemptRun, Run, TaskRun

MAX_TRACEBACKS = 1_000_000
"""Characters of all tracebacks together; further ones are left to ``attempt.json``, and the page says so."""

MAX_TRACEBACK = 20_000
MAX_MESSAGE = 1_000
MAX_VALUE = 2_000
"""Characters of one traceback, one message, one parameter's value; the middle of a longer one is left out."""

MAX_DETAILED_TASKS = 1_000
"""With more tasks, parameters and outputs of each are left out: nobody opens them one by one."""

MAX_ROWS_IN_ONE_PIECE = 1_000
"""With more tasks a browser lays out a row of the table when it comes into view; columns have fixed widths then."""

MAX_PROBLEMS = 20
MAX_NAMES = 12
MAX_WARNINGS = 100
"""Problems at the top of the page, names of skipped tasks for each of them, and warnings; the table has all tasks."""

_NO_CELL = '<td data-v=""></td>'
_GONE_WRONG = frozenset((*Outcome, RunStatus.INTERRUPTED)) - {Outcome.SUCCEEDED}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Link:
    label: str
    href: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attempt:
    """What the table says of one attempt."""

    attempt: AttemptRun
    state: State
    start_s: float | None
    links: tuple[_Link, ...]
    kind: str
    message: str
    traceback: str
    traceback_left_out: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A task in the table.

    Attributes:
        figures: of its last attempt, each to sort by and to read.
        values: its parameters and outputs: headings, with names and texts.
    """

    index: int
    task: TaskRun
    state: State
    attempts: tuple[_Attempt, ...]
    start_s: float | None
    figures: tuple[tuple[str, str], ...]
    values: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]

    @property
    def last(self) -> _Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def earlier(self) -> tuple[_Attempt, ...]:
        return self.attempts[:-1]

    @property
    def cells(self) -> str:
        """The cells of its line as markup. Not from a template: ten thousand of them take three times as long there."""
        task, state = self.task, self.state.value
        sign = f'<svg class="i"><use href="#i-{state}"/></svg>'
        badge = f'<span class="badge s-{state}">{sign}{state_word(self.state)}</span>'
        names = f"<b>{text(task.name)}</b><small>{text(task.kind)} {text(task.source)}</small>"
        first = f'<td class="task">{names}</td><td>{badge}</td>'
        if self.last is None:
            return f'{first}<td class="n" data-v="0">0</td>{_NO_CELL * 5}<td></td>'
        number, start = len(task.attempts), "" if self.start_s is None else round(self.start_s, 3)
        links = "".join(f'<a href="{text(link.href)}">{link.label}</a>' for link in self.last.links)
        return (
            f'{first}<td class="n" data-v="{number}">{number}</td>'
            f'<td class="n" data-v="{start}" title="{moment(task.start)}">{duration(self.start_s)}</td>'
            + "".join(f'<td class="n" data-v="{value}">{shown}</td>' for value, shown in self.figures)
            + f'<td class="links">{links}</td>'
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Problem:
    """A task that did not succeed, and the names of those that were skipped for that reason."""

    row: _Row
    skipped: tuple[str, ...]


def render_html(run: Run) -> str:
    """The page for a run, of whatever status."""
    rows = list(_rows(run))
    graph, gantt = graph_of_run(run), gantt_of_run(run)
    script = source("report.js")
    return render(
        "report.html",
        run=run,
        notes=kernel_notes(run),
        rows=rows,
        counts=_counts(rows),
        problems=_problems(rows),
        parameters=_values(run.record.parameters),
        facts=list(_facts(run)),
        graph=graph_svg(graph, standalone=False, anchors=True),
        gantt=gantt_html(gantt),
        bar_states=list(dict.fromkeys(bar.state for row in gantt.rows for bar in row.bars)),
        tracebacks_left_out=sum(attempt.traceback_left_out for row in rows for attempt in row.attempts),
        limits={
            "tracebacks": MAX_TRACEBACKS,
            "one_piece": MAX_ROWS_IN_ONE_PIECE,
            "problems": MAX_PROBLEMS,
            "names": MAX_NAMES,
            "warnings": MAX_WARNINGS,
        },
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _counts(rows: list[_Row]) -> list[tuple[State, int]]:
    """Number of tasks by state, the good ones first."""
    counted = Counter(row.state for row in rows)
    states = [TaskStatus.SUCCEEDED, TaskStatus.REUSED, TaskStatus.RUNNING, *Outcome]
    order = {state: number for number, state in enumerate(states)}
    return sorted(counted.items(), key=lambda item: order.get(item[0], len(order)))


def _rows(run: Run) -> Iterator[_Row]:
    budget = MAX_TRACEBACKS
    detailed = len(run.tasks) <= MAX_DETAILED_TASKS
    for index, task in enumerate(run.tasks):
        attempts = []
        for attempt in task.attempts:
            attempts.append(_attempt(run, task, attempt, budget))
            budget -= len(attempts[-1].traceback)
        yield _Row(
            index=index,
            task=task,
            state=state_of_task(run, task),
            attempts=tuple(attempts),
            start_s=None if task.start is None else run.own_seconds(task.start),
            figures=tuple(_figures(task, task.attempts[-1])) if task.attempts else (),
            values=_task_values(task) if detailed else (),
        )


def _figures(task: TaskRun, last: AttemptRun) -> Iterator[tuple[str, str]]:
    """Duration, queue, CPU time and peak memory."""
    for seconds in (task.duration_s, last.queue_s, last.cpu_time_s):
        yield "" if seconds is None else str(round(seconds, 3)), duration(seconds)
    memory = last.peak_memory_bytes
    yield "" if memory is None else str(memory), size(memory)


def _attempt(run: Run, task: TaskRun, attempt: AttemptRun, budget: int) -> _Attempt:
    failure = attempt.failure
    traceback = cut_middle(failure.traceback.strip("\n"), MAX_TRACEBACK) if failure else ""
    left_out = len(traceback) > budget
    return _Attempt(
        attempt=attempt,
        state=state_of_attempt(run, attempt),
        start_s=None if attempt.start is None else run.own_seconds(attempt.start),
        links=tuple(_links(task, attempt)),
        kind=cut_middle(failure.kind, MAX_MESSAGE) if failure else "",
        message=cut_middle(failure.message, MAX_MESSAGE) if failure else "",
        traceback="" if left_out else traceback,
        traceback_left_out=left_out,
    )


def _links(task: TaskRun, attempt: AttemptRun) -> Iterator[_Link]:
    """Links to files that are there, and to the attempt's folder."""
    targets = (
        ("html", attempt.html),
        ("ipynb", attempt.notebook),
        ("log", attempt.log),
        ("folder", attempt.folder),
    )
    for label, path in targets:
        if path is not None and _is_inside(path):
            yield _Link(label=label, href=paths.href(path) + ("/" if label == "folder" else ""))


def _is_inside(path: Path) -> bool:
    """Whether a link to ``path`` stays in the run folder. The reader sees to that already; a page lives longer."""
    return not path.is_absolute() and ".." not in path.parts


def _task_values(task: TaskRun) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    last = task.last_attempt
    if last is None:
        return ()
    found = (("Parameters", _values(last.parameters)), ("Outputs", _values(last.outputs)))
    return tuple((title, values) for title, values in found if values)


def _values(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Names and values as short text."""
    return tuple(
        (name, cut_middle(json.dumps(value, ensure_ascii=False, default=str), MAX_VALUE))
        for name, value in values.items()
    )


def _facts(run: Run) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Where and with what the run was made: headings, with names and values."""
    record = run.record
    driver = {
        "host": record.driver.host,
        "user": record.driver.user,
        "process id": str(record.driver.pid),
        "executor": record.driver.executor,
        "directory": record.driver.working_directory,
    }
    git = {}
    if record.git:
        changed = " (with uncommitted changes)" if record.git.dirty else ""
        git = {
            "commit": record.git.commit + changed,
            "branch": record.git.branch or "",
            "remote": record.git.remote_url or "",
        }
    last = record.resumes[-1] if record.resumes else None
    resumed = {"times": str(len(record.resumes)), "last": moment(last.start)} if last else {}
    for title, values in (
        ("Resumed", resumed),
        ("Code", git),
        ("CI job", record.ci),
        ("Run by", driver),
        ("Versions", record.versions),
    ):
        known = tuple((name, cut_middle(value, MAX_VALUE)) for name, value in values.items() if value)
        if known:
            yield title, known


def _problems(rows: list[_Row]) -> list[_Problem]:
    """Tasks that did not succeed, in plan order, each with what it blocked, directly or not."""
    by_name = {row.task.name: row for row in rows}
    skipped: dict[str, list[str]] = {}
    origins: dict[str, str] = {}
    for row in rows:
        if row.task.status is TaskStatus.SKIPPED:
            skipped.setdefault(_origin(row, by_name, origins), []).append(row.task.name)
    return [
        _Problem(row=row, skipped=tuple(skipped.get(row.task.name, ())))
        for row in rows
        if row.state in _GONE_WRONG or row.task.name in skipped
    ]


def _origin(row: _Row, by_name: Mapping[str, _Row], known: dict[str, str]) -> str:
    """The task at the beginning of a chain of skipped ones. A forged folder may name unknown tasks, or a circle.

    Args:
        known: answers so far, added to: a long chain is walked once, not once from each of its tasks.
    """
    seen: dict[str, None] = {}
    while row.task.status is TaskStatus.SKIPPED and row.task.name not in seen and row.task.name not in known:
        seen[row.task.name] = None
        row = by_name.get(row.task.blocked_by or "", row)
    origin = known.get(row.task.name, row.task.name)
    known |= dict.fromkeys(seen, origin)
    return origin
