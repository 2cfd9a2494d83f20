"""A read run as MLflow runs: names, times, statuses, parameters, metrics, tags, files. Pure.

=====================  ==================================================================
pipeline run           parent run, named by the run id
task                   nested run, with the data of its last attempt
earlier attempt        nested run of the task's run; only where there were several attempts
=====================  ==================================================================

``docs/mlflow.md`` lists for users what is found where.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from mlflow_bridge.limits import MAX_KEY_CHARACTERS
from mlflow_bridge.mapping.fit_to_limits import fitted
from mlflow_bridge.model.captured_values import NO_NATIVE, Native
from mlflow_bridge.model.values import MappedRun, MetricPoint, MlflowStatus
from mlflow_bridge.tags import KEY, KIND, NOTE, REVISION, RUN_ID, STATUS, attempt_key, pipeline_key, task_key
from pynb_dag_runner.model.outcomes import Outcome, RunStatus, TaskStatus
from pynb_dag_runner.run_folder import AttemptDetails, AttemptRun, Run, TaskRun
from pynb_dag_runner.run_folder.paths import ARTIFACTS, LOG, NOTEBOOK, NOTEBOOK_HTML, REPORT, RUN, SUMMARY

RUN_STATUSES: Mapping[RunStatus, MlflowStatus] = {
    RunStatus.SUCCEEDED: MlflowStatus.FINISHED,
    RunStatus.FAILED: MlflowStatus.FAILED,
    RunStatus.CANCELLED: MlflowStatus.KILLED,
    RunStatus.INTERRUPTED: MlflowStatus.KILLED,
    RunStatus.RUNNING: MlflowStatus.KILLED,  # never sent: an upload refuses a run that is still running
}
TASK_STATUSES: Mapping[TaskStatus, MlflowStatus] = {
    TaskStatus.SUCCEEDED: MlflowStatus.FINISHED,
    TaskStatus.REUSED: MlflowStatus.FINISHED,
    TaskStatus.FAILED: MlflowStatus.FAILED,
    TaskStatus.TIMED_OUT: MlflowStatus.KILLED,
    TaskStatus.CRASHED: MlflowStatus.KILLED,
    TaskStatus.CANCELLED: MlflowStatus.KILLED,
    TaskStatus.SKIPPED: MlflowStatus.KILLED,
    TaskStatus.PENDING: MlflowStatus.KILLED,  # of an interrupted or cancelled run
    TaskStatus.RUNNING: MlflowStatus.KILLED,
}
_COUNTED = (
    TaskStatus.SUCCEEDED,
    TaskStatus.FAILED,
    TaskStatus.TIMED_OUT,
    TaskStatus.CRASHED,
    TaskStatus.CANCELLED,
    TaskStatus.SKIPPED,
)
_GIT_TAGS = {
    "commit": "mlflow.source.git.commit",
    "branch": "mlflow.source.git.branch",
    "remote_url": "mlflow.source.git.repoURL",
}


def status_word(run: Run, task: TaskRun) -> str:
    """The status of a task, for people; INTERRUPTED if the runner died while it ran."""
    if run.status is RunStatus.INTERRUPTED and task.attempts and not task.status.is_final:
        return RunStatus.INTERRUPTED.value
    return task.status.value


def promoted_keys(run: Run) -> list[str]:
    """The keys of promoted metrics on the parent run: MLflow draws those with the same first part in one section."""
    return [f"{metric}/{task.name}" for task in run.tasks for metric in task.options.promoted_metrics]


def promoted_values(task: TaskRun, details: AttemptDetails, native: Native = NO_NATIVE) -> dict[str, float]:
    """Last values of the metrics that a task promotes, by :func:`promoted_keys`; without those that it did not log."""
    points = _task_metrics(task.last_attempt, details, native, (), 0)
    # The order by which MLflow, too, tells a metric's last value.
    last = {point.key: point.value for point in sorted(points, key=lambda point: (point.step, point.timestamp_ms))}
    return {f"{name}/{task.name}": last[name] for name in task.options.promoted_metrics if name in last}


def map_pipeline(run: Run, since: int | None = None, promoted: Mapping[str, float] = MappingProxyType({})) -> MappedRun:
    """The parent run, without the note and the index: they need the ids of the nested runs.

    Args:
        since: the revision that MLflow has of it. MLflow takes no other value for a parameter that is there: those that
            a later resume changed are named after that resume.
        promoted: values by :func:`promoted_keys`; of metrics that no task logged there are none.
    """
    end_ms = milliseconds(run.end or run.start)
    metrics: list[tuple[str, float | None]] = [
        ("duration_s", run.duration_s),
        ("attempts", float(sum(len(task.attempts) for task in run.tasks))),
        ("tasks/total", float(len(run.tasks))),
    ]
    counts = Counter(TaskStatus.SUCCEEDED if task.status.is_success else task.status for task in run.tasks)
    metrics += [(f"tasks/{status.value.lower()}", float(counts[status])) for status in _COUNTED]
    metrics += [(f"task_duration_s/{task.name}", task.duration_s) for task in run.tasks]
    taken = {key for key, _ in metrics}
    metrics += [(key, value) for key, value in promoted.items() if key not in taken]
    tags = {
        KIND: "pipeline",
        STATUS: run.status.value,
        REVISION: str(len(run.record.resumes)),
        KEY: pipeline_key(run),
        **shared_tags(run),
        "mlflow.source.name": run.pipeline,
        "mlflow.source.type": "LOCAL",
    }
    names = [(name, path) for name, path in ((REPORT, run.report), (SUMMARY, run.summary)) if path]
    return fitted(
        key=tags[KEY],
        revision=len(run.record.resumes),
        name=run.id,
        start_ms=milliseconds(run.start),
        end_ms=end_ms,
        status=RUN_STATUSES[run.status],
        params=flattened(_named_after_resumes(run, since)),
        metrics=[MetricPoint(key=key, value=value, timestamp_ms=end_ms) for key, value in metrics if value is not None],
        tags=tags,
        files=[(path, PurePosixPath(name)) for name, path in [*names, (RUN, Path(RUN))]],
    )


def _named_after_resumes(run: Run, since: int | None) -> dict[str, Any]:
    resumes = () if since is None else run.record.resumes[since:]
    changed = {
        name: number for number, resume in enumerate(resumes, start=(since or 0) + 1) for name in resume.parameters
    }
    return {
        f"resume-{changed[name]}.{name}" if name in changed else name: value
        for name, value in run.record.parameters.items()
    }


def map_task(run: Run, task: TaskRun, details: AttemptDetails, native: Native = NO_NATIVE) -> MappedRun:
    """A task's run.

    Args:
        details: of its last attempt; empty if it has none.
        native: what that attempt logged with MLflow's own calls.
    """
    last = task.last_attempt
    start, end = _task_times(run, task)
    tags = {
        KIND: "task",
        "pynb_dag_runner.task": task.name,
        STATUS: status_word(run, task),
    }
    if last and last.outcome:
        tags["pynb_dag_runner.outcome"] = last.outcome.value
    if task.blocked_by:
        tags["pynb_dag_runner.blocked_by"] = task.blocked_by
    tags |= {REVISION: str(len(task.attempts)), KEY: task_key(run, task), **shared_tags(run), **source_tags(task)}
    own: list[tuple[str, float | None]] = [("duration_s", task.duration_s), ("attempts", float(len(task.attempts)))]
    if len(task.attempts) > 1 and last:
        own.append(("last_attempt_duration_s", last.duration_s))
    return fitted(
        key=tags[KEY],
        revision=len(task.attempts),
        name=task.name,
        start_ms=milliseconds(start),
        end_ms=milliseconds(end),
        status=TASK_STATUSES[task.status],
        params=_task_params(last, details),
        metrics=_task_metrics(last, details, native, own, milliseconds(end)),
        tags={**user_tags(details.tags), **native.tags, **tags},
        files=[*_attempt_files(last, details), *native.files],
    )


def map_attempt(
    run: Run, task: TaskRun, attempt: AttemptRun, details: AttemptDetails, native: Native = NO_NATIVE
) -> MappedRun:
    """The run of an attempt that was not the task's last one."""
    start = attempt.start or attempt.end or run.start
    end = attempt.end or start
    outcome = attempt.outcome.value if attempt.outcome else RunStatus.INTERRUPTED.value
    tags = {
        KIND: "attempt",
        "pynb_dag_runner.task": task.name,
        "pynb_dag_runner.attempt": str(attempt.number),
        STATUS: outcome,
        "pynb_dag_runner.outcome": outcome,
        REVISION: str(attempt.number),
        KEY: attempt_key(run, task, attempt),
        **shared_tags(run),
        **source_tags(task),
    }
    return fitted(
        key=tags[KEY],
        revision=attempt.number,
        name=f"{task.name} (attempt {attempt.number})",
        start_ms=milliseconds(start),
        end_ms=milliseconds(end),
        status=attempt_status(attempt.outcome),
        params=_task_params(attempt, details),
        metrics=_task_metrics(attempt, details, native, [("duration_s", attempt.duration_s)], milliseconds(end)),
        tags={**user_tags(details.tags), **native.tags, **tags},
        files=[*_attempt_files(attempt, details), *native.files],
    )


