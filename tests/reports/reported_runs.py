"""Runs to be drawn, made by hand: factories with defaults."""

import html.parser
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.run_folder import AttemptRun, Run, TaskRun
from pynb_dag_runner.run_folder.paths import attempt_folder
from pynb_dag_runner.run_folder.records import DriverRecord, RunRecord

START = datetime(2026, 11, 23, 5, 47, 12, tzinfo=UTC)
FAILURE = Failure(kind="ValueError", message="no rows", traceback="Traceback:\n  line 1\nValueError: no rows\n")
HOSTILE = (
    "<script>alert(1)</script>",
    'a"]b',
    "x|y",
    "`b`",
    "javascript:alert(1)",
    "' onload='alert(1)",
    "</title></svg><img src=x onerror=alert(1)>",
    "&lt;i&gt;",
    "a\\nb\\",
    "{{ 7 * 7 }}{% raw %}",
    "-->",
    "日本語",
)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def make_attempt(
    task: str = "a",
    number: int = 1,
    start: float | None = 0.0,
    end: float | None = 1.0,
    outcome: Outcome | None = Outcome.SUCCEEDED,
    **other: Any,
) -> AttemptRun:
    return AttemptRun(
        folder=attempt_folder(Path(), task, number),
        number=number,
        outcome=outcome,
        start=None if start is None else after(start),
        end=None if end is None else after(end),
        **other,
    )


def make_task(
    name: str = "a",
    upstream: Iterable[str] = (),
    status: TaskStatus = TaskStatus.SUCCEEDED,
    attempts: Iterable[AttemptRun] | None = None,
    kind: str = "function",
    **other: Any,
) -> TaskRun:
    """A task; one that has run gets an attempt of one second that ended with its status."""
    if attempts is None:
        ran = status.value in Outcome.__members__
        failure = None if status is TaskStatus.SUCCEEDED else FAILURE
        attempts = [make_attempt(name, outcome=Outcome(status.value), failure=failure)] if ran else []
    attempts = tuple(attempts)
    return TaskRun(
        name=name,
        kind=kind,
        source=f"pipeline.{name}",
        upstream=tuple(upstream),
        status=status,
        attempts=attempts,
        start=attempts[0].start if attempts else None,
        end=attempts[-1].end if attempts else None,
        **other,
    )


def make_run(
    *tasks: TaskRun,
    status: RunStatus = RunStatus.SUCCEEDED,
    end: float | None = 10.0,
    folder: Path = Path("/nowhere"),
    warnings: tuple[str, ...] = (),
    **record: Any,
) -> Run:
    driver = DriverRecord(host="here", pid=1, process_start_s=1.0)
    values = {"run_id": "20261123T054712Z-9f3c", "pipeline": "digits", **record}
    return Run(
        folder=folder,
        record=RunRecord(status=status, start=START, driver=driver, **values),
        status=status,
        end=None if end is None else after(end),
        tasks=tasks,
        warnings=warnings,
    )


def skipped_task(name: str, blocked_by: str) -> TaskRun:
    return make_task(name, [blocked_by], TaskStatus.SKIPPED, blocked_by=blocked_by)


@dataclass
class Element:
    """A part of a page; ``text`` is its own and its descendants'."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, tag: str = "", css: str = "", **attributes: str) -> list["Element"]:
        """Descendants in document order with this tag, this class and these attributes."""
        found = []
        for child in self.children:
            classes = child.attributes.get("class", "").split()
            fits = tag in ("", child.tag) and (not css or css in classes)
            if fits and attributes.items() <= child.attributes.items():
                found.append(child)
            found += child.all(tag, css, **attributes)
        return found


class _Parser(html.parser.HTMLParser):
    """Builds elements and insists that each is closed where it must be."""

    void = frozenset(("meta", "input", "br", "img", "link"))

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in self.void:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def parse_page(text: str) -> Element:
    """The page as elements; every element must be closed, in order."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert [element.tag for element in parser.open] == [""]
    return parser.open[0]
