"""The program of a kernel process of the runner's own interpreter: an IPython kernel that dies with its starter.

It comes about in two ways: started as a program, by :func:`main`, or forked from a process in which :func:`prepare`
was called, by :func:`run`. What its notebook sees is the same.

A kernel leads a session of its own, so nothing ends it when its starter is killed; ipykernel's own watch is a Python
thread, which a cell that holds the GIL keeps from running. The system's PR_SET_PDEATHSIG needs neither.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from pynb_dag_runner.model.output_limits import MARK
from pynb_dag_runner.model.text import cut_end
from pynb_dag_runner.processes.changed_names import note, notes
from pynb_dag_runner.processes.fork_server.child import die_with
from pynb_dag_runner.processes.module_files import install_in_kernel
from pynb_dag_runner.processes.private_directory import SCRATCH_VARIABLE

_START_THREADS = ("debugpy", "_debugpy", "_pydev", "pydev")
"""Modules that a kernel imports and that must not be imported before a fork."""

_REMARK_CHARACTERS = 200


_PLAIN = "--plain"
"""First argument of a kernel that is ipykernel's alone."""


def main() -> None:
    """Start the kernel; arguments are ipykernel's own."""
    die_with(int(os.environ.get("JPY_PARENT_PID", os.getppid())))
    # Ray blocks SIGINT in its workers, and children inherit the mask: without this no cell could be interrupted.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    install_in_kernel()
    if sys.argv[1:2] == [_PLAIN]:
        from ipykernel.kernelapp import IPKernelApp

        IPKernelApp.launch_instance([*_FOR_ALL, *sys.argv[2:]])
        return
    try:
        from pynb_dag_runner.worker.kernels.application import KernelApp

        app: Any = KernelApp.instance()
        app.initialize([*_options(), *sys.argv[1:]])
    except Exception as error:  # noqa: BLE001 - whatever another release of ipykernel's has changed
        note("ipykernel", f"{type(error).__name__}: {error}", "the kernel is ipykernel's own, which may lose output")
        _tell_notes()
        command = [sys.executable, "-m", "pynb_dag_runner.worker.kernels.main", _PLAIN, *sys.argv[1:]]
        os.execv(sys.executable, command)  # noqa: S606 - a fresh process: this one may be half a kernel
    _tell_notes()
    app.start()


def _tell_notes() -> None:
    """Write to the attempt's log what was noted; the standard streams may lead to the notebook by now."""
    for line in notes():
        os.write(2, f"{MARK} {line}\n".encode("utf-8", "backslashreplace"))


_FOR_ALL = ("--HistoryManager.hist_file=:memory:",)


def _options() -> list[str]:
    from pynb_dag_runner.worker.kernels import application, sending

    # What child processes print is read by the worker. ipykernel would send it to the notebook, but from a thread of
    # its own: what is still on its way when the cell ends is lost.
    return [
        *_FOR_ALL,
        "--IPKernelApp.capture_fd_output=False",
        f"--IPKernelApp.kernel_class={application.__name__}.EndingKernel",
        f"--IPKernelApp.outstream_class={sending.__name__}.stream",
    ]


def prepare() -> None:
    """Import what a kernel imports until its first cell is done, and make what kernels share; start no thread.

    Which modules these are is asked of a kernel, in a process of its own: they differ from version to version.
    """
    import ipykernel.zmqshell  # noqa: F401

    for name in _imported_by_a_kernel():
        if not name.startswith(_START_THREADS):
            with contextlib.suppress(Exception):  # a kernel imports it when it needs it, and meets the same
                importlib.import_module(name)
    _unstarted()


def _unstarted() -> Any:
    """A kernel application that has read its options."""
    from pynb_dag_runner.worker.kernels.application import KernelApp

    app = KernelApp.instance()
    # The handle is only looked at for being there: who has no parent prints how to connect to it.
    app.parse_command_line([*_options(), "--IPKernelApp.parent_handle=1"])
    return app


@contextlib.contextmanager
def importing_ahead(remarks: list[str]) -> Iterator[None]:
    """Be a kernel in whose first cell the imports stand, as far as that needs neither sockets nor threads.

    Args:
        remarks: takes what notebooks will not find as it would be.
    """
    app = _unstarted()
    streams = app.make_ahead()
    with app.cell_context():
        yield
    if written := "".join(stream.written_ahead() for stream in streams).strip():
        remarks.append(
            f"what an import printed is not in the notebook: {cut_end(written.splitlines()[-1], _REMARK_CHARACTERS)}"
        )


def _imported_by_a_kernel() -> list[str]:
    ours, theirs = os.pipe()
    server, pid = os.getpid(), os.fork()
    if pid == 0:
        os.close(ours)
        try:
            die_with(server)
            os.write(theirs, json.dumps(_try_kernel()).encode())
        except Exception as error:  # noqa: BLE001 - whatever another release of ipykernel's has changed
            os.write(theirs, json.dumps(f"{type(error).__name__}: {error}").encode())
        finally:
            os._exit(0)  # without the exit handlers of the process that it is a copy of
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        names = json.loads(answer.read() or b'"it died"')
    os.waitpid(pid, 0)
    if isinstance(names, str):
        raise RuntimeError(f"a kernel was made to try, and ran no cell: {names}")
    return list(names)


def _try_kernel() -> list[str]:
    """Make a kernel and give it a cell; the modules that were imported for it."""
    before = set(sys.modules)
    with tempfile.TemporaryDirectory(dir=os.environ[SCRATCH_VARIABLE]) as directory:
        app = _unstarted()
        app.transport, app.ip = "ipc", f"{directory}/k"
        app.connection_file = f"{directory}/kernel.json"
        app.initialize()
        app.shell.run_cell("1 + 1\nNone", silent=True)
        return sorted(set(sys.modules) - before)


def run(arguments: Sequence[str], descriptors: Sequence[int]) -> None:
    """Be a kernel, in a process that was forked after :func:`prepare`; returns when it was shut down.

    Args:
        arguments: ``-f`` and the path of the connection file, as for :func:`main`.
        descriptors: a pipe, to which a byte is written once the kernel's sockets are bound.
    """
    (ready,) = descriptors
    install_in_kernel()
    app = _unstarted()
    _, app.connection_file = arguments
    try:
        app.initialize()
    except BaseException:
        app.reset_io()  # its streams may send nothing yet, and what is said of this must be seen
        raise
    _tell_notes()
    os.write(ready, b"\n")
    os.close(ready)
    app.start()


if __name__ == "__main__":
    main()
