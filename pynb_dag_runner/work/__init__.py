"""One attempt, inside a worker; knows neither Ray nor the plan."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pynb_dag_runner.dag import Dag


def attempt_modules(dag: "Dag") -> tuple[str, ...]:
    """What processes that make attempts of these tasks import, the sooner the better."""
    has_notebooks = any(task.kind == "notebook" for task in dag.tasks)
    return ("pynb_dag_runner.work.attempt", *(("pynb_dag_runner.work.notebook",) if has_notebooks else ()))
