"""Write ``summary.md``: a run in Markdown with mermaid diagrams, for the job summaries of CI systems.

Links are left out: a job summary stands on a page of its own, far from the run folder.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from pynb_dag_runner.model.markdown import code_block, code_span, markdown_text
from pynb_dag_runner.model.outcomes import Outcome, RunStatus, TaskStatus
from pynb_dag_runner.model.quantities import UNKNOWN, count, duration, moment, size
from pynb_dag_runner.model.text import cut_to_columns, one_line, printable
from pynb_dag_runner.reports.gantt import Bar, gantt_of_run
from pynb_dag_runner.reports.graph import graph_of_run
from pynb_dag_runner.reports.graph_text import mermaid, mermaid_text
from pynb_dag_runner.reports.wording import State, state_of_task, state_word
from pynb_dag_runner.run_folder.run import Run, TaskRun

MAX_BYTES = 1024 * 1024
"""Of one step's summary on GitHub; a larger one is not shown at all (GitHub Docs, "Workflow commands for GitHub
Actions", "Step isolation and limits")."""

MAX_ROWS = 500
"""Rows of the table; of a larger run only the tasks that did not succeed are listed, up to this number."""

MAX_FAILURES = 20
MAX_TRACEBACK_LINES = 40
"""Tracebacks that are quoted, and their last lines."""

MERMAID_MAX_CHARACTERS = 50_000
MERMAID_MAX_EDGES = 500
"""Mermaid draws nothing above these, its defaults ``maxTextSize`` and ``maxEdges``, which GitHub does not change."""

_SHORTEST_LINE = 8
"""Characters that a task's line of a diagram has at least."""

_LEFT_OUT = "Some of it is left out here: there was too much. `report.html` in the run folder has all."
_MAX_TEXT = 300
_MAX_LINE = 400
_SYMBOLS: dict[State, str] = {
    TaskStatus.SUCCEEDED: "✅",
    TaskStatus.REUSED: "♻️",
    TaskStatus.FAILED: "❌",
    TaskStatus.TIMED_OUT: "⏰",
    TaskStatus.CRASHED: "💥",
    TaskStatus.CANCELLED: "🚫",
    TaskStatus.SKIPPED: "⏭️",
    TaskStatus.RUNNING: "▶️",
    TaskStatus.PENDING: "⏳",
    RunStatus.INTERRUPTED: "⏸️",
}


def render_summary(run: Run) -> str:
    """The summary of a run, of whatever status; at most :data:`MAX_BYTES` of UTF-8."""
    parts = [*_head(run)]
    if run.tasks:
        parts += [*_diagrams(run), *_table(run)]
    parts += [*_failures(run), *_warnings(run)]
    kept: list[str] = []
    room = MAX_BYTES - len(_LEFT_OUT.encode()) - 2
    for part in parts:
        length = len(part.encode()) + 2
        if length <= room:
            kept.append(part)
            room -= length
    if len(kept) < len(parts):
        kept.append(_LEFT_OUT)
    return "\n\n".join(kept) + "\n"


def _text(text: str) -> str:
    """``text`` in one line that markdown shows as it is; cut when very long."""
    return markdown_text(cut_to_columns(one_line(text), _MAX_TEXT))


def _head(run: Run) -> Iterator[str]:
    yield f"## {_SYMBOLS[run.status]} {_text(run.pipeline)}: {state_word(run.status)}"
    counted = Counter(state_of_task(run, task) for task in run.tasks)
    counts = ", ".join(f"{number:,} {state_word(state)}" for state, number in counted.most_common())
    facts = [count(len(run.tasks), "task") + (f" ({counts})" if counts else "")]
    if run.duration_s is not None:
        facts.append(duration(run.duration_s))
    yield " · ".join([*facts, f"started {moment(run.start)}", f"run {code_span(cut_to_columns(run.id, _MAX_TEXT))}"])
    if run.record.resumes:
        last, times = run.record.resumes[-1], len(run.record.resumes)
        often = "" if times == 1 else f" {times} times, at last"
        yield f"Resumed{often} {moment(last.start)}; the time between is left out below"
    git = run.record.git
    if git:
        changed = " with uncommitted changes" if git.dirty else ""
        branch = f" on {_text(git.branch)}" if git.branch else ""
        yield f"Commit {code_span(git.commit[:12])}{branch}{changed}"
    if run.record.parameters:
        values = (f"{_text(key)} = {_text(str(value))}" for key, value in run.record.parameters.items())
        yield "Parameters: " + "; ".join(values)


