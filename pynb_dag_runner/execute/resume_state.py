"""What a resumed run takes over: verdicts, outputs and kept values; and the records that say so."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pynb_dag_runner.events import AttemptEnded, RunAgain, RunResumed
from pynb_dag_runner.model.outcomes import Failure, Outcome, TaskStatus
from pynb_dag_runner.run_folder.records import AttemptVerdict, Error, PlannedTask, RunRecord, TaskRecord
from pynb_dag_runner.run_folder.run import AttemptRun, Run, TaskRun

_DRIVER_DIED = Failure(
    kind="DriverDied", message="the process that drove the run died while this attempt was under way"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingPage:
    """An evaluated notebook whose page could not be made any more."""

    task: str
    number: int
    outcome: Outcome
    failure: Failure | None


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What a resumed run begins with; all empty for a new one.

    Attributes:
        reused: names of the tasks that are taken over.
        untouched: of these, those of which nothing in the run folder changes, as they were read.
        verdicts: of the attempts of all tasks but the untouched ones, by task.
        ends: of attempts that had no end, since their driver died.
        outputs: of the tasks that are taken over: values that JSON holds.
        kept: of the same: return values that JSON can't hold, as far as they are needed.
        pages_missing: notebooks without a page, since the driver died or none was wanted then.
    """

    reused: frozenset[str] = frozenset()
    untouched: Mapping[str, TaskRun] = field(default_factory=dict)
    verdicts: Mapping[str, Sequence[AttemptVerdict]] = field(default_factory=dict)
    ends: tuple[AttemptEnded, ...] = ()
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kept: Mapping[str, Any] = field(default_factory=dict)
    pages_missing: tuple[MissingPage, ...] = ()


def earlier_of(
    run: Run, tasks: Iterable[PlannedTask], reused: Iterable[str], kept: Mapping[str, Any], *, html: bool
) -> Earlier:
    """What ``run`` has to give.

    Args:
        tasks: of the run from now on.
        reused: those that are taken over.
        kept: return values that are needed and that JSON can't hold.
        html: notebooks shall have pages.
    """
    reused = frozenset(reused)
    before = {planned.name: planned for planned in run.record.tasks}
    both = [(planned, task) for planned in tasks if (task := run.by_name.get(planned.name)) is not None]
    known = [task for _, task in both]
    untouched = {
        task.name: task
        for planned, task in both
        if task.name in reused and planned == before[task.name] and _is_finished(task, html=html)
    }
    last = run.end or run.start
    return Earlier(
        reused=reused,
        untouched=untouched,
        verdicts={
            task.name: [_verdict(attempt, last) for attempt in task.attempts]
            for task in known
            if task.name not in untouched
        },
        ends=tuple(_end(task, attempt, last) for task in known for attempt in task.attempts if attempt.outcome is None),
        outputs={task.name: task.outputs for task in known if task.name in reused},
        kept=kept,
        pages_missing=tuple(page for task in known for page in missing_pages(task)) if html else (),
    )


def _is_finished(task: TaskRun, *, html: bool) -> bool:
    """Whether the task's folder lacks nothing: no driver died before it wrote ``task.json``, or an end, or a page."""
    ended = all(attempt.outcome is not None for attempt in task.attempts)
    return task.is_settled and ended and not (html and any(missing_pages(task)))


def _verdict(attempt: AttemptRun, last: datetime) -> AttemptVerdict:
    """The driver's word on an attempt; one without an end ended with its driver at ``last``, or later."""
    start = attempt.start
    failure = _DRIVER_DIED if attempt.outcome is None else attempt.failure
    return AttemptVerdict(
        number=attempt.number,
        outcome=attempt.outcome or Outcome.CRASHED,
        start=start,
        end=attempt.end or max(last, start or last),
        error=Error.of(failure),
    )


def _end(task: TaskRun, attempt: AttemptRun, last: datetime) -> AttemptEnded:
    verdict = _verdict(attempt, last)
    return AttemptEnded(
        time=verdict.end,
        task=task.name,
        number=verdict.number,
        outcome=verdict.outcome,
        start=verdict.start,
        failure=_DRIVER_DIED,
        retry_at=None,
    )


def missing_pages(task: TaskRun) -> Iterator[MissingPage]:
    """The task's notebooks that have no page."""
    for attempt in task.attempts:
        if attempt.notebook is not None and attempt.html is None:
            failure = _DRIVER_DIED if attempt.outcome is None else attempt.failure
            outcome = attempt.outcome or Outcome.CRASHED
            yield MissingPage(task=task.name, number=attempt.number, outcome=outcome, failure=failure)


def task_record(
    planned: PlannedTask, status: TaskStatus, verdicts: Sequence[AttemptVerdict], blocked_by: str | None
) -> TaskRecord:
    """``task.json`` of a task that has its final status.

    Args:
        verdicts: of all its attempts; times are those of the attempts that count.
    """
    counted = [verdict for verdict in verdicts if verdict.number > planned.attempts_before]
    return TaskRecord(
        name=planned.name,
        kind=planned.kind,
        source=planned.source,
        options=planned.options,
        upstream=planned.upstream,
        resumed=planned.resumed,
        status=status,
        outcome=counted[-1].outcome if counted else None,
        blocked_by=blocked_by,
        start=next((verdict.start for verdict in counted if verdict.start), None),
        end=counted[-1].end if counted else None,
        attempts=tuple(verdicts),
    )


def resumed_event(record: RunRecord) -> RunResumed:
    """The event that the run goes on, from ``run.json``."""
    resume = record.resumes[-1]
    return RunResumed(
        time=resume.start,
        pipeline=record.pipeline,
        run_id=record.run_id,
        host=resume.driver.host,
        pid=resume.driver.pid,
        tasks=tuple(task.name for task in record.tasks),
        parameters=resume.parameters,
        again=tuple(RunAgain(task=again.task, reason=again.reason) for again in resume.again),
        dropped=resume.dropped,
    )
