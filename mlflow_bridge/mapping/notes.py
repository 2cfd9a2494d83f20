"""What MLflow shows as the description of a run, and the index of all notebooks, in markdown. Pure.

MLflow renders tables, code and links, but no mermaid and no HTML. Texts of the run folder (names, messages) may come
from a stranger and are escaped.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow_bridge.limits import MAX_TAG_CHARACTERS, cut
from mlflow_bridge.mapping.links import artifact_link, run_link, trace_link
from mlflow_bridge.mapping.runs import status_word
from mlflow_bridge.mapping.timeline import trace_id_of
from pynb_dag_runner.model.markdown import code_block, markdown_text
from pynb_dag_runner.model.quantities import duration
from pynb_dag_runner.run_folder import AttemptRun, Run, TaskRun
from pynb_dag_runner.run_folder.paths import LOG, NOTEBOOK, NOTEBOOK_HTML, REPORT, SUMMARY

INDEX = "index.md"

_ACTIVE = re.compile(r"\]\\*[(\[:]|<")
"""What a link, a picture, a reference or HTML can't do without."""
_OPEN_LINK = re.compile(r"(?<![!\\])\[[^\[\]<>!\\]*\]\((?:https?://|mailto:)[^\s()<>\"'\\]+\)")
_BRACKET = re.compile(r"(\\*)([\[\]<>])")
_MESSAGE_CHARACTERS = 160
_QUOTED_CHARACTERS = 1000
_NAME_CHARACTERS = 300
_TRACEBACK_CHARACTERS = 4000
_CODE_COLUMNS = 72
"""MLflow does not wrap code: a longer line pushes the facts beside the description out of a window of 1,280 pixels."""
_FAILED_IN_HEAD = 3
_NOTE_RESERVE = 300
"""Characters kept free for the line that says how many tasks are not listed."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """MLflow's ids of one uploaded run: what links are made of.

    Attributes:
        experiment_id, run_id: of the parent run.
        tasks: ids of the tasks' runs, by task name.
    """

    experiment_id: str
    run_id: str
    tasks: Mapping[str, str]

    def link(self, text: str, run_id: str, target: str | None = None) -> str:
        """A markdown link to a run, or to one of its artifacts; ``target`` "" stands for the list of artifacts."""
        page = run_link(self.experiment_id, run_id)
        return f"[{text}]({page if target is None else artifact_link(self.experiment_id, run_id, target)})"


def pipeline_note(run: Run, places: Places) -> str:
    """The parent's description: how it went, and a table of its tasks; at most what a tag of MLflow holds."""
    links = [places.link("report", places.run_id, REPORT)] if run.report else []
    timeline = trace_link(places.experiment_id, trace_id_of(run, places.experiment_id))
    links += [f"[timeline]({timeline})", places.link("all notebooks and logs", places.run_id, INDEX)]
    # MLflow shows some four lines and hides the rest behind "Show more": what matters most comes first.
    # Links below its fold can't be clicked before, so the head leads to what failed.
    failed = [_name(task.name, places) for task in run.tasks if task.failure][:_FAILED_IN_HEAD]
    failures = [f"see {', '.join(failed)}"] if failed else []
    head = " · ".join([f"**{run.status.value}** in {duration(run.duration_s)}", _counts(run), *failures, *links])
    rows = [_task_row(run, task, places) for task in run.tasks]
    table = ["| task | status | duration | | |", "|---|---|---|---|---|"]
    size = len(head) + 2 + sum(len(line) + 1 for line in table)
    shown = 0
    for row in rows:
        size += len(row) + 1
        if size > MAX_TAG_CHARACTERS - (_NOTE_RESERVE if shown + 1 < len(rows) else 0):
            break
        shown += 1
    more = len(rows) - shown
    rest = f"… and {more} more: see {places.link('the index', places.run_id, INDEX)}." if more else ""
    body = "\n".join(table + rows[:shown]) if shown else ""
    return cut(_paragraphs(head, body, rest), MAX_TAG_CHARACTERS)


def pipeline_index(run: Run, places: Places) -> str:
    """The artifact ``index.md``: each task with links to its run, notebook and log, whatever their number."""
    files = [(REPORT, run.report), (SUMMARY, run.summary)]
    head = " · ".join(places.link(name, places.run_id, name) for name, path in files if path)
    table = ["| task | status | duration | notebook | | | |", "|---|---|---|---|---|---|---|"]
    for task in run.tasks:
        run_id = places.tasks.get(task.name)
        cells = [_name(task.name, places), status_word(run, task), _task_duration(task)]
        cells += _file_links(task.last_attempt, places, run_id) if run_id else ["", "", "", ""]
        table.append(_row(cells))
    return _paragraphs(f"# {markdown_text(run.pipeline)}: {markdown_text(run.id)}", head, "\n".join(table)) + "\n"