def _diagrams(run: Run) -> Iterator[str]:
    graph = graph_of_run(run)
    bars = sum(1 for task in run.tasks for attempt in task.attempts if attempt.start or attempt.end)
    diagrams = (
        ("### Graph", partial(mermaid, graph), len(graph.nodes), len(graph.edges)),
        ("### Time\n\nThe axis is in the time zone of your browser.", partial(_mermaid_gantt, run), bars, 0),
    )
    for title, draw, lines, edges in diagrams:
        # Drawn only if it may be shown: a large run waits for what would be thrown away.
        is_large = lines * _SHORTEST_LINE > MERMAID_MAX_CHARACTERS or edges > MERMAID_MAX_EDGES
        text = "" if is_large else draw()
        if not text and not is_large:
            continue
        yield title
        if is_large or len(text) > MERMAID_MAX_CHARACTERS:
            yield "Left out: the run is too large for a mermaid diagram. `report.html` in the run folder has it."
        else:
            yield f"```mermaid\n{text}```"


def _mermaid_gantt(run: Run) -> str:
    """A Gantt chart with one line for each attempt, in order of start; empty if nothing ran."""
    lines = [
        f"  {mermaid_text(_bar_text(row.name, bar, len(row.bars)))} :{_bar_class(bar)}{_span(run, bar)}"
        for row in gantt_of_run(run).rows
        for bar in row.bars
    ]
    if not lines:
        return ""
    return "\n".join(["gantt", "  dateFormat x", "  axisFormat %H:%M:%S", *lines]) + "\n"


def _bar_text(name: str, bar: Bar, attempts: int) -> str:
    number = f" ({bar.number})" if attempts > 1 else ""
    state = "" if bar.state is Outcome.SUCCEEDED else f" {state_word(bar.state)}"
    return f"{cut_to_columns(name, 40)}{number}{state}, {duration(bar.end_s - bar.start_s)}"


def _bar_class(bar: Bar) -> str:
    """Mermaid's own classes: blue is plain, ``active`` is light, ``crit`` is red, ``done`` is grey."""
    if bar.state is Outcome.SUCCEEDED:
        return ""
    if bar.is_open:
        return "active, "
    return "done, " if bar.state is Outcome.CANCELLED else "crit, "


def _span(run: Run, bar: Bar) -> str:
    """Start and end in milliseconds since 1970; the axis is in the reader's time zone."""
    start, end = (int((run.start.timestamp() + at) * 1000) for at in (bar.start_s, bar.end_s))
    return f"{start}, {max(end, start + 1)}"


def _table(run: Run) -> Iterator[str]:
    tasks: Sequence[TaskRun] = run.tasks
    title = "### Tasks"
    if len(tasks) > MAX_ROWS:
        tasks = [task for task in tasks if not task.status.is_success]
        title = "### Tasks that did not succeed"
    if not tasks:
        return
    yield title
    head = (
        "| Task | Status | Attempts | Duration | Queue | CPU | Peak memory | Error |\n|---|---|--:|--:|--:|--:|--:|---|"
    )
    yield "\n".join([head, *(_table_row(run, task) for task in tasks[:MAX_ROWS])])
    if len(tasks) > MAX_ROWS:
        yield f"And {len(tasks) - MAX_ROWS:,} more; `report.html` in the run folder has all."


def _table_row(run: Run, task: TaskRun) -> str:
    state, last = state_of_task(run, task), task.last_attempt
    error = ""
    if task.failure:
        error = f"{task.failure.kind}: {task.failure.message}"
    elif task.blocked_by:
        error = f"{task.blocked_by} did not succeed"
    cells = [
        _text(task.name),
        f"{_SYMBOLS[state]} {state_word(state)}",
        str(len(task.attempts)),
        duration(task.duration_s),
        duration(last.queue_s) if last else UNKNOWN,
        duration(last.cpu_time_s) if last else UNKNOWN,
        size(last.peak_memory_bytes) if last else UNKNOWN,
        _text(error),
    ]
    return f"| {' | '.join(cells)} |"


def _failures(run: Run) -> Iterator[str]:
    """The ends of the tracebacks of failed tasks, folded."""
    failed = [task for task in run.tasks if task.failure and task.failure.traceback]
    if not failed:
        return
    yield "### Errors"
    for task in failed[:MAX_FAILURES]:
        failure = task.failure
        assert failure is not None
        lines = [line[:_MAX_LINE] for line in printable(failure.traceback).splitlines()[-MAX_TRACEBACK_LINES:]]
        title = f"{_html(task.name)}: {_html(failure.kind)}"
        yield f"<details><summary>{title}</summary>\n\n{code_block(lines)}\n\n</details>"
    if len(failed) > MAX_FAILURES:
        yield f"And {count(len(failed) - MAX_FAILURES, 'error')} more; `report.html` in the run folder has all."


def _html(text: str) -> str:
    """Text inside an HTML element, where markdown's backslashes do not count."""
    short = cut_to_columns(one_line(text), _MAX_TEXT)
    return re.sub(r"[^\w ,.()=/-]", lambda match: f"&#{ord(match.group())};", short)


def _warnings(run: Run) -> Iterator[str]:
    if run.warnings:
        yield "### Warnings"
        yield "\n".join(f"- {_text(warning)}" for warning in run.warnings[:MAX_FAILURES])
        if len(run.warnings) > MAX_FAILURES:
            yield f"And {len(run.warnings) - MAX_FAILURES:,} more."
