"""An IPython kernel of ours: nothing that it puts out is dropped, and it ends as soon as it is told to."""

from typing import Any

import zmq
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp

from pynb_dag_runner.work import processes
from pynb_dag_runner.work.bounds import QUEUE_MESSAGES


class EndingKernel(IPythonKernel):
    """ipykernel's, without its walk over all processes of the machine when there are no children to end: 12 ms."""

    def _process_children(self) -> list[Any]:
        return super()._process_children() if processes.has_children() else []  # type: ignore[no-untyped-call]


# Libraries that ask whether they run in a kernel may look here.
EndingKernel.__module__ = IPythonKernel.__module__


class KernelApp(IPKernelApp):
    """An IPython kernel whose cells wait for the reader of their output.

    Attributes:
        is_parsed: its options have been read; those of :meth:`initialize` are not.
    """

    is_parsed = False

    def parse_command_line(self, argv: list[str] | None = None) -> None:
        """Read options, once: in a process that many kernels are forked from it is done before."""
        if not self.is_parsed:
            super().parse_command_line(argv)
        self.is_parsed = True

    def _bind_socket(self, s: Any, port: int) -> int:
        if s.type == zmq.XPUB:
            s.setsockopt(zmq.SNDHWM, QUEUE_MESSAGES)
            s.setsockopt(zmq.XPUB_NODROP, 1)
        return int(super()._bind_socket(s, port))  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """Run until the kernel is shut down.

        ipykernel then ends, at exit, the thread that sends output while the one that was told to shut down may still
        wait for it: for 10 s, in about one kernel of eight.
        """
        super().start()  # type: ignore[no-untyped-call]
        if self.control_thread and self.control_thread.is_alive():
            self.control_thread.stop()
            self.control_thread.join()