def attempt_status(outcome: Outcome | None) -> MlflowStatus:
    """How the MLflow run of an attempt ends; None: its driver died before it could say."""
    return TASK_STATUSES[TaskStatus(outcome.value)] if outcome else MlflowStatus.KILLED


def _task_times(run: Run, task: TaskRun) -> tuple[datetime, datetime]:
    """Start and end of a task's run; a task that never started has no length, at the time when that was settled."""
    end = task.end or next((attempt.end for attempt in reversed(task.attempts) if attempt.end), None)
    end = end or run.end or task.start or run.start
    return task.start or end, end


def shared_tags(run: Run) -> dict[str, str]:
    """Tags of the parent that its nested runs carry too, so that each can be searched by them."""
    record = run.record
    tags = {RUN_ID: run.id, "pynb_dag_runner.pipeline": run.pipeline}
    if record.driver.user:
        tags["mlflow.user"] = record.driver.user
    if record.git:
        git = record.git.model_dump()
        tags |= {tag: str(git[key]) for key, tag in _GIT_TAGS.items() if git[key]}
        if record.git.dirty:
            tags["pynb_dag_runner.git_dirty"] = "true"
    return tags | {f"ci.{name}": value for name, value in record.ci.items()}


def source_tags(task: TaskRun) -> dict[str, str]:
    """What MLflow shows as a run's source."""
    return {
        "mlflow.source.name": task.source,
        "mlflow.source.type": "NOTEBOOK" if task.kind == "notebook" else "LOCAL",
    }


