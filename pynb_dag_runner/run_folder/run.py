"""A run with its tasks and attempts, as a reader returns it: frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.model.task_options import TaskOptions
from pynb_dag_runner.run_folder.records import KernelStart, Metric, RunRecord


@dataclass(frozen=True, kw_only=True)
class AttemptDetails:
    """What a task wrote in one attempt.

    Attributes:
        params, tags: as logged.
        metrics: in the order in which they were logged.
        artifacts: regular files below the attempt's ``artifacts`` folder, relative to it, sorted.
    """

    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    artifacts: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AttemptRun:
    """One execution of a task.

    Attributes:
        folder: its folder, relative to the run folder.
        number: counts from 1.
        outcome: None while it runs, or if the driver died before it could say.
        start, end: UTC; ``start`` is None if it ended before it ran.
        queue_s: seconds that it waited for a free slot.
        failure: why it did not succeed.
        kernel_start: how a notebook's kernel came about.
        parameters: as the task received them, for reading.
        outputs: named JSON values, decoded.
        redacted_outputs: names of outputs that held a secret, and so are not what the task made.
        notebook, html, log: files relative to the run folder; None where there is none.
    """

    folder: Path
    number: int
    outcome: Outcome | None = None
    start: datetime | None = None
    end: datetime | None = None
    queue_s: float | None = None
    failure: Failure | None = None
    host: str | None = None
    pid: int | None = None
    cpu_time_s: float | None = None
    peak_memory_bytes: int | None = None
    kernel: str | None = None
    kernel_start: KernelStart | None = None
    cells: int | None = None
    cells_executed: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    redacted_outputs: tuple[str, ...] = ()
    notebook: Path | None = None
    html: Path | None = None
    log: Path | None = None

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None if one of them is missing."""
        return seconds_between(self.start, self.end)


@dataclass(frozen=True, kw_only=True)
class TaskRun:
    """A task of a run.

    Attributes:
        kind: ``notebook`` or ``function``.
        source: the notebook's path or the function's name.
        upstream: names of the tasks it waits for.
        blocked_by: of a SKIPPED task, the task that did not succeed.
        attempts_before: attempts up to this number are from before the run was resumed, and do not count any more.
        start, end: from the start of the first attempt that counts to the last one's end, UTC.
        is_settled: its final status is written down; without that, it is concluded from its attempts.
        attempts: all of them, in order.
    """

    name: str
    kind: str
    source: str
    upstream: tuple[str, ...] = ()
    options: TaskOptions = field(default_factory=TaskOptions)
    attempts_before: int = 0
    status: TaskStatus = TaskStatus.PENDING
    blocked_by: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    is_settled: bool = False
    attempts: tuple[AttemptRun, ...] = ()

    @property
    def counted(self) -> tuple[AttemptRun, ...]:
        """The attempts that count: those made since the run was resumed, or of a task that was taken over."""
        return tuple(attempt for attempt in self.attempts if attempt.number > self.attempts_before)

    @property
    def most_attempts(self) -> int:
        """The highest number that an attempt of the task can have."""
        return self.attempts_before + self.options.retries + 1

    @property
    def last_attempt(self) -> AttemptRun | None:
        """The attempt whose outcome counts; None if there is none."""
        last = self.attempts[-1] if self.attempts else None
        return last if last and last.number > self.attempts_before else None

    @property
    def duration_s(self) -> float | None:
        """Seconds from the start of the first attempt that counts to the last one's end."""
        return seconds_between(self.start, self.end)

    @property
    def outputs(self) -> Mapping[str, Any]:
        """Named values of the last attempt, as far as JSON holds them."""
        return self.last_attempt.outputs if self.last_attempt else {}

    @property
    def failure(self) -> Failure | None:
        """Why the last attempt did not succeed."""
        return self.last_attempt.failure if self.last_attempt else None


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as its folder tells it.

    Attributes:
        folder: absolute path of the run folder.
        record: ``run.json``.
        status: as recorded, but INTERRUPTED for a run whose driver is gone without a last word.
        end: of the run; of an interrupted one, the last thing that is known to have happened.
        tasks: in plan order.
        warnings: what listeners were warned of, in order.
        report, summary: files relative to the run folder; None where there is none.
    """

    folder: Path
    record: RunRecord
    status: RunStatus
    end: datetime | None
    tasks: tuple[TaskRun, ...]
    warnings: tuple[str, ...] = ()
    report: Path | None = None
    summary: Path | None = None

    @property
    def id(self) -> str:
        """The run id."""
        return self.record.run_id

    @property
    def pipeline(self) -> str:
        """The pipeline's name."""
        return self.record.pipeline

    @property
    def start(self) -> datetime:
        """When the run started, UTC."""
        return self.record.start

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end, without the time between the end of its driver and a resume."""
        return None if self.end is None else max(0.0, self.own_seconds(self.end))

    def own_seconds(self, time: datetime) -> float:
        """Seconds from the run's start to ``time``, without those in which it stood still before it was resumed."""
        seconds = (time - self.start).total_seconds()
        for resume in self.record.resumes:
            still = seconds_between(resume.previous_end, min(time, resume.start)) or 0.0
            seconds -= still
        return seconds

    @cached_property
    def by_name(self) -> Mapping[str, TaskRun]:
        """Tasks by name, in plan order."""
        return MappingProxyType({task.name: task for task in self.tasks})


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds from ``start`` to ``end``, at least 0: a clock set back must not make a negative duration."""
    if start is None or end is None:
        return None
    return max(0.0, (end - start).total_seconds())
