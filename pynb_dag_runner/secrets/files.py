"""Mask secrets in the files that a task left in its attempt's folder."""

import contextlib
import errno
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pynb_dag_runner.processes.locks import lock
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.safe_read import existing
from pynb_dag_runner.secrets import own_names
from pynb_dag_runner.secrets.databases import sweep_database
from pynb_dag_runner.secrets.masking import Redactor

_PIECE_BYTES = 1 << 20
_LOG_BOUND_S = 10.0
"""What the process that writes a dead attempt's log gets to finish it; it may have begun only just now."""
_POLL_S = 0.02
_WRITTEN_BY_US = (paths.ATTEMPT, paths.NOTEBOOK)
"""Written without secrets in the first place; and stars in the place of a number would make them unreadable."""


def sweep(folder: Path, redactor: Redactor) -> None:
    """Put stars in the place of secrets in all regular files below ``folder``, and in their names.

    A file that holds none is not touched; one that does is replaced whole. Memory does not grow with a file's size. A
    binary file in which a secret was found can most often not be read any more; MLflow's database can.

    Raises:
        OSError: a file can't be read or replaced.
    """
    if not redactor or not folder.is_dir():
        return
    # Its own words, such as the names of tables, may be a secret's: it is not searched again as a file.
    database = folder / paths.MLFLOW_DATABASE
    swept = (
        {database} if existing(folder, Path(paths.MLFLOW_DATABASE)) and sweep_database(database, redactor) else set()
    )
    for directory, directories, names in os.walk(folder, topdown=False):
        for name in names:
            if Path(directory, name) in swept:
                continue
            with contextlib.suppress(FileNotFoundError):  # something that the task left running removed it
                _sweep_one(Path(directory, name), folder, redactor)
        for name in [*names, *directories]:
            with contextlib.suppress(FileNotFoundError):
                _rename(Path(directory, name), folder, redactor)


def _sweep_one(path: Path, folder: Path, redactor: Redactor) -> None:
    own = path.name if path.parent == folder else None
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode) or own in _WRITTEN_BY_US:
        return  # a link's target is no part of the folder
    if not mode & stat.S_IRUSR:
        path.chmod(mode | stat.S_IRUSR)
    rewritten = _document if own == paths.TRACKING else _metrics if own == paths.METRICS else _any
    _sweep_file(path, redactor, rewritten)


def sweep_after_death(folder: Path, redactor: Redactor) -> None:
    """The same for an attempt whose process died, once its log is whole."""
    if not redactor or not folder.is_dir():
        return
    _wait_for_log(folder / paths.LOG)
    sweep(folder, redactor)


def _wait_for_log(path: Path) -> None:
    end = time.monotonic() + _LOG_BOUND_S
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        while time.monotonic() < end:
            with contextlib.suppress(BlockingIOError):
                lock(descriptor, shared=True, wait=False)
                return
            time.sleep(_POLL_S)
    finally:
        os.close(descriptor)


def _rename(path: Path, folder: Path, redactor: Redactor) -> None:
    relative = path.relative_to(folder).as_posix()
    if relative in own_names.FILES:
        return
    if relative.startswith(f"{paths.MLFLOW_ARTIFACTS}/") and path.name in own_names.MLFLOW_FILES:
        return
    name = redactor.text(path.name)
    if name == path.name:
        return
    target = path.with_name(name)
    while os.path.lexists(target):
        target = path.with_name(f"{name}-{secrets.token_hex(4)}")
    path.rename(target)


def _sweep_file(path: Path, redactor: Redactor, rewritten: Callable[[BinaryIO, Redactor], Iterator[bytes]]) -> None:
    with open(path, "rb") as file:
        if not _holds_secret(file, redactor):
            return
        file.seek(0)
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with open(temporary, "xb") as clean:
                for part in rewritten(file, redactor):
                    clean.write(part)
            temporary.chmod(mode)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            path.unlink()  # rather no file than one with a secret


def _holds_secret(file: BinaryIO, redactor: Redactor) -> bool:
    stream = redactor.stream()
    for data in _data_without_holes(file):
        stream.feed(data)
        if stream.found:
            return True
    stream.end()
    return stream.found


def _data_without_holes(file: BinaryIO) -> Iterator[bytes]:
    """A file of zeros that were never written, such as ``truncate`` makes, would take minutes to read."""
    place = 0
    while True:
        try:
            place = os.lseek(file.fileno(), place, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no more data
                return
            os.lseek(file.fileno(), place, os.SEEK_SET)  # a disk that knows nothing of holes
        data = os.read(file.fileno(), _PIECE_BYTES)
        if not data:
            return
        place += len(data)
        yield data


def _any(file: BinaryIO, redactor: Redactor) -> Iterator[bytes]:
    stream = redactor.stream()
    while data := file.read(_PIECE_BYTES):
        yield stream.feed(data)
    yield stream.end()


def _document(file: BinaryIO, redactor: Redactor) -> Iterator[bytes]:
    try:
        content = json.load(file)
    except ValueError:
        file.seek(0)
        yield from _any(file, redactor)
        return
    yield json.dumps(redactor.value(content), ensure_ascii=False, indent=1).encode("utf-8", "replace") + b"\n"


def _metrics(file: BinaryIO, redactor: Redactor) -> Iterator[bytes]:
    for line in file:
        try:
            metric = json.loads(line)
        except ValueError:
            stream = redactor.stream()
            yield stream.feed(line) + stream.end()
            continue
        yield json.dumps(_metric(metric, redactor), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _metric(metric: Any, redactor: Redactor) -> Any:
    """A line of the file that can still be read: its number is none, its time stays."""
    if not isinstance(metric, dict):
        return redactor.value(metric)
    clean = redactor.value(metric)
    numbers = {
        name: substitute
        for name, substitute in (("value", "NaN"), ("step", 0))
        if name in metric and clean.get(name) != metric[name]
    }
    return {**clean, **numbers, **({"timestamp": metric["timestamp"]} if "timestamp" in metric else {})}