def user_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that a task set; those that MLflow or the bridge give a meaning are kept under another name."""
    return {
        key if key == NOTE or not key.startswith(("mlflow.", "pynb_dag_runner.")) else f"user.{key}": value
        for key, value in tags.items()
    }


def _task_params(attempt: AttemptRun | None, details: AttemptDetails) -> dict[str, str]:
    """Parameters as received and as logged; what the task logged goes first where both have a key."""
    received = flattened(attempt.parameters) if attempt else {}
    logged = dict(details.params)
    clashing = {key for key, value in received.items() if logged.get(key, value) != value}
    return {
        **{f"parameter.{key}" if key in clashing else key: value for key, value in received.items()},
        **logged,
    }


def _task_metrics(
    attempt: AttemptRun | None,
    details: AttemptDetails,
    native: Native,
    own: Iterable[tuple[str, float | None]],
    end_ms: int,
) -> list[MetricPoint]:
    """Metrics as logged, and ours; of a name that the task itself used, only the task's points."""
    logged = [
        MetricPoint(key=point.key, value=point.value, step=point.step, timestamp_ms=milliseconds(point.timestamp))
        for point in details.metrics
    ]
    logged += native.metrics
    ours = list(own)
    if attempt:
        peak = attempt.peak_memory_bytes
        ours += [
            ("queue_s", attempt.queue_s),
            ("system/cpu_time_s", attempt.cpu_time_s),
            # MLflow's own system metrics count megabytes as 1e6 bytes.
            ("system/peak_memory_megabytes", None if peak is None else peak / 1e6),
        ]
    taken = {point.key for point in logged}
    return logged + [
        MetricPoint(key=key, value=value, timestamp_ms=end_ms)
        for key, value in ours
        if value is not None and key not in taken
    ]


def _attempt_files(attempt: AttemptRun | None, details: AttemptDetails) -> list[tuple[Path, PurePosixPath]]:
    """Files of an attempt: where in the run folder, and their names among the artifacts."""
    if attempt is None:
        return []
    own = ((NOTEBOOK_HTML, attempt.html), (NOTEBOOK, attempt.notebook), (LOG, attempt.log))
    return [(path, PurePosixPath(name)) for name, path in own if path] + [
        (attempt.folder / ARTIFACTS / artifact, PurePosixPath(ARTIFACTS, artifact)) for artifact in details.artifacts
    ]


def flattened(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as texts, nested mappings with dots between their keys; what is no text becomes JSON.

    A mapping whose dotted keys are taken (``{"a.b": 1, "a": {"b": 2}}``), or below a key that is too long for MLflow
    already, stays one JSON value.
    """
    texts: dict[str, str] = {}
    for name, value in parameters.items():
        pairs = list(_leaves(name, value))
        keys = {key for key, _ in pairs}
        if len(keys) < len(pairs) or any(key in texts or key in parameters for key in keys - {name}):
            pairs = [(name, _text(value))]
        texts.update(pairs)
    return texts


def _leaves(key: str, value: Any) -> Iterator[tuple[str, str]]:
    # Under a longer key a small file could make gigabytes of keys.
    if isinstance(value, Mapping) and value and len(key) <= MAX_KEY_CHARACTERS:
        for name, item in value.items():
            yield from _leaves(f"{key}.{name}", item)
    else:
        yield key, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def milliseconds(time: datetime) -> int:
    """Milliseconds since 1970, at least 1: MLflow takes 0 for "now" and refuses less."""
    return max(1, round(time.timestamp() * 1000))
