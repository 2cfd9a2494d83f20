"""Write a run folder: each JSON file whole or not at all, events appended line by line.

One writer per file: the driver owns ``run.json``, ``events.jsonl`` and ``task.json`` (:class:`RunWriter`), the worker
owns its attempt folder (:class:`AttemptWriter`).
"""

import contextlib
import errno
import io
import os
import secrets
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from pathlib import Path, PurePosixPath

import pydantic_core

from pynb_dag_runner.errors import OutputDirectoryError, RecordingError
from pynb_dag_runner.events import RecordedEvent
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.event_lines import EVENT_NAMES
from pynb_dag_runner.run_folder.file_parts import Arrivals
from pynb_dag_runner.run_folder.records import AttemptRecord, RunRecord, TaskRecord

_ID_TRIES = 100
"""A run id has 65,536 endings per second; that many collisions in a row mean something else is wrong."""

_BLOCK_BYTES = 65536

_TRACEBACK_OF_EVENT = {"failure": {"traceback"}}
_TRACEBACKS_OF_TASK = {"attempts": {"__all__": {"error": {"traceback"}}}}
"""A traceback stands in ``attempt.json`` alone: it can have 100,000 characters, and the worker has written it there."""


def write_atomically(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Replace ``path`` by a file with ``data``: a reader sees the old content or the new, never a part.

    Args:
        durable: also survive a power cut; costs an fsync of the file and of its directory.

    Raises:
        OSError: as the system says; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    # Exclusive, and never through a link: the folder may be a stranger's, who planted one.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    if durable:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def make_run_folder(output_dir: Path, pipeline: str, now: datetime) -> tuple[Path, str]:
    """Make a new, empty run folder.

    Creating the directory is also the lock for the run id: two runs can't get the same one.

    Returns:
        The folder and the run id.

    Raises:
        OutputDirectoryError: it can't be made or written, with the system's reason.
    """
    try:
        paths.run_folder(output_dir, pipeline, "").mkdir(parents=True, exist_ok=True)
        for _ in range(_ID_TRIES):
            run_id = paths.new_run_id(now)
            folder = paths.run_folder(output_dir, pipeline, run_id)
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            (folder / paths.TASKS).mkdir()
            return folder, run_id
        raise OSError(errno.EEXIST, "no free run id", str(output_dir))
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise OutputDirectoryError(f"can't make a run folder in {output_dir}: {reason}") from error


class RunWriter:
    """Writes the driver's files of one run. Close it when the run has ended.

    Args:
        folder: an empty run folder from :func:`make_run_folder`, or that of a run that is resumed.
        record: first content of ``run.json``. From then on the folder is that of the resumed run.
    """

    def __init__(self, folder: Path, record: RunRecord) -> None:
        self.folder = folder
        self._record = record
        self._arrivals = Arrivals()
        self._events = _open_events(folder / paths.EVENTS)
        try:
            write_atomically(folder / paths.RUN, record.to_json(), durable=True)
        except BaseException:
            self._events.close()
            raise

    def event(self, event: RecordedEvent) -> None:
        """Append one event; the line is with the operating system when this returns."""
        values = {field.name: getattr(event, field.name) for field in fields(event)}
        named = {"event": EVENT_NAMES[type(event)], **values}
        line = pydantic_core.to_json(named, exclude=_TRACEBACK_OF_EVENT, inf_nan_mode="strings") + b"\n"
        with self._recording():
            if self._events.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # what a disk that is getting full does first

    def task(self, record: TaskRecord) -> None:
        """Write ``task.json`` of a task that has its final status."""
        folder = paths.task_folder(self.folder, record.name)
        data = record.to_json(exclude=_TRACEBACKS_OF_TASK)
        with self._recording():
            try:
                write_atomically(folder / paths.TASK, data)
            except FileNotFoundError:  # no attempt of it ever began
                folder.mkdir(exist_ok=True)
                write_atomically(folder / paths.TASK, data)

    def end(self, record: RunRecord) -> None:
        """Write the last ``run.json``."""
        self._record = record
        with self._recording():
            write_atomically(self.folder / paths.RUN, record.to_json(), durable=True)

    def touch(self) -> None:
        """Show readers on other hosts that the driver is alive: set the time of ``events.jsonl``."""
        with self._recording():
            os.utime(self.folder / paths.EVENTS)

    def part(self, attempt_folder: Path, path: PurePosixPath, data: bytes, *, last: bool) -> None:
        """A part of a file of an attempt; see :class:`~pynb_dag_runner.run_folder.file_parts.Arrivals`."""
        with self._recording():
            self._arrivals.take(attempt_folder, path, data, last=last)

    def drop_parts(self, attempt_folder: Path) -> None:
        """The attempt ended: of a file that is not whole yet, nothing more will come."""
        self._arrivals.drop(attempt_folder)

    @contextlib.contextmanager
    def _recording(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RecordingError(self.folder, error.strerror or str(error)) from error

    def close(self) -> None:
        """Release the files."""
        self._arrivals.close()
        self._events.close()


def _open_events(path: Path) -> io.FileIO:
    """``events.jsonl`` to append to. A last line without its end, cut off by a driver's death, is removed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    events = open(descriptor, "ab", buffering=0)  # noqa: SIM115 - closed by the writer
    whole = size = os.fstat(descriptor).st_size
    while whole > 0:
        start = max(0, whole - _BLOCK_BYTES)
        newline = os.pread(descriptor, whole - start, start).rfind(b"\n")
        if newline >= 0:
            whole = start + newline + 1
            break
        whole = start
    if whole < size:
        os.ftruncate(descriptor, whole)
    return events


class AttemptWriter:
    """Writes one attempt's folder; lives in the worker.

    Args:
        folder: the attempt's folder; made here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def record(self, record: AttemptRecord) -> None:
        """Write ``attempt.json``, at the start and again at the end."""
        self._write(paths.ATTEMPT, record.to_json())

    def notebook(self, content: bytes) -> None:
        """Write ``notebook.ipynb`` as evaluated so far."""
        self._write(paths.NOTEBOOK, content)

    def return_value(self, pickled: bytes) -> None:
        """Keep a return value that JSON can't hold."""
        self._write(paths.RETURN_PICKLE, pickled)

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        try:
            write_atomically(path, content)
        except (FileNotFoundError, NotADirectoryError):
            # Whatever the task removed, even its own folder: what became of it is still told. The one above stays gone.
            for directory in (self.folder, path.parent):
                directory.mkdir(exist_ok=True)
            write_atomically(path, content)
