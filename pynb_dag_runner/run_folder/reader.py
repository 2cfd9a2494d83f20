"""Reading a run folder into frozen values.

A folder may come from a stranger: nothing is unpickled or executed, no link is followed, nothing outside is opened, and
every error names the file, the key, what was got and what was expected. A folder may also be of a run that is still
going on or that died: whatever is there is read.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pydantic
import pydantic_core

from pynb_dag_runner.errors import RunFolderError
from pynb_dag_runner.events import AttemptEnded, AttemptStarted, Event, Warned
from pynb_dag_runner.json_values import decode
from pynb_dag_runner.outcome import RunStatus, TaskStatus
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.event_lines import ADAPTERS
from pynb_dag_runner.run_folder.records import (
    SCHEMA_VERSION,
    AttemptRecord,
    AttemptVerdict,
    DriverRecord,
    Error,
    Metric,
    PlannedTask,
    Record,
    RunRecord,
    TaskRecord,
    TrackingRecord,
)
from pynb_dag_runner.run_folder.run import AttemptDetails, AttemptRun, Run, TaskRun

STALE_AFTER_S = 60.0
"""A driver on another host counts as dead when ``events.jsonl`` was not touched for so long (it does every 10 s)."""

MAX_FILE_BYTES = 1 << 30
"""A larger JSON file is refused rather than read into memory."""

_IS_LINK = "it is a link; a run folder holds none of its own"
_RecordType = TypeVar("_RecordType", bound=Record)


def read_run(folder: Path, now: datetime | None = None) -> Run:
    """Read a run folder.

    Args:
        folder: the run folder.
        now: the current time, with a time zone; decides whether a run of another host is still alive.

    Raises:
        RunFolderError: it is no run folder, or one of its files is damaged or of a newer format.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise RunFolderError(folder, "there is no such directory; expected a run folder")
    record = _read_record(folder, Path(paths.RUN), RunRecord)
    if record is None:
        raise RunFolderError(folder, f"it is no run folder: there is no {paths.RUN} in it")
    events = tuple(_read_events(folder))
    alive = record.status is RunStatus.RUNNING and _driver_alive(folder, record.driver, now or datetime.now(UTC))
    tasks = tuple(_read_task(folder, planned, events_of, alive) for planned, events_of in _by_task(record, events))
    return Run(
        folder=folder,
        record=record,
        status=RunStatus.INTERRUPTED if record.status is RunStatus.RUNNING and not alive else record.status,
        end=record.end if alive or record.end else max((event.time for event in events), default=record.start),
        tasks=tasks,
        warnings=tuple(event.message for event in events if isinstance(event, Warned)),
        report=_existing(folder, Path(paths.REPORT)),
        summary=_existing(folder, Path(paths.SUMMARY)),
    )


def read_attempt_details(run: Run, attempt: AttemptRun) -> AttemptDetails:
    """What a task wrote in one attempt: params, tags, metrics, names of artifacts.

    Raises:
        RunFolderError: one of the files is damaged.
    """
    tracking = _read_record(run.folder, attempt.folder / paths.TRACKING, TrackingRecord) or TrackingRecord()
    return AttemptDetails(
        params=tracking.params,
        tags=tracking.tags,
        metrics=tuple(_read_metrics(run.folder, attempt.folder / paths.METRICS)),
        artifacts=tuple(sorted(_regular_files(run.folder / attempt.folder / paths.ARTIFACTS))),
    )


def find_runs(directory: Path) -> list[Path]:
    """Run folders at, one or two levels below ``directory`` (an output directory), sorted by run id."""
    found = []
    level = [directory]
    for _ in range(3):
        found += [folder for folder in level if (folder / paths.RUN).is_file()]
        level = [
            entry
            for folder in level
            if folder not in found and folder.is_dir()
            for entry in folder.iterdir()
            if entry.is_dir() and not entry.is_symlink()
        ]
    return sorted(found, key=lambda folder: (folder.name, folder))


def _by_task(record: RunRecord, events: tuple[Event, ...]) -> Iterator[tuple[PlannedTask, list[Event]]]:
    grouped: dict[str, list[Event]] = {planned.name: [] for planned in record.tasks}
    for event in events:
        if isinstance(event, AttemptStarted | AttemptEnded) and event.task in grouped:
            grouped[event.task].append(event)
    for planned in record.tasks:
        yield planned, grouped[planned.name]


