"""Read one file of a run folder into records: each JSON file, and the lines of events and metrics.

Nothing is trusted: every error names the file, the key, what was got and what was expected.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pydantic
import pydantic_core

from pynb_dag_runner.errors import RunFolderError
from pynb_dag_runner.events import RecordedEvent
from pynb_dag_runner.model.text import cut_end, short_repr
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.event_lines import KINDS, adapter
from pynb_dag_runner.run_folder.records import SCHEMA_VERSION, Metric, Record
from pynb_dag_runner.run_folder.safe_read import MAX_VALUES, check_values, lines_inside, read_inside

_MAX_ERRORS_NAMED = 1_000
_VERSION = "schema_version"
_EVENT_NAME = re.compile(rb'\{"event":"([a-z_]+)"')
"""How our own lines begin: parsing each twice, for its name and for its content, is half of reading it."""
_RecordType = TypeVar("_RecordType", bound=Record)


def read_record(root: Path, relative: Path | str, kind: type[_RecordType]) -> _RecordType | None:
    """A record from its file; None if there is no such file.

    Raises:
        RunFolderError: it is damaged or of a newer format.
    """
    data = read_inside(root, relative)
    if data is None:
        return None
    if len(data) > MAX_VALUES:
        check_values(root / relative, data)
    try:
        record = kind.model_validate_json(data, strict=True)
    except pydantic.ValidationError as error:
        _check_version(root / relative, data)  # what a newer version changed is no damage
        raise _problem(root / relative, error) from None
    if getattr(record, _VERSION) != SCHEMA_VERSION or _VERSION not in record.model_fields_set:
        _check_version(root / relative, data)
    return record


def _check_version(path: Path, data: bytes) -> None:
    """Refuse a newer major version, whatever else is in the file."""
    try:
        content = pydantic_core.from_json(data)
    except ValueError as error:
        raise RunFolderError(path, f"it is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise RunFolderError(path, f"got {_kind(content)}, expected an object")
    version = content.get("schema_version")
    if not isinstance(version, str) or not version.split(".")[0].isdecimal():
        raise RunFolderError(path, f"got {short_repr(version)}, expected a version such as '1.0'", "schema_version")
    if int(version.split(".")[0][:9]) > int(SCHEMA_VERSION.split(".")[0]):
        raise RunFolderError(
            path,
            f"got {short_repr(version)}, expected {SCHEMA_VERSION!r} or older; update pynb-dag-runner",
            "schema_version",
        )


def read_events(folder: Path) -> Iterator[RecordedEvent]:
    """The events of a run. A last line without an end was cut off by the driver's death and is left out.

    Raises:
        RunFolderError: a line is damaged.
    """
    path = folder / paths.EVENTS
    events = (_read_event(path, where, line) for where, line in lines_inside(folder, paths.EVENTS))
    yield from (event for event in events if event is not None)


def _read_event(path: Path, where: str, line: bytes) -> RecordedEvent | None:
    """An event; None for one of a kind that a newer minor version of the format may have."""
    if (ours := _EVENT_NAME.match(line)) and (known := ours[1].decode()) in KINDS:
        try:
            return adapter(known).validate_json(line, strict=True)
        except pydantic.ValidationError:
            pass  # what is wrong with it is found out below
    try:
        content = pydantic_core.from_json(line)
    except ValueError as error:
        raise RunFolderError(path, f"it is no JSON: {error}", where) from None
    name = content.get("event") if isinstance(content, dict) else None
    if not isinstance(name, str):
        raise RunFolderError(path, f"got {short_repr(name)}, expected the name of an event", f"{where}: event")
    if name not in KINDS:
        return None
    try:
        return adapter(name).validate_json(line, strict=True)
    except pydantic.ValidationError as error:
        raise _problem(path, error, where) from None


def read_metrics(root: Path, relative: Path) -> Iterator[Metric]:
    """The metrics of an attempt. A last line without an end was cut off by the task's death and is left out.

    Raises:
        RunFolderError: a line is damaged.
    """
    for where, line in lines_inside(root, relative):
        try:
            yield Metric.model_validate_json(line, strict=True)
        except pydantic.ValidationError as error:
            raise _problem(root / relative, error, where) from None


def _problem(path: Path, error: pydantic.ValidationError, where: str = "") -> RunFolderError:
    if (count := error.error_count()) > _MAX_ERRORS_NAMED:  # naming one would make objects of all
        return RunFolderError(path, f"{count:,} of its values are missing or of the wrong type", where)
    details = error.errors(include_url=False)[0]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"]).lstrip(".")
    place = ": ".join(part for part in (where, cut_end(key, 200)) if part)
    expected = details["msg"].removeprefix("Input should be ")
    if details["type"] == "missing":
        return RunFolderError(path, "the key is missing", place)
    if details["type"] == "json_invalid":
        return RunFolderError(path, f"it is no JSON: {details['msg'].removeprefix('Invalid JSON: ')}", place)
    if details["type"] == "timezone_aware":
        expected = "a time with its time zone"
    return RunFolderError(path, f"got {short_repr(details['input'])}, expected {expected}", place)


def _kind(value: object) -> str:
    return {list: "a list", str: "a string", type(None): "null", bool: "a truth value"}.get(type(value), "a number")
