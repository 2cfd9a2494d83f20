"""Start the processes that a run's tasks need beside its engine before they are needed.

They import while the driver and the engine do, which wait for most of that time. Together they are what a task's first
start would wait for: half a second for what runs attempts, another half for a kernel, and a second for the first page.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pynb_dag_runner.executors.hosts.supervisor import Host, HostServer
from pynb_dag_runner.processes.fork_server.client import ServerPlace, is_possible
from pynb_dag_runner.processes.machine import check_open_files
from pynb_dag_runner.processes.private_directory import PrivateDirectory
from pynb_dag_runner.reports.pages.process import PAGES_ENTRY
from pynb_dag_runner.worker import attempt_modules
from pynb_dag_runner.worker.kernels import servers
from pynb_dag_runner.worker.messages import thread_variables

if TYPE_CHECKING:
    from pynb_dag_runner.model.graph import Dag
    from pynb_dag_runner.model.run_settings import RunSettings

_CELLS = re.compile(rb"^# ?(?:%%|\+|---)", re.MULTILINE)
_MAKES_PIPELINE = b"pynb_dag_runner"
_GUESS_BYTES = 1 << 20


class WarmProcesses:
    """They end when this is closed, or when its process ends.

    Args:
        hosts: jobs will run in processes of this machine.
        notebooks: there will be notebooks among the tasks.
        preload: modules that notebooks import, see :class:`pynb_dag_runner.Pipeline`.
        html: notebooks shall have pages.
        expected: directory of the first notebook, and its variables beside this process's: the preload is imported for
            it at once. None: when there is one.

    Attributes:
        directory: holds all that is temporary; it goes last.
        new_host: makes a process for jobs.
        kernels: where the kernels of this machine come from; None: each is started.
        pages: makes them.
    """

    def __init__(
        self,
        *,
        hosts: bool,
        notebooks: bool,
        preload: Sequence[str] = (),
        html: bool = True,
        expected: tuple[Path, Mapping[str, str]] | None = None,
    ) -> None:
        check_open_files()
        with ExitStack() as stack:
            self.directory = stack.enter_context(PrivateDirectory())
            self.new_host: Callable[[], Host] = Host
            self.kernels: ServerPlace | None = None
            place = None
            if hosts:
                modules, entries = attempt_modules(notebooks=notebooks), [PAGES_ENTRY] if notebooks else []
                host_server = HostServer(modules, self.directory.path, entries)
                stack.callback(host_server.close)
                self.new_host, place = host_server.new_host, host_server.place
            if notebooks and is_possible():
                kernel_server = servers.start(preload, self.directory.path, *(expected or ()))
                stack.callback(kernel_server.close)
                self.kernels = kernel_server.place
            # It knows the records of run folders, which take a tenth of a second: by now the servers use that time.
            from pynb_dag_runner.reports.pages.queue import Pages

            self.pages = Pages(place)
            stack.callback(self.pages.close)
            if notebooks and html:
                self.pages.start()
            self._stack = stack.pop_all()

    @classmethod
    def for_run(cls, dag: "Dag", settings: "RunSettings") -> Self:
        """Those for a graph on an engine. Jobs on a cluster run elsewhere, those of ``inline`` in the driver."""
        return cls(
            hosts=settings.executor != "inline" and settings.ray_address is None,
            notebooks=any(task.kind == "notebook" for task in dag.tasks),
            preload=dag.preload,
            html=settings.html,
            expected=_first_notebook(dag, in_driver=settings.executor == "inline"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End them; the engine, whose processes come from here, has ended before."""
        self._stack.close()


def _first_notebook(dag: "Dag", *, in_driver: bool) -> tuple[Path, Mapping[str, str]] | None:
    """Where it runs and the variables that it has beside the driver's; None if the engine chooses some of them."""
    for task in dag.tasks:
        if task.kind == "notebook":
            source: Any = task.source
            variables = {} if in_driver else thread_variables(task.options.num_cpus)
            return None if task.options.num_gpus else (source.cwd or source.path.parent, variables)
    return None


def is_probably_notebook(path: Path) -> bool:
    """A guess whether a file is a notebook, from its name and its first cells, before anything is loaded.

    A wrong one costs a little time and nothing else.
    """
    try:
        if path.suffix != ".py":
            return path.suffix == ".ipynb" and path.is_file()
        with path.open("rb") as file:
            begin = file.read(_GUESS_BYTES)
    except OSError:
        return False
    return _CELLS.search(begin) is not None and _MAKES_PIPELINE not in begin
