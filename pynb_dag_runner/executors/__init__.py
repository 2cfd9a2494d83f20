"""Executors: they run a picklable call elsewhere, on Ray or not, and give a stream of events.

It may import ``errors``, ``processes`` and, of ``model``, the executors' names; it must not know tasks, notebooks or
run folders.
"""

from collections.abc import Callable
from typing import get_args

from pynb_dag_runner.executors.base import Executor
from pynb_dag_runner.executors.hosts.supervisor import Host
from pynb_dag_runner.model.run_settings import ExecutorName
from pynb_dag_runner.processes.private_directory import PrivateDirectory

StartExecutor = Callable[[Callable[[], Host], PrivateDirectory], Executor]
"""Starts an executor. What it is given makes a process for jobs, and holds all that is temporary, until the executor is
closed; not every executor has a use for them."""

EXECUTOR_NAMES: tuple[ExecutorName, ...] = get_args(ExecutorName)


def executor_factory(
    name: ExecutorName, *, num_cpus: int | None = None, ray_address: str | None = None
) -> StartExecutor:
    """A call that starts the named executor; whoever calls it closes what it gets.

    Args:
        name: ``ray``; ``process``: in processes of this machine, without Ray; ``inline``: in this very process, one job
            at a time, for debuggers.
        num_cpus: processors to share out on this machine; None: all that this process may use.
        ray_address: an existing cluster to use instead of starting Ray here.
    """

    def start(new_host: Callable[[], Host], directory: PrivateDirectory) -> Executor:
        if name == "inline":
            from pynb_dag_runner.executors.inline import InlineExecutor

            return InlineExecutor()
        if name == "process":
            from pynb_dag_runner.executors.process import ProcessExecutor

            return ProcessExecutor(directory, num_cpus=num_cpus, new_host=new_host)
        if ray_address is not None:
            from pynb_dag_runner.executors.ray_cluster import ClusterRayExecutor

            return ClusterRayExecutor(directory, address=ray_address)
        from pynb_dag_runner.executors.ray_local import LocalRayExecutor

        return LocalRayExecutor(directory, num_cpus=num_cpus, new_host=new_host)

    return start
