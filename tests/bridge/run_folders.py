"""Run folders for the tests of the bridge, written by the runner's own writer, without running anything."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pynb_dag_runner.events import AttemptStarted, RunStarted
from pynb_dag_runner.model.outcomes import Outcome, RunStatus, TaskStatus
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.records import (
    AttemptRecord,
    AttemptVerdict,
    DriverRecord,
    Error,
    GitRecord,
    PlannedTask,
    RunRecord,
    TaskRecord,
    TrackingRecord,
)
from pynb_dag_runner.run_folder.writer import RunWriter

START = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
START_MS = 1767323045678
RUN_ID = "20260102T030405Z-9f3c"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An attempt to be written; ``outcome`` None stands for one whose driver died."""

    outcome: Outcome | None = Outcome.SUCCEEDED
    start_s: float = 0.0
    seconds: float = 10.0
    error: Error | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[tuple[str, float, int]] = ()
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    html: str | None = "<html><body>evaluated</body></html>"
    log: str | None = "hello\n"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task to be written; without a status it has that of its last attempt."""

    name: str = "train"
    attempts: Sequence[Attempt] = (Attempt(),)
    status: TaskStatus | None = None
    blocked_by: str | None = None
    upstream: tuple[str, ...] = ()
    kind: Literal["notebook", "function"] = "notebook"


SKIPPED = Task(name="report", attempts=(), status=TaskStatus.SKIPPED, blocked_by="train", upstream=("train",))
VALUE_ERROR = Error(kind="ValueError", message="no | rows", traceback="  File train.py, line 3\nValueError: no | rows")


def make_run(
    output_dir: Path,
    *tasks: Task,
    pipeline: str = "digits",
    run_id: str = RUN_ID,
    status: RunStatus = RunStatus.SUCCEEDED,
    parameters: Mapping[str, Any] = {},
    git: GitRecord | None = None,
    ci: Mapping[str, str] = {},
    description: str = "",
    seconds: float = 60.0,
    alive: bool = False,
) -> Path:
    """Write a run folder.

    Args:
        status: RUNNING leaves the run without an end; it reads as INTERRUPTED unless it is ``alive``.
    """
    folder = paths.run_folder(output_dir, pipeline, run_id)
    (folder / paths.TASKS).mkdir(parents=True)
    ended = status is not RunStatus.RUNNING
    record = RunRecord(
        run_id=run_id,
        pipeline=pipeline,
        description=description,
        status=status,
        start=START,
        end=START + timedelta(seconds=seconds) if ended else None,
        parameters=dict(parameters),
        tasks=tuple(PlannedTask(name=t.name, kind=t.kind, source=_source(t), upstream=t.upstream) for t in tasks),
        driver=DriverRecord(host="elsewhere", pid=1, process_start_s=0.0, user="ada"),
        git=git,
        ci=dict(ci),
    )
    with closing(RunWriter(folder, record)) as writer:
        names = tuple(task.name for task in tasks)
        writer.event(RunStarted(time=START, pipeline=pipeline, run_id=run_id, tasks=names))
        for task in tasks:
            _write_task(folder, task, writer)
    if ended:
        (folder / paths.REPORT).write_text("<html><body>report</body></html>")
        (folder / paths.SUMMARY).write_text("# summary\n")
    elif not alive:
        os.utime(folder / paths.EVENTS, (START.timestamp(), START.timestamp()))
    return folder


def _write_task(run: Path, task: Task, writer: RunWriter) -> None:
    for number, attempt in enumerate(task.attempts, start=1):
        start = _start(attempt)
        writer.event(AttemptStarted(time=start, task=task.name, number=number, host="elsewhere", pid=7))
        _write_attempt(run, task, number, attempt)
    paths.task_folder(run, task.name).mkdir(exist_ok=True)
    if status_of(task).is_final:
        writer.task(_task_record(task))


def status_of(task: Task) -> TaskStatus:
    """The status given, or that of the last attempt."""
    last = task.attempts[-1].outcome if task.attempts else None
    return task.status or (TaskStatus(last.value) if last else TaskStatus.PENDING)


def _source(task: Task) -> str:
    return f"notebooks/{task.name}.py" if task.kind == "notebook" else f"pipeline.{task.name}"


def _task_record(task: Task) -> TaskRecord:
    verdicts = tuple(
        AttemptVerdict(number=n, outcome=a.outcome, start=_start(a), end=_end(a), error=a.error)
        for n, a in enumerate(task.attempts, start=1)
        if a.outcome
    )
    return TaskRecord(
        name=task.name,
        kind=task.kind,
        source=_source(task),
        upstream=task.upstream,
        status=status_of(task),
        outcome=verdicts[-1].outcome if verdicts else None,
        blocked_by=task.blocked_by,
        start=verdicts[0].start if verdicts else None,
        end=verdicts[-1].end if verdicts else START + timedelta(seconds=30),
        attempts=verdicts,
    )


def _start(attempt: Attempt) -> datetime:
    return START + timedelta(seconds=attempt.start_s)


def _end(attempt: Attempt) -> datetime:
    return _start(attempt) + timedelta(seconds=attempt.seconds)


def _write_attempt(run: Path, task: Task, number: int, attempt: Attempt) -> None:
    folder = paths.attempt_folder(run, task.name, number)
    folder.mkdir(parents=True)
    record = AttemptRecord(
        task=task.name,
        number=number,
        outcome=attempt.outcome,
        queued=_start(attempt) - timedelta(seconds=0.5),
        start=_start(attempt),
        end=_end(attempt) if attempt.outcome else None,
        queue_s=0.5,
        error=attempt.error,
        host="elsewhere",
        pid=7,
        cpu_time_s=8.25,
        peak_memory_bytes=123_400_000,
        parameters=dict(attempt.parameters),
    )
    (folder / paths.ATTEMPT).write_bytes(record.to_json())
    if attempt.html is not None:
        (folder / paths.NOTEBOOK_HTML).write_text(attempt.html)
        (folder / paths.NOTEBOOK).write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    if attempt.log is not None:
        (folder / paths.LOG).write_text(attempt.log)
    tracking = TrackingRecord(params=dict(attempt.params), tags=dict(attempt.tags))
    (folder / paths.TRACKING).write_bytes(tracking.to_json())
    (folder / paths.METRICS).write_text("".join(_metric_line(attempt, *point) for point in attempt.metrics))
    for name, content in attempt.artifacts.items():
        path = folder / paths.ARTIFACTS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _metric_line(attempt: Attempt, key: str, value: float, step: int) -> str:
    # JSON has no NaN; the format writes it as a string.
    shown = value if math.isfinite(value) else "NaN"
    return json.dumps({"key": key, "value": shown, "step": step, "timestamp": _start(attempt).isoformat()}) + "\n"
