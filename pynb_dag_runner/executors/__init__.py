"""Executors run a picklable call elsewhere and give a stream of events; they know no task and no folder."""

from collections.abc import Callable, Sequence
from typing import Literal

from pynb_dag_runner.executors.base import Executor

ExecutorName = Literal["ray", "process", "inline"]
EXECUTOR_NAMES: tuple[ExecutorName, ...] = ("ray", "process", "inline")


def executor_factory(
    name: ExecutorName,
    *,
    num_cpus: int | None = None,
    ray_address: str | None = None,
    modules: Sequence[str] = (),
) -> Callable[[], Executor]:
    """A call that starts the named executor; whoever calls it closes what it gets.

    Args:
        name: ``ray``; ``process``: in processes of this machine, without Ray; ``inline``: in this very process, one job
            at a time, for debuggers.
        num_cpus: processors to share out on this machine; None: all that this process may use.
        ray_address: an existing cluster to use instead of starting Ray here.
        modules: that jobs need; processes for jobs import them ahead.
    """
    if name == "inline":
        from pynb_dag_runner.executors.inline import InlineExecutor

        return InlineExecutor

    def start() -> Executor:
        if name == "process":
            from pynb_dag_runner.executors.on_processes import ProcessExecutor

            return ProcessExecutor(num_cpus=num_cpus, modules=modules)
        from pynb_dag_runner.executors.on_ray import RayExecutor

        return RayExecutor(num_cpus=num_cpus, address=ray_address, modules=modules)

    return start
