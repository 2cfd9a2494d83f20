"""What a host process runs: one job after another, each message sent to its supervisor as it comes.

A host belongs to a :class:`~pynb_dag_runner.executors.hosting.Host`. Whatever a job does to its process, a crash,
``os._exit`` or a C loop that never ends, happens to the host alone, and the supervisor sees how it ended.

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
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pynb_dag_runner import marks
from pynb_dag_runner.executors.base import JobCancelled, Keep, LimitsOver, Waits
from pynb_dag_runner.executors.cancellation import Cancellation
from pynb_dag_runner.executors.frames import Frame
from pynb_dag_runner.fork_server.child import die_with
from pynb_dag_runner.module_files import Imports, install, make_findable
from pynb_dag_runner.pickling import dumps, loads


def main() -> None:
    """Serve until the supervisor closes its end.

    Arguments: the connection's file descriptor, the supervisor's pid, and modules to import before there is a job.
    """
    descriptor, supervisor, modules = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    die_with(supervisor)
    marks.bear_environment(os.environ)
    # Ray blocks some signals in its workers, and children inherit the mask.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for module in modules:
        with contextlib.suppress(ImportError):  # the job that needs it says so
            importlib.import_module(module)
    run([], [descriptor])


def run(_: Sequence[str], descriptors: Sequence[int]) -> None:
    """Serve until the supervisor closes its end.

    Args:
        descriptors: the connection's.
    """
    (descriptor,) = descriptors
    connection = Connection(descriptor)
    _show_lines_at_once()
    directory = Path.cwd()
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            imports, *call = loads(connection.recv_bytes())
            _serve(connection, imports, *call)
            _back_to(directory)


def _serve(connection: Connection, imports: Imports | None, payload: bytes, inputs: list[bytes]) -> None:
    """Make one call. Its classes may be in modules of the user's, so these are found before it is unpickled."""
    cancellation = Cancellation()
    Frame.STARTED.send(connection)
    try:
        if imports is not None:
            install(imports)
            make_findable(imports.files)
        call: Any = loads(payload)
        messages: Generator[object] = call(*(loads(value) for value in inputs))
        while True:
            message = cancellation.advance(messages)
            if isinstance(message, Keep):
                Frame.KEPT.send(connection, message.pickled or dumps(message.value))
            elif isinstance(message, Waits):
                Frame.WAITING.send(connection, dumps(message))
            elif isinstance(message, LimitsOver):
                Frame.UNLIMITED.send(connection)
            else:
                Frame.MESSAGE.send(connection, dumps(message))
    except (StopIteration, JobCancelled):
        Frame.ENDED.send(connection)
    except ConnectionError:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever leaves a job ends it; the host serves on
        Frame.FAILED.send(connection, "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace"))
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
