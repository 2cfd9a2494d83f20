"""Read a run folder into frozen values.

A folder may come from a stranger: nothing is unpickled or executed, no link is followed, nothing outside is opened, and
every error names the file, the key, what was got and what was expected. A folder may also be of a run that is still
going on or that died: whatever is there is read.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pynb_dag_runner.errors import RunFolderError
from pynb_dag_runner.events import AttemptEnded, AttemptStarted, RecordedEvent, Warned
from pynb_dag_runner.model.json_values import decode
from pynb_dag_runner.model.outcomes import Failure, RunStatus, TaskStatus
from pynb_dag_runner.model.text import short_repr
from pynb_dag_runner.processes import process_table
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.record_files import read_events, read_metrics, read_record
from pynb_dag_runner.run_folder.records import (
    AttemptRecord,
    AttemptVerdict,
    DriverRecord,
    Error,
    PlannedTask,
    RunRecord,
    TaskRecord,
    TrackingRecord,
)
from pynb_dag_runner.run_folder.run import AttemptDetails, AttemptRun, Run, TaskRun
from pynb_dag_runner.run_folder.safe_read import (
    existing,
    names_inside,
    regular_files,
)

STALE_AFTER_S = 60.0
"""A driver on another host counts as dead when ``events.jsonl`` was not touched for so long (it does every 10 s)."""

MAX_TASKS = 100_000
MAX_ATTEMPTS = 200_000
MAX_RESUMES = 1_000
"""Of one run. Reading takes time for each, and drawing more: a file of 50 MB can name a million."""

_OF_ATTEMPTS = (AttemptStarted, AttemptEnded)


def read_run(folder: Path, now: datetime | None = None, known: Mapping[str, TaskRun] | None = None) -> Run:
    """Read a run folder.

    Args:
        folder: the run folder.
        now: the current time, with a time zone; decides whether a run of another host is still alive.
        known: by name, tasks as they were read from this folder; they are as they were, and are not read again.

    Raises:
        RunFolderError: it is no run folder, or one of its files is damaged or of a newer format.
    """
    folder = Path(os.path.abspath(folder))
    record = read_run_record(folder)
    events = tuple(read_events(folder))
    alive = record.status is RunStatus.RUNNING and _driver_alive(folder, record.driver, now or datetime.now(UTC))
    return Run(
        folder=folder,
        record=record,
        status=RunStatus.INTERRUPTED if record.status is RunStatus.RUNNING and not alive else record.status,
        end=record.end if alive or record.end else max((event.time for event in events), default=record.start),
        tasks=tuple(_read_tasks(folder, record, events, alive, known or {})),
        warnings=tuple(event.message for event in events if isinstance(event, Warned)),
        report=existing(folder, Path(paths.REPORT)),
        summary=existing(folder, Path(paths.SUMMARY)),
    )


def read_run_record(folder: Path) -> RunRecord:
    """What stands in ``run.json``, without a look at anything else: of 200 tasks in a sixtieth of the time.

    The status may be RUNNING though the driver is dead; :func:`read_run` finds that out.

    Raises:
        RunFolderError: it is no run folder, or the file is damaged or of a newer format.
    """
    folder = Path(os.path.abspath(folder))
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where a directory above is closed to us
        raise RunFolderError(folder, "there is no such directory; expected a run folder")
    record = read_record(folder, Path(paths.RUN), RunRecord)
    if record is None:
        raise RunFolderError(folder, f"it is no run folder: there is no {paths.RUN} in it")
    _check_tasks(folder / paths.RUN, record)
    return record


def read_attempt_details(run: Run, attempt: AttemptRun) -> AttemptDetails:
    """What a task wrote in one attempt: params, tags, metrics, names of artifacts.

    Raises:
        RunFolderError: one of the files is damaged.
    """
    tracking = read_record(run.folder, attempt.folder / paths.TRACKING, TrackingRecord) or TrackingRecord()
    return AttemptDetails(
        params=tracking.params,
        tags=tracking.tags,
        metrics=tuple(read_metrics(run.folder, attempt.folder / paths.METRICS)),
        artifacts=tuple(sorted(regular_files(run.folder, attempt.folder / paths.ARTIFACTS))),
    )


def find_runs(directory: Path, unreadable: Callable[[Path, str], None] = lambda _folder, _reason: None) -> list[Path]:
    """Run folders at, one or two levels below ``directory`` (an output directory), sorted by run id.

    Args:
        unreadable: called with each directory that can't be looked into, and the system's reason.
    """
    found = []
    level = [directory]
    for depth in range(3):
        below: list[Path] = []
        for folder in level:
            if os.path.isfile(folder / paths.RUN):  # noqa: PTH113 - as above
                found.append(folder)
            elif depth < 2:
                below += _directories(folder, unreadable)
        level = below
    return sorted(found, key=lambda folder: (folder.name, folder))


def _directories(folder: Path, unreadable: Callable[[Path, str], None]) -> list[Path]:
    """The directories in a directory, without links to some."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        unreadable(folder, str(error.strerror))
        return []


