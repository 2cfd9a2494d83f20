"""What is private to ipykernel, and to IPython where ipykernel has it: overridden methods, and names of objects.

A kernel works without any of it, as ipykernel makes it; each part says what is lost then.
"""

import threading
from typing import Any

import zmq
from ipykernel.iostream import OutStream
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp

from pynb_dag_runner.model.output_limits import QUEUE_MESSAGES
from pynb_dag_runner.processes.changed_names import note, problem_of
from pynb_dag_runner.worker import usage

TESTED_RELEASES = ("6.29", "7.4")
"""The oldest and the newest minor release for which the tests pass."""


def _has(owner: type, name: str, *parameters: str, else_: str) -> bool:
    problem = problem_of(owner, name, *parameters)
    if problem is not None:
        note("ipykernel", problem, else_)
    return problem is None


class QuickEnd(IPythonKernel):
    """ipykernel's, without its walk over all processes of the machine when there are no children to end: 12 ms."""

    if _has(IPythonKernel, "_process_children", "self", else_="a kernel takes some milliseconds longer to end"):

        def _process_children(self) -> list[Any]:
            return super()._process_children() if usage.has_children() else []  # type: ignore[no-untyped-call]


class BoundedQueue(IPKernelApp):
    """ipykernel's, whose queue of messages has a bound, and waits when it is full instead of dropping some."""

    if _has(IPKernelApp, "_bind_socket", "self", "s", "port", else_="a kernel that prints much may lose some of it"):

        def _bind_socket(self, s: Any, port: int) -> int:
            if s.type == zmq.XPUB:
                s.setsockopt(zmq.SNDHWM, QUEUE_MESSAGES)
                s.setsockopt(zmq.XPUB_NODROP, 1)
            return super()._bind_socket(s, port)  # type: ignore[no-untyped-call, no-any-return]


_CAN_SEND_AT_ONCE = _has(OutStream, "_flush", "self", else_="a cell's two outputs wait for each other")


def send_now(stream: OutStream) -> None:
    """Send what a stream holds before anything that is put out from now on; without waiting, where that is possible."""
    if _CAN_SEND_AT_ONCE:
        stream._flush()
    else:
        stream.flush()


def is_sender(stream: OutStream) -> bool:
    """Whether this is the thread that sends what is put out: it can't wait for itself."""
    return getattr(stream.pub_thread, "thread", None) is threading.current_thread()


def cell_of(stream: OutStream) -> object:
    """Tells cells apart: by the message that this one came with."""
    header = getattr(stream, "parent_header", None)
    return header.get("msg_id") if isinstance(header, dict) else None


def problem_of_shell(shell: Any) -> str | None:
    """Why a shell that was made before its kernel has sockets can't be used after a fork; None: it can."""
    names = ("starting_dir", "init_environment", "atexit_operations", "builtin_trap", "display_trap", "excepthook")
    missing = [name for name in names if not hasattr(shell, name)]
    if not isinstance(getattr(getattr(shell, "history_manager", None), "dir_hist", None), list):
        missing.append("history_manager.dir_hist")
    return f"IPython's shell has no {', no '.join(missing)}" if missing else None