def _read_task(folder: Path, planned: PlannedTask, events: list[Event], alive: bool) -> TaskRun:
    """A task from its ``task.json``; before that is written, from the events."""
    relative = _task_folder(folder, planned.name)
    record = _read_record(folder, relative / paths.TASK, TaskRecord)
    started = {event.number: event for event in events if isinstance(event, AttemptStarted)}
    if record is None:
        verdicts = {
            event.number: AttemptVerdict(
                number=event.number,
                outcome=event.outcome,
                start=event.start,
                end=event.time,
                error=Error.of(event.failure),
            )
            for event in events
            if isinstance(event, AttemptEnded)
        }
    else:
        verdicts = {verdict.number: verdict for verdict in record.attempts}
    numbers = sorted(verdicts.keys() | started.keys())
    attempts = tuple(
        _read_attempt(folder, planned.name, number, verdicts.get(number), started.get(number)) for number in numbers
    )
    return TaskRun(
        name=planned.name,
        kind=planned.kind,
        source=planned.source,
        upstream=planned.upstream,
        options=planned.options,
        status=record.status if record else TaskStatus.RUNNING if alive and attempts else _status_from(attempts),
        blocked_by=record.blocked_by if record else None,
        start=record.start if record else next((attempt.start for attempt in attempts if attempt.start), None),
        end=record.end if record else None,
        attempts=attempts,
    )


def _task_folder(folder: Path, task: str) -> Path:
    try:
        return paths.task_folder(Path(), task)
    except ValueError as error:
        raise RunFolderError(folder / paths.RUN, str(error), "tasks") from None


def _status_from(attempts: tuple[AttemptRun, ...]) -> TaskStatus:
    """Status of a task whose driver died before it could settle it."""
    last = attempts[-1] if attempts else None
    return TaskStatus(last.outcome.value) if last and last.outcome else TaskStatus.PENDING


def _read_attempt(
    folder: Path, task: str, number: int, verdict: AttemptVerdict | None, started: AttemptStarted | None
) -> AttemptRun:
    """An attempt from its own record; what the driver says fills what a dead worker could not."""
    relative = paths.attempt_folder(Path(), task, number)
    record = _read_record(folder, relative / paths.ATTEMPT, AttemptRecord)
    error = verdict.error if verdict else record.error if record else None
    return AttemptRun(
        folder=relative,
        number=number,
        outcome=verdict.outcome if verdict else record.outcome if record else None,
        start=record.start if record else verdict.start if verdict else started.time if started else None,
        end=record.end if record and record.end else verdict.end if verdict else None,
        queue_s=record.queue_s if record else None,
        failure=error.failure() if error else None,
        host=record.host if record else started.host if started else None,
        pid=record.pid if record else started.pid if started else None,
        cpu_time_s=record.cpu_time_s if record else None,
        peak_memory_bytes=record.peak_memory_bytes if record else None,
        kernel=record.kernel if record else None,
        cells=record.cells if record else None,
        cells_executed=record.cells_executed if record else None,
        parameters=record.parameters if record else {},
        outputs=decode(record.outputs) if record else {},
        notebook=_existing(folder, relative / paths.NOTEBOOK),
        html=_existing(folder, relative / paths.NOTEBOOK_HTML),
        log=_existing(folder, relative / paths.LOG),
    )


def _driver_alive(folder: Path, driver: DriverRecord, now: datetime) -> bool:
    """Whether the process that runs the pipeline is still there.

    On this host the process table tells (a reused pid has another start time); elsewhere the age of ``events.jsonl``.
    """
    if driver.host != socket.gethostname():
        try:
            touched = (folder / paths.EVENTS).stat().st_mtime
        except OSError:
            return False
        return now.timestamp() - touched < STALE_AFTER_S
    import psutil  # only where a run claims to be running

    try:
        return bool(abs(psutil.Process(driver.pid).create_time() - driver.process_start_s) < 1.0)
    except (psutil.Error, ValueError):  # a pid below 0 is a ValueError
        return False