def task_note(run: Run, task: TaskRun, places: Places, run_id: str, own_note: str | None = None) -> str:
    """The description of a task's run; a note that the task set itself stands first."""
    facts = [f"**{status_word(run, task)}**", _task_duration(task)]
    if task.blocked_by:
        facts.append(f"because {_name(cut(task.blocked_by, _NAME_CHARACTERS), places)} did not succeed")
    return _note(facts, task.last_attempt, places, run_id, own_note)


def attempt_note(attempt: AttemptRun, places: Places, run_id: str, own_note: str | None = None) -> str:
    """The description of an earlier attempt's run."""
    word = attempt.outcome.value if attempt.outcome else "no outcome"
    return _note([f"**{word}**", duration(attempt.duration_s)], attempt, places, run_id, own_note)


def _note(facts: Iterable[str], attempt: AttemptRun | None, places: Places, run_id: str, own_note: str | None) -> str:
    links = [*_file_links(attempt, places, run_id), places.link("pipeline run", places.run_id)]
    parts = [" · ".join(part for part in (*facts, *links) if part)]
    if attempt and attempt.failure:
        failure = attempt.failure
        kind, message = cut(failure.kind, _NAME_CHARACTERS), cut(failure.message, _QUOTED_CHARACTERS)
        parts.append(f"**{markdown_text(kind)}**: {markdown_text(message)}")
        if failure.traceback:
            parts.append(code_block(_wrapped(failure.traceback[-_TRACEBACK_CHARACTERS:])))
    ours = _paragraphs(*parts)
    return _paragraphs(cut(defused(own_note or ""), MAX_TAG_CHARACTERS - len(ours) - 2), ours)


def _task_row(run: Run, task: TaskRun, places: Places) -> str:
    run_id = places.tasks.get(task.name)
    last = task.last_attempt
    notebook = places.link("notebook", run_id, NOTEBOOK_HTML) if run_id and last and last.html else ""
    why = f"{task.failure.kind}: {task.failure.message}" if task.failure else ""
    if task.blocked_by:
        why = f"{task.blocked_by} did not succeed"
    cells = [_name(task.name, places), status_word(run, task), _task_duration(task), notebook]
    # MLflow's style sheet gives these tables no space between columns.
    return _row([f"{cell}&emsp;" for cell in cells] + [markdown_text(cut(why, _MESSAGE_CHARACTERS))])


def _file_links(attempt: AttemptRun | None, places: Places, run_id: str) -> list[str]:
    if attempt is None:
        return ["", "", "", ""]
    return [
        places.link("notebook", run_id, NOTEBOOK_HTML) if attempt.html else "",
        places.link("ipynb", run_id, NOTEBOOK) if attempt.notebook else "",
        places.link("log", run_id, LOG) if attempt.log else "",
        places.link("artifacts", run_id, ""),
    ]


def _name(task: str, places: Places) -> str:
    run_id = places.tasks.get(task)
    return places.link(markdown_text(task), run_id) if run_id else markdown_text(task)


def _task_duration(task: TaskRun) -> str:
    attempts = f" ({len(task.attempts)} attempts)" if len(task.attempts) > 1 else ""
    return f"{duration(task.duration_s)}{attempts}" if task.attempts else ""


def _counts(run: Run) -> str:
    done = sum(task.status.is_success for task in run.tasks)
    return f"{done} of {len(run.tasks)} tasks succeeded"


def defused(note: str) -> str:
    """A note in markdown that someone else may have written, without what acts by itself or hides where it leads.

    Emphasis, lists, tables, code and links to web pages stay. Pictures, which are fetched from wherever they are as
    soon as the note is seen, links of other kinds such as ``javascript:``, references and HTML show as their source.
    """
    if not _ACTIVE.search(note):
        return note
    parts, done = [], 0
    for link in _OPEN_LINK.finditer(note):
        parts += [_without_brackets(note[done : link.start()]), link.group()]
        done = link.end()
    return "".join([*parts, _without_brackets(note[done:])])


def _without_brackets(text: str) -> str:
    return _BRACKET.sub(lambda found: rf"{found[1] * 2}\{found[2]}", text)


def _wrapped(trace: str) -> list[str]:
    """A traceback in narrow lines, without the rules of dashes that IPython draws."""
    lines = [line for line in trace.strip().splitlines() if line.strip("-") or not line]
    return [line[at : at + _CODE_COLUMNS] for line in lines for at in range(0, max(len(line), 1), _CODE_COLUMNS)]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _paragraphs(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)
