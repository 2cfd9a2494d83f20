"""Our IPython kernel: it drops no output, and ends as soon as it is told to.

It may be made in two steps. With :meth:`KernelApp.make_ahead` it is there, with its shell and its streams, for whatever
is imported and asks for it; what no fork survives, its sockets and threads, comes with :meth:`KernelApp.initialize` in
the forked process. The objects stay the same, so that what an import registered with them or keeps of them counts.
"""

import atexit
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Self

import comm
from ipykernel.compiler import XCachingCompiler
from ipykernel.ipkernel import IPythonKernel
from IPython.core.application import BaseIPythonApplication
from jupyter_client.session import Session
from traitlets.config import SingletonConfigurable

from pynb_dag_runner.worker.kernels.ipykernel_internals import BoundedQueue, QuickEnd, problem_of_shell
from pynb_dag_runner.worker.kernels.sending import PiecewiseStream, flush_c, keep_order


class Unconnected(Session):
    """Stands for the session of a kernel that has no sockets yet."""

    def msg(self, *_: Any, **__: Any) -> NoReturn:
        """Raises RuntimeError."""
        raise RuntimeError("it shows something, which each notebook has to do for itself")

    send = msg


class EndingKernel(QuickEnd):
    """ipykernel's, without its walk over all processes of the machine when there are no children to end: 12 ms."""

    def __init__(self, **options: Any) -> None:
        if "shell_stream" in options:
            super().__init__(**options)  # type: ignore[no-untyped-call]
            return
        # What IPythonKernel does that needs no sockets. The rest imports a debugger, which starts threads.
        SingletonConfigurable.__init__(self, **options)
        self.comm_manager = comm.get_comm_manager()
        shell_options = {"profile_dir": self.profile_dir, "user_module": self.user_module, "user_ns": self.user_ns}
        compiler_class = getattr(self, "compiler_class", XCachingCompiler)  # ipykernel 6 has no such trait
        shell: Any = self.shell_class.instance(parent=self, kernel=self, compiler_class=compiler_class, **shell_options)
        shell.display_pub.session = shell.displayhook.session = Unconnected(parent=self)
        self.shell = shell

    @classmethod
    def instance(cls, *arguments: Any, **options: Any) -> Self:
        """See traitlets; one that was made without sockets gets them now."""
        is_made = cls.initialized()
        kernel = super().instance(*arguments, **options)
        if is_made and "shell_stream" in options:
            del options["user_ns"]  # the shell has filled it
            kernel.__init__(*arguments, **options)  # type: ignore[misc]  # finds its shell, and tells it where to send
        return kernel


# Libraries that ask whether they run in a kernel may look here.
EndingKernel.__module__ = IPythonKernel.__module__


class KernelApp(BoundedQueue):
    """An IPython kernel whose cells wait for the reader of their output.

    Attributes:
        is_parsed: its options have been read; those of :meth:`initialize` are not.
        is_made_ahead: all but its sockets and threads is there.
    """

    is_parsed = False
    is_made_ahead = False

    def parse_command_line(self, argv: list[str] | None = None) -> None:
        """Read options, once: in a process that many kernels are forked from it is done before."""
        if not self.is_parsed:
            super().parse_command_line(argv)
        self.is_parsed = True

    def make_ahead(self) -> tuple[PiecewiseStream, PiecewiseStream]:
        """Make what needs neither sockets nor threads; the steps are those of :meth:`initialize`, in its order.

        Returns:
            Standard output and error.
        """
        BaseIPythonApplication.initialize(self, [])  # type: ignore[no-untyped-call]
        self.init_pdb()  # type: ignore[no-untyped-call]
        streams = PiecewiseStream.ahead("stdout"), PiecewiseStream.ahead("stderr")
        sys.stdout, sys.stderr = streams
        self.patch_io()
        options = {"parent": self, "log": self.log, "profile_dir": self.profile_dir, "user_ns": self.user_ns}
        kernel_class: Any = self.kernel_class
        self.kernel: Any = kernel_class.instance(**options)
        self.shell: Any = self.kernel.shell
        if (problem := problem_of_shell(self.shell)) is not None:
            raise RuntimeError(problem)
        self.init_gui_pylab()  # type: ignore[no-untyped-call]
        self.init_extensions()  # type: ignore[no-untyped-call]
        self.is_made_ahead = True
        return streams

    @contextmanager
    def cell_context(self) -> Iterator[None]:
        """What a shell, made ahead, sets while a cell runs."""
        excepthook, sys.excepthook = sys.excepthook, self.shell.excepthook
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with self.shell.builtin_trap, self.shell.display_trap:
                yield
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if sys.excepthook == self.shell.excepthook:  # no import has set its own
                sys.excepthook = excepthook

    def patch_io(self) -> None:
        """Once: it wraps functions."""
        if not self.is_made_ahead:
            super().patch_io()  # type: ignore[no-untyped-call]

    def init_shell(self) -> None:
        """A shell that was made ahead was so elsewhere, and before the sockets, which are closed after its end."""
        super().init_shell()  # type: ignore[no-untyped-call]
        if self.is_made_ahead:
            self.shell.starting_dir = os.getcwd()  # noqa: PTH109 - as IPython has it
            self.shell.history_manager.dir_hist[:] = [Path.cwd()]
            self.shell.init_environment()
            atexit.unregister(self.shell.atexit_operations)
            atexit.register(self.shell.atexit_operations)

    def start(self) -> None:
        """Run until the kernel is shut down.

        ipykernel then ends, at exit, the thread that sends output while the one that was told to shut down may still
        wait for it: for 10 s, in about one kernel of eight.
        """
        keep_order()
        self.shell.events.register("post_execute", flush_c)
        super().start()  # type: ignore[no-untyped-call]
        control_thread = getattr(self, "control_thread", None)
        if control_thread is not None and control_thread.is_alive():
            control_thread.stop()
            control_thread.join()