def _check_tasks(path: Path, record: RunRecord) -> None:
    if len(record.tasks) > MAX_TASKS:
        raise RunFolderError(path, f"got {len(record.tasks):,} tasks, expected at most {MAX_TASKS:,}", "tasks")
    if len(record.resumes) > MAX_RESUMES:
        raise RunFolderError(path, f"got {len(record.resumes):,}, expected at most {MAX_RESUMES:,}", "resumes")
    names: set[str] = set()
    for number, task in enumerate(record.tasks):
        if task.name in names:
            raise RunFolderError(path, f"got {short_repr(task.name)}, which another task has", f"tasks[{number}].name")
        names.add(task.name)


def _by_task(record: RunRecord, events: tuple[RecordedEvent, ...]) -> Iterator[tuple[PlannedTask, list[RecordedEvent]]]:
    grouped: dict[str, list[RecordedEvent]] = {planned.name: [] for planned in record.tasks}
    for event in events:
        if isinstance(event, _OF_ATTEMPTS) and event.task in grouped:
            grouped[event.task].append(event)
    yield from ((planned, grouped[planned.name]) for planned in record.tasks)


def _read_tasks(
    folder: Path, record: RunRecord, events: tuple[RecordedEvent, ...], alive: bool, known: Mapping[str, TaskRun]
) -> Iterator[TaskRun]:
    reused = frozenset(record.resumes[-1].reused) if record.resumes else frozenset()
    left = MAX_ATTEMPTS
    for planned, events_of in _by_task(record, events):
        task = known.get(planned.name) or _read_task(folder, planned, events_of, alive, left)
        if planned.name in reused and task.status is TaskStatus.SUCCEEDED:
            task = replace(task, status=TaskStatus.REUSED)
        yield task
        left -= len(task.attempts)


def _read_task(folder: Path, planned: PlannedTask, events: list[RecordedEvent], alive: bool, most: int) -> TaskRun:
    """A task from its ``task.json``; before that is written, from the events. It may have ``most`` attempts."""
    place = _task_place(folder, planned.name)
    record = read_record(folder, f"{place}/{paths.TASK}", TaskRecord)
    if record and record.resumed < planned.resumed:
        record = None  # it is from before the run was resumed, and the task runs again
    started = {event.number: event for event in events if isinstance(event, AttemptStarted)}
    verdicts = {verdict.number: verdict for verdict in record.attempts} if record else {}
    ended = {event.number: event for event in events if isinstance(event, AttemptEnded)}
    verdicts |= {number: _verdict(event) for number, event in ended.items() if number not in verdicts}
    numbers = sorted(verdicts.keys() | started.keys())
    if record is None and (unheard := _attempt_without_event(folder, planned, numbers)):
        numbers.append(unheard)
    if len(numbers) > most:
        raise RunFolderError(folder, f"it holds more than {MAX_ATTEMPTS:,} attempts, which is what is read at most")
    attempts = tuple(
        _read_attempt(folder, place, number, verdicts.get(number), started.get(number)) for number in numbers
    )
    counted = tuple(attempt for attempt in attempts if attempt.number > planned.attempts_before)
    return TaskRun(
        name=planned.name,
        kind=planned.kind,
        source=planned.source,
        upstream=planned.upstream,
        options=planned.options,
        attempts_before=planned.attempts_before,
        status=record.status if record else TaskStatus.RUNNING if alive and counted else _status_from(counted),
        blocked_by=record.blocked_by if record else None,
        start=record.start if record else next((attempt.start for attempt in counted if attempt.start), None),
        end=record.end if record else None,
        is_settled=record is not None,
        attempts=attempts,
    )


