"""Make a run's private directory: everything temporary lies below it, and no other user can enter it or exchange it.

Other users can't reach what is in there, and they can't put something else in its place, either: a directory above that
would let them is not used. Processes of one user that meet there over a socket still ask the system who the other is.

The owner holds a lock for as long as it lives. What it leaves behind when everything that cleans up is killed with it,
the next run of the same user on the same machine ends and removes.
"""

import contextlib
import grp
import json
import os
import pwd
import shutil
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from pynb_dag_runner.errors import UsageError
from pynb_dag_runner.processes import marks
from pynb_dag_runner.processes.environment import set_variables
from pynb_dag_runner.processes.locks import lock
from pynb_dag_runner.processes.process_table import end_marked

SCRATCH_VARIABLE = "PYNB_DAG_RUNNER_SCRATCH"
"""Environment variable of a run's processes: its private directory, by a path that is short enough for sockets."""

MARK_VARIABLE = "PYNB_DAG_RUNNER_ENGINE"
"""Environment variable that marks all that an executor starts: the run's number.

See :mod:`~pynb_dag_runner.processes.marks`. Inherited whatever a process does with sessions; where it was cleared, the
number itself is left.
"""

PREFIX = "pdr-"
_OWNER = "owner"
"""The file that is locked. Whoever has the lock and finds nothing written there is a moment too early."""
_LONGEST_BYTES = 39
"""A socket's path has at most 107 bytes, of which Ray's names take up to 68."""
_REMOVALS, _REMOVAL_PAUSE_S = 5, 0.1
_MORE_PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - who may write there is looked at


class PrivateDirectory:
    """Made in the user's ``TMPDIR``. Close it: then it is removed, with everything below.

    While it is there, this process and those that it starts have variables in their environment that name it.

    Attributes:
        place: where it is.
        path: where it is, too, in few bytes and as long as this process lives.
        number: of the run, which an executor gives to all that it starts.

    Raises:
        UsageError: there is no place for it.
    """

    def __init__(self) -> None:
        _remove_abandoned()
        self.place = self.path = _made()
        self.number = marks.new_run()
        self._descriptors = [_locked(self.place, self.number)]
        if len(os.fsencode(self.place)) > _LONGEST_BYTES:
            self._descriptors.append(os.open(self.place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            self.path = Path(f"/proc/{os.getpid()}/fd/{self._descriptors[-1]}")
        self._before = set_variables({SCRATCH_VARIABLE: str(self.path), **_instead_of_home(self.path)})

    def close(self) -> None:
        """Remove it."""
        set_variables(self._before)
        _remove(self.place)
        while self._descriptors:
            os.close(self._descriptors.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end of a Unix socket runs as this one's user, root for root too.

    The directory is private already; this holds should somebody have opened it.
    """
    credentials = struct.Struct("3i")
    _, user, _ = credentials.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return bool(user == os.geteuid())


def _made() -> Path:
    refusals = []
    for parent in _places():
        if (problem := problem_above(parent)) is None:
            try:
                made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            except OSError as error:
                problem = f"{parent}: {error.strerror}"
            else:
                status = made.stat()
                if status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077:
                    return made
                made.rmdir()  # a disk that knows no owners
                problem = f"{parent}: what is made there belongs to everybody"
        refusals.append(problem)
    raise UsageError(f"there is no directory for temporary files; TMPDIR can name one ({'; '.join(refusals)})")


def _places() -> Iterator[Path]:
    """Where the directory may be made, the user's wish first, each without links."""
    with contextlib.suppress(FileNotFoundError):  # none can be written to
        yield Path(tempfile.gettempdir()).resolve()
    for place in (os.environ.get("XDG_RUNTIME_DIR", ""), *_MORE_PLACES):
        if os.path.isabs(place) and os.path.isdir(place):  # noqa: PTH112, PTH117 - "" is no path
            yield Path(place).resolve()


def problem_above(place: Path) -> str | None:
    """Why others could rename what this user makes in ``place``; None: they could not."""
    try:
        for directory in (place, *place.parents):
            status = directory.stat()
            if not _is_trusted(status.st_uid):
                return f"{directory} belongs to user {status.st_uid}"
            by_group = status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid)
            if (by_group or status.st_mode & stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
                return f"others can rename what is in {directory}: it is not sticky"
    except OSError as error:
        return f"{place}: {error.strerror}"
    return None


def _is_trusted(user: int) -> bool:
    """Root may do everything anyway. In a user namespace without all users, those outside appear as one: root's."""
    if user in (0, os.geteuid()):
        return True
    overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
    mapped = [[int(part) for part in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return user == overflow and not any(first <= user < first + count for first, _, count in mapped)


def _is_own_group(group: int) -> bool:
    """Whether nobody but this user is in the group, as where each user has one of the same name."""
    try:
        found, user = grp.getgrgid(group), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return found.gr_name == user.pw_name and group == user.pw_gid and set(found.gr_mem) <= {user.pw_name}


def _locked(place: Path, number: int) -> int:
    """File descriptor with the owner's lock. Where a disk has no locks, nobody but the owner removes the directory."""
    descriptor = os.open(place / _OWNER, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):
        lock(descriptor)
        os.write(descriptor, json.dumps({"host": os.uname().nodename, "pid": os.getpid(), "number": number}).encode())
    return descriptor


def _remove_abandoned() -> None:
    """End and remove what runs of this user left here whose owner is dead."""
    for place in {*_places()}:
        if problem_above(place) is not None:
            continue
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # somebody else's
                        _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(directory: Path) -> None:
    if directory.lstat().st_uid != os.geteuid():
        return
    descriptor = os.open(directory / _OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not lock(descriptor, wait=False):  # raises where the owner lives
            return
        owner = json.loads(os.pread(descriptor, 1000, 0))
        if owner["host"] == os.uname().nodename:
            end_marked(f"{MARK_VARIABLE}={owner['number']}")
            _remove(directory)
    finally:
        os.close(descriptor)


def _remove(directory: Path) -> None:
    """What was killed a moment ago may still have made a file."""
    for _ in range(_REMOVALS):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(_REMOVAL_PAUSE_S)


def _instead_of_home(directory: Path) -> Mapping[str, str]:
    """Variables for where there is no home directory, or none to write to.

    Without a home Jupyter and IPython fail; without one to write to each kernel leaves a temporary directory behind.
    """
    try:
        home = Path.home()
    except RuntimeError:  # HOME is not set, and the system knows no such user
        (directory / "home").mkdir(mode=0o700)
        return {"HOME": str(directory / "home")}
    ipython = Path(os.environ.get("IPYTHONDIR", home / ".ipython"))
    if os.access(ipython if ipython.exists() else ipython.parent, os.W_OK):
        return {}
    (directory / "ipython").mkdir(mode=0o700)
    return {"IPYTHONDIR": str(directory / "ipython")}
