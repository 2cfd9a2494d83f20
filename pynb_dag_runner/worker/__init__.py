"""One attempt of a task, inside a worker: it runs the function or the notebook and writes the attempt's files.

It may import values, secrets, notebooks, processes and the run folder; it must not know the plan, the pipeline or Ray.
"""


def attempt_modules(*, notebooks: bool) -> tuple[str, ...]:
    """What processes that make attempts import, the sooner the better.

    Args:
        notebooks: there are notebooks among the tasks.
    """
    return ("pynb_dag_runner.worker.attempt", *(("pynb_dag_runner.worker.notebook.evaluation",) if notebooks else ()))
