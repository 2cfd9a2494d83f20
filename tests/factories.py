"""Records, run folders and small real runs with defaults; a test names what matters to it and nothing else."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pynb_dag_runner import Pipeline, RunResult
from pynb_dag_runner.events import AttemptEnded, AttemptStarted, RecordedEvent, RunStarted
from pynb_dag_runner.execute.provenance import driver_record
from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.records import (
    AttemptRecord,
    AttemptVerdict,
    DriverRecord,
    PlannedTask,
    RunRecord,
    TaskRecord,
)
from pynb_dag_runner.run_folder.writer import AttemptWriter, RunWriter

START = datetime(2026, 11, 23, 5, 47, 12, tzinfo=UTC)
RUN_ID = "20261123T054712Z-9f3c"


def after(seconds: float) -> datetime:
    """A moment of the sample run."""
    return START + timedelta(seconds=seconds)


def make_driver(**changes: Any) -> DriverRecord:
    """A driver on a host that is not this one."""
    values: dict[str, Any] = {"host": "elsewhere", "pid": 17, "process_start_s": 1.0}
    return DriverRecord(**values | changes)


def this_driver() -> DriverRecord:
    """This very process, which is alive."""
    return driver_record("inline")


def make_planned(name: str = "train", **changes: Any) -> PlannedTask:
    """A function task."""
    values: dict[str, Any] = {"name": name, "kind": "function", "source": f"pipeline.{name}"}
    return PlannedTask(**values | changes)


def make_run_record(*tasks: PlannedTask, **changes: Any) -> RunRecord:
    """A run that succeeded in a minute; one task unless others are given."""
    values: dict[str, Any] = {
        "run_id": RUN_ID,
        "pipeline": "digits",
        "status": RunStatus.SUCCEEDED,
        "start": START,
        "end": after(60),
        "tasks": tasks or (make_planned(),),
        "driver": make_driver(),
    }
    return RunRecord(**values | changes)


def make_verdict(**changes: Any) -> AttemptVerdict:
    """A first attempt that succeeded, from second 1 to 11 of the run."""
    values: dict[str, Any] = {"number": 1, "outcome": Outcome.SUCCEEDED, "start": after(1), "end": after(11)}
    return AttemptVerdict(**values | changes)


def make_task_record(name: str = "train", **changes: Any) -> TaskRecord:
    """A task that succeeded in its first attempt."""
    values: dict[str, Any] = {
        "name": name,
        "kind": "function",
        "source": f"pipeline.{name}",
        "status": TaskStatus.SUCCEEDED,
        "outcome": Outcome.SUCCEEDED,
        "start": after(1),
        "end": after(11),
        "attempts": (make_verdict(),),
    }
    return TaskRecord(**values | changes)


def make_attempt_record(task: str = "train", **changes: Any) -> AttemptRecord:
    """A first attempt that succeeded, from second 1 to 11 of the run."""
    values: dict[str, Any] = {
        "task": task,
        "number": 1,
        "outcome": Outcome.SUCCEEDED,
        "queued": after(0.5),
        "start": after(1),
        "end": after(11),
        "queue_s": 0.5,
        "host": "elsewhere",
        "pid": 18,
    }
    return AttemptRecord(**values | changes)


def attempt_started(task: str = "train", number: int = 1, at: float = 1) -> AttemptStarted:
    """An attempt began, ``at`` seconds into the run."""
    return AttemptStarted(time=after(at), task=task, number=number, host="elsewhere", pid=18)


def attempt_ended(
    outcome: Outcome = Outcome.SUCCEEDED,
    *,
    task: str = "train",
    number: int = 1,
    at: float = 11,
    failure: Failure | None = None,
    retry_at: datetime | None = None,
) -> AttemptEnded:
    """An attempt that began at second 1 ended, ``at`` seconds into the run."""
    return AttemptEnded(
        time=after(at), task=task, number=number, outcome=outcome, start=after(1), failure=failure, retry_at=retry_at
    )


def write_run(
    output_dir: Path,
    record: RunRecord | None = None,
    *,
    events: Iterable[RecordedEvent] = (),
    tasks: Sequence[TaskRecord] = (),
    attempts: Iterable[AttemptRecord] = (),
) -> Path:
    """Write a run folder with exactly these files in it, and the event that the run started.

    What ``attempts`` do not say of their errors is what ``tasks`` say of them.
    """
    record = record or make_run_record()
    folder = paths.run_folder(output_dir, record.pipeline, record.run_id)
    (folder / paths.TASKS).mkdir(parents=True)
    writer = RunWriter(folder, record)
    names = tuple(task.name for task in record.tasks)
    writer.event(RunStarted(time=record.start, pipeline=record.pipeline, run_id=record.run_id, tasks=names))
    for event in events:
        writer.event(event)
    for task in tasks:
        writer.task(task)
    writer.close()
    errors = {(task.name, verdict.number): verdict.error for task in tasks for verdict in task.attempts}
    for attempt in attempts:
        whole = attempt.model_copy(update={"error": attempt.error or errors.get((attempt.task, attempt.number))})
        AttemptWriter(paths.attempt_folder(folder, attempt.task, attempt.number)).record(whole)
    return folder


def write_whole_run(output_dir: Path) -> Path:
    """Write the folder of a run of one task, ``train``, with one attempt, all of which succeeded."""
    events = (attempt_started(), attempt_ended())
    return write_run(output_dir, events=events, tasks=[make_task_record()], attempts=[make_attempt_record()])


def edit_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file; ``...`` removes one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def run_functions(output_dir: Path, *functions: Callable[[], Any], **options: Any) -> RunResult:
    """Really run functions as tasks that do not need each other, in this process.

    Args:
        options: of every task, such as ``retries``.
    """
    pipeline = Pipeline("functions", base_dir=output_dir)
    for function in functions:
        pipeline.function(function, **options)
    return pipeline.run(executor="inline", progress=False, output_dir=output_dir)
