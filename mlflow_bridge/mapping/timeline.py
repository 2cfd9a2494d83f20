"""A read run as one trace, which MLflow's timeline draws as a Gantt chart: pipeline > task > attempt. Pure.

All ids are made from the run, so that sending the trace again changes it and makes no second one.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mlflow_bridge.limits import cut
from mlflow_bridge.mapping.runs import flattened, status_word
from mlflow_bridge.tags import attempt_key, pipeline_key, task_key
from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus
from pynb_dag_runner.run_folder import AttemptRun, Run, TaskRun

MAX_SPANS = 4000
"""Of one trace: a run with more loses attempts first, then its shortest tasks. MLflow's page reads them all at once: so
many take a server some 5 s to store and to give."""
_VALUE_CHARACTERS = 500
_PREVIEW_CHARACTERS = 1000
_TRACEBACK_CHARACTERS = 4000


@dataclass(frozen=True, kw_only=True)
class SpanFailure:
    """An exception, as an event at the end of a span."""

    kind: str
    message: str
    traceback: str


@dataclass(frozen=True, kw_only=True)
class Span:
    """A bar of the timeline.

    Attributes:
        id: 16 hexadecimal digits.
        parent_id: of the span around it; None for the run itself.
        start_ns, end_ns: nanoseconds since 1970, UTC.
        failed: it did not succeed, for whatever reason.
        attributes: values that JSON holds.
    """

    id: str
    parent_id: str | None
    name: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: Mapping[str, Any] = field(default_factory=dict)
    failure: SpanFailure | None = None


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A whole run.

    Attributes:
        id: 32 hexadecimal digits.
        spans: the first one is the run itself.
        request, response: what MLflow's list of traces shows of it.
    """

    id: str
    name: str
    failed: bool
    spans: Sequence[Span]
    request: str
    response: str


def trace_id_of(run: Run, experiment_id: str) -> str:
    """32 hexadecimal digits, the same in every upload to an experiment."""
    return hexadecimal(f"{experiment_id}/{run.pipeline}/{run.id}", 32)


def trace_of(run: Run, experiment_id: str) -> Trace:
    """The trace of a run.

    Args:
        experiment_id: part of its id; MLflow refuses the id of a trace of another experiment.
    """
    trace_id = trace_id_of(run, experiment_id)
    started = [task for task in run.tasks if task.attempts]
    with_attempts = 1 + len(started) + sum(len(task.attempts) for task in started) <= MAX_SPANS
    shown = started if len(started) < MAX_SPANS else _longest(started)
    left_out = {"tasks_left_out": len(started) - len(shown)} if len(shown) < len(started) else {}
    left_out |= {} if with_attempts else {"attempts_left_out": sum(len(task.attempts) for task in started)}
    spans = [span for task in shown for span in _task_spans(run, task, trace_id, with_attempts=with_attempts)]
    done = sum(task.status.is_success for task in run.tasks)
    response = f"{run.status.value}: {done} of {len(run.tasks)} tasks succeeded"
    if left_out:
        response += f"; too many for a timeline: it has {len(shown)} tasks and no attempts"
    attributes = {
        "mlflow.spanInputs": _short(run.record.parameters),
        "mlflow.spanOutputs": response,
        "run_id": run.id,
        "status": run.status.value,
        **left_out,
    }
    ends = [span.end_ns for span in spans]
    root = Span(
        id=_span_id(trace_id, pipeline_key(run)),
        parent_id=None,
        name=run.pipeline,
        start_ns=_ns(run.start),
        end_ns=max([_ns(run.end or run.start), _ns(run.start), *ends]),
        failed=run.status is not RunStatus.SUCCEEDED,
        attributes=attributes,
    )
    return Trace(
        id=trace_id,
        name=run.pipeline,
        failed=run.status is not RunStatus.SUCCEEDED,
        spans=(root, *spans),
        request=cut(json.dumps(_short(run.record.parameters), ensure_ascii=False), _PREVIEW_CHARACTERS),
        response=response,
    )


def _longest(tasks: Sequence[TaskRun]) -> list[TaskRun]:
    """As many tasks as a trace holds, in their order: those that failed, then those that took longest."""
    ranked = sorted(tasks, key=lambda task: (task.status.is_success, -(task.duration_s or 0.0)))[: MAX_SPANS - 1]
    names = {task.name for task in ranked}
    return [task for task in tasks if task.name in names]


def _task_spans(run: Run, task: TaskRun, trace_id: str, *, with_attempts: bool) -> Iterator[Span]:
    """A task and its attempts. One of before a resume counts as well: the timeline shows all that happened."""
    attempts = [_attempt_span(run, task, one, trace_id) for one in task.attempts]
    last = task.last_attempt
    yield Span(
        id=_span_id(trace_id, task_key(run, task)),
        parent_id=_span_id(trace_id, pipeline_key(run)),
        name=task.name,
        start_ns=min(span.start_ns for span in attempts),
        end_ns=max(span.end_ns for span in attempts),
        failed=not task.status.is_success,
        attributes={
            "mlflow.spanType": "TASK",
            "mlflow.spanInputs": _short(last.parameters if last else {}),
            "status": status_word(run, task),
            "kind": task.kind,
            "source": task.source,
            "attempts": len(task.attempts),
        },
        failure=_failure(task.failure),
    )
    if with_attempts:
        yield from attempts


def _attempt_span(run: Run, task: TaskRun, attempt: AttemptRun, trace_id: str) -> Span:
    start = attempt.start or attempt.end or run.start
    end = attempt.end or (task.end if attempt is task.last_attempt else None) or run.end or start
    attributes: dict[str, Any] = {
        "status": attempt.outcome.value if attempt.outcome else RunStatus.INTERRUPTED.value,
        "queue_s": attempt.queue_s,
        "cpu_time_s": attempt.cpu_time_s,
        "peak_memory_bytes": attempt.peak_memory_bytes,
    }
    return Span(
        id=_span_id(trace_id, attempt_key(run, task, attempt)),
        parent_id=_span_id(trace_id, task_key(run, task)),
        name=f"attempt {attempt.number}",
        start_ns=_ns(start),
        end_ns=max(_ns(start), _ns(end)),
        failed=attempt.outcome is not Outcome.SUCCEEDED,
        attributes={key: value for key, value in attributes.items() if value is not None},
        failure=_failure(attempt.failure),
    )


def _failure(failure: Failure | None) -> SpanFailure | None:
    if failure is None:
        return None
    return SpanFailure(
        kind=failure.kind,
        message=cut(failure.message, _VALUE_CHARACTERS),
        traceback=(failure.traceback or "")[-_TRACEBACK_CHARACTERS:],
    )


def _short(parameters: Mapping[str, Any]) -> dict[str, str]:
    return {key: cut(value, _VALUE_CHARACTERS) for key, value in list(flattened(parameters).items())[:100]}


def _span_id(trace_id: str, key: str) -> str:
    return hexadecimal(f"{trace_id}/{key}", 16)


def hexadecimal(text: str, digits: int) -> str:
    """An id that is the same whenever it is made from the same text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:digits]


def _ns(time: datetime) -> int:
    """Exact: a float of seconds does not hold nanoseconds of today."""
    since = time - datetime.fromtimestamp(0, tz=time.tzinfo)
    return max(0, since // timedelta(microseconds=1) * 1000)
