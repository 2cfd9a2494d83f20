"""What a host process runs: one job after another, each message sent to its supervisor as it comes.

A host belongs to a :class:`~pynb_dag_runner.executors.hosts.supervisor.Host`. Whatever a job does to its process, a
crash, ``os._exit`` or a C loop that never ends, happens to the host alone, and the supervisor sees how it ended. Each
job is made in a fork of the host, which has imported what jobs need; where none is possible a host takes one job only.

It comes about in two ways: started as a program, by :func:`main`, or forked from a process that has imported what jobs
need, by :func:`run`.
"""

import contextlib
import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pynb_dag_runner.executors.base import JobCancelled, Keep, LimitsOver, Waits
from pynb_dag_runner.executors.hosts.cancellation import Cancellation
from pynb_dag_runner.executors.hosts.forks import Forks, Verdict, may_fork
from pynb_dag_runner.executors.hosts.frames import Frame
from pynb_dag_runner.model.text import storable
from pynb_dag_runner.processes import marks
from pynb_dag_runner.processes.fork_server.child import WITHOUT_THREADS, die_with, make_ready, settle_memory
from pynb_dag_runner.processes.module_files import Imports, install, make_findable
from pynb_dag_runner.processes.pickling import InputError, dumps, loads, loads_input


def main() -> None:
    """Serve until the supervisor closes its end.

    Arguments: the connection's file descriptor, the supervisor's pid, and modules to import before there is a job.
    """
    descriptor, supervisor, modules = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    die_with(supervisor)
    marks.set_number_from(os.environ)
    # Ray blocks some signals in its workers, and children inherit the mask.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for module in modules:
        with contextlib.suppress(ImportError):  # the job that needs it says so
            make_ready(module)
    run([], [descriptor])


def run(_: Sequence[str], descriptors: Sequence[int]) -> None:
    """Serve until the supervisor closes its end.

    Args:
        descriptors: the connection's.
    """
    (descriptor,) = descriptors
    _show_lines_at_once()
    server = _Server(Connection(descriptor))
    with contextlib.suppress(EOFError, ConnectionError):
        while server.serve():
            pass


class _Server:
    """Makes one call after another: in a fork of this process, where one is possible."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._directory = Path.cwd()
        self._forks = Forks()
        self._may_fork = may_fork()

    def serve(self) -> bool:
        """Make the next call; whether another may follow."""
        imports, shared, payload, inputs = loads(self._connection.recv_bytes())
        self._forks.expect()
        Frame.STARTED.send(self._connection)
        if imports is not None:
            self._import(imports)
        make = partial(_make, self._connection, payload, inputs)
        if shared or not self._may_fork:
            return self._serve_here(make, spent=not shared)
        if self._forks.make(partial(_make_in_fork, make)) is Verdict.ENDED:
            Frame.ENDED.send(self._connection)
        return True

    def _serve_here(self, make: Callable[[Cancellation], Verdict], *, spent: bool) -> bool:
        """What the call changes in this process stays: other calls that share it find it, or there is none.

        It may leave the process in any state, so the supervisor is told before.
        """
        if spent:
            Frame.SPENT.send(self._connection)
        marks.set_number(self._forks.number)
        cancellation = Cancellation(requested=self._forks.cancel_requested)
        verdict = make(cancellation)
        if verdict is Verdict.ENDED:
            Frame.ENDED.send(self._connection)
        _back_to(self._directory)
        return not spent

    def _import(self, imports: Imports) -> None:
        """Import what jobs need, once for all of them; one that can't be imported is imported again by its job."""
        install(imports)
        make_findable(imports.files)
        quiet = {name: value for name, value in WITHOUT_THREADS.items() if name not in os.environ}
        os.environ.update(quiet)
        for module in imports.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(module)
        for name in quiet:
            os.environ.pop(name, None)
        _back_to(self._directory)
        self._may_fork = may_fork()
        settle_memory()


def _make_in_fork(make: Callable[[Cancellation], Verdict], cancellation: Cancellation) -> Verdict:
    with contextlib.suppress(ConnectionError):  # the supervisor is gone, and nobody wants to know more
        return make(cancellation)
    return Verdict.FAILED


def _make(connection: Connection, payload: bytes, inputs: list[bytes], cancellation: Cancellation) -> Verdict:
    """Make one call, and say what it says; if it fails, that, too."""
    try:
        call: Any = loads(payload)
        messages: Generator[object] = call(*map(loads_input, inputs))
        while True:
            message = cancellation.advance(messages)
            if isinstance(message, Keep):
                Frame.KEPT.send(connection, message.pickled or dumps(message.value))
            elif isinstance(message, Waits):
                Frame.WAITING.send(connection, message.what.encode())
            elif isinstance(message, LimitsOver):
                Frame.UNLIMITED.send(connection)
            else:
                Frame.MESSAGE.send(connection, dumps(message))
    except (StopIteration, JobCancelled):
        return Verdict.ENDED
    except ConnectionError:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever leaves a job ends it; the host serves on
        told = str(error) if isinstance(error, InputError) else "".join(traceback.format_exception(error))
        Frame.FAILED.send(connection, storable(told).encode())
        return Verdict.FAILED
    finally:
        cancellation.over()


def _show_lines_at_once() -> None:
    """Write what a job prints line by line, as to a terminal: it is in the log while the job runs, or if it dies."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def _back_to(directory: Path) -> None:
    """The next job starts where this one did, wherever this one went."""
    with contextlib.suppress(OSError):  # the directory may be gone; the job that needs it says so
        os.chdir(directory)


if __name__ == "__main__":
    main()