def _verdict(event: AttemptEnded) -> AttemptVerdict:
    error = Error.of(event.failure)
    return AttemptVerdict(number=event.number, outcome=event.outcome, start=event.start, end=event.time, error=error)


def _attempt_without_event(folder: Path, planned: PlannedTask, numbers: list[int]) -> int | None:
    """Number of an attempt whose driver died before it heard of its start; there can be one at most."""
    number = max([planned.attempts_before, *numbers]) + 1
    return number if existing(folder, paths.attempt_folder(Path(), planned.name, number) / paths.ATTEMPT) else None


def _task_place(folder: Path, task: str) -> str:
    try:
        return paths.task_place(task)
    except ValueError as error:
        raise RunFolderError(folder / paths.RUN, str(error), "tasks") from None


def _status_from(attempts: tuple[AttemptRun, ...]) -> TaskStatus:
    """Status of a task whose driver died before it could settle it."""
    last = attempts[-1] if attempts else None
    return TaskStatus(last.outcome.value) if last and last.outcome else TaskStatus.PENDING


def _read_attempt(
    folder: Path, task_place: str, number: int, verdict: AttemptVerdict | None, started: AttemptStarted | None
) -> AttemptRun:
    """An attempt from its own record; what the driver says fills what a dead worker could not."""
    place = paths.attempt_place(task_place, number)
    record = read_record(folder, f"{place}/{paths.ATTEMPT}", AttemptRecord)
    names = names_inside(folder, place)
    relative = Path(place)
    return AttemptRun(
        folder=relative,
        number=number,
        outcome=verdict.outcome if verdict else record.outcome if record else None,
        start=record.start if record else verdict.start if verdict else started.time if started else None,
        end=record.end if record and record.end else verdict.end if verdict else None,
        queue_s=record.queue_s if record else None,
        failure=_failure(verdict, record),
        host=record.host if record else started.host if started else None,
        pid=record.pid if record else started.pid if started else None,
        cpu_time_s=record.cpu_time_s if record else None,
        peak_memory_bytes=record.peak_memory_bytes if record else None,
        kernel=record.kernel if record else None,
        kernel_start=record.kernel_start if record else None,
        cells=record.cells if record else None,
        cells_executed=record.cells_executed if record else None,
        parameters=record.parameters if record else {},
        outputs={name: decode(value) for name, value in record.outputs.items()} if record else {},
        redacted_outputs=record.redacted_outputs if record else (),
        notebook=relative / paths.NOTEBOOK if paths.NOTEBOOK in names else None,
        html=relative / paths.NOTEBOOK_HTML if paths.NOTEBOOK_HTML in names else None,
        log=relative / paths.LOG if paths.LOG in names else None,
    )


def _failure(verdict: AttemptVerdict | None, record: AttemptRecord | None) -> Failure | None:
    """Why the attempt did not succeed: in the driver's words, with the traceback that its worker wrote down."""
    written = record.error if record else None
    said = verdict.error if verdict else written
    if said is None:
        return None
    # The driver calls an attempt cancelled, say, which may fail a moment later: that traceback is of another failure.
    trace = written.traceback if written and written.kind == said.kind else ""
    return Failure(kind=said.kind, message=said.message, traceback=said.traceback or trace)


def _driver_alive(folder: Path, driver: DriverRecord, now: datetime) -> bool:
    """Whether the process that runs the pipeline is still there.

    On this host the process table tells (a reused pid has another start time); elsewhere the age of ``events.jsonl``.
    """
    if driver.host != os.uname().nodename:
        try:
            touched = (folder / paths.EVENTS).stat().st_mtime
        except OSError:
            return False
        return now.timestamp() - touched < STALE_AFTER_S
    return process_table.is_running(driver.pid, driver.process_start_s)