def _open_inside(root: Path, relative: Path) -> bytes | None:
    """Content of a regular file below ``root``; None if there is none. No link on the way is followed.

    Raises:
        RunFolderError: a link stands where a file or folder belongs, or the file can't be read.
    """
    path = root / relative
    try:
        for parent in reversed(relative.parents):
            if parent != Path() and stat.S_ISLNK(os.lstat(root / parent).st_mode):
                raise RunFolderError(root / parent, _IS_LINK)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RunFolderError(path, _IS_LINK) from None
        raise RunFolderError(path, f"it can't be read: {error.strerror}") from error
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RunFolderError(path, "it is no regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise RunFolderError(path, f"it has {status.st_size} bytes; at most {MAX_FILE_BYTES} are read")
        return file.read()


def _existing(root: Path, relative: Path) -> Path | None:
    """``relative`` if it is a regular file that is reached through no link, else None."""
    try:
        for parent in reversed(relative.parents):
            if parent != Path() and not stat.S_ISDIR(os.lstat(root / parent).st_mode):
                return None
        return relative if stat.S_ISREG(os.lstat(root / relative).st_mode) else None
    except OSError:
        return None


def _regular_files(top: Path) -> Iterator[Path]:
    """Regular files below ``top``, relative to it; links are left out and never followed."""
    if top.is_symlink():
        return
    for directory, folders, files in os.walk(top, followlinks=False):
        folders.sort()
        for name in files:
            path = Path(directory, name)
            with contextlib.suppress(FileNotFoundError):  # a task that still runs may have removed it
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path.relative_to(top)


def _read_record(root: Path, relative: Path, kind: type[_RecordType]) -> _RecordType | None:
    """A record from its file; None if there is no such file."""
    data = _open_inside(root, relative)
    if data is None:
        return None
    path = root / relative
    _check_version(path, data)
    try:
        return kind.model_validate_json(data, strict=True)
    except pydantic.ValidationError as error:
        raise _problem(path, error) from None


def _check_version(path: Path, data: bytes) -> None:
    """Refuse a newer major version before its keys are looked at."""
    try:
        content = pydantic_core.from_json(data)
    except ValueError as error:
        raise RunFolderError(path, f"it is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise RunFolderError(path, f"got {_kind(content)}, expected an object")
    version = content.get("schema_version")
    if not isinstance(version, str) or not version.split(".")[0].isdecimal():
        raise RunFolderError(path, f"got {_short(version)}, expected a version such as '1.0'", "schema_version")
    if int(version.split(".")[0][:9]) > int(SCHEMA_VERSION.split(".")[0]):
        raise RunFolderError(
            path, f"got {version!r}, expected {SCHEMA_VERSION!r} or older; update pynb-dag-runner", "schema_version"
        )


def _read_events(folder: Path) -> Iterator[Event]:
    """The events of a run. A last line without an end was cut off by the driver's death and is left out."""
    data = _open_inside(folder, Path(paths.EVENTS)) or b""
    *lines, _ = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        yield _read_event(folder / paths.EVENTS, number, line)


def _read_event(path: Path, number: int, line: bytes) -> Event:
    where = f"line {number}"
    try:
        content = pydantic_core.from_json(line)
    except ValueError as error:
        raise RunFolderError(path, f"it is no JSON: {error}", where) from None
    name = content.get("event") if isinstance(content, dict) else None
    if not isinstance(name, str) or name not in ADAPTERS:
        expected = ", ".join(ADAPTERS)
        raise RunFolderError(path, f"got {_short(name)}, expected one of {expected}", f"{where}: event")
    try:
        return ADAPTERS[name].validate_json(line, strict=True)
    except pydantic.ValidationError as error:
        raise _problem(path, error, where) from None


def _read_metrics(root: Path, relative: Path) -> Iterator[Metric]:
    """The metrics of an attempt. A last line without an end was cut off by the task's death and is left out."""
    *lines, _ = (_open_inside(root, relative) or b"").split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            yield Metric.model_validate_json(line, strict=True)
        except pydantic.ValidationError as error:
            raise _problem(root / relative, error, f"line {number}") from None


def _problem(path: Path, error: pydantic.ValidationError, where: str = "") -> RunFolderError:
    details = error.errors(include_url=False)[0]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"]).lstrip(".")
    place = ": ".join(part for part in (where, key) if part)
    expected = details["msg"].removeprefix("Input should be ")
    if details["type"] == "missing":
        return RunFolderError(path, "the key is missing", place)
    if details["type"] == "json_invalid":
        return RunFolderError(path, f"it is no JSON: {details['msg'].removeprefix('Invalid JSON: ')}", place)
    if details["type"] == "timezone_aware":
        expected = "a time with its time zone"
    return RunFolderError(path, f"got {_short(details['input'])}, expected {expected}", place)


def _kind(value: object) -> str:
    return {list: "a list", str: "a string", type(None): "null", bool: "a truth value"}.get(type(value), "a number")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
