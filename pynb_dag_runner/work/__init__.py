"""One attempt, inside a worker; knows neither Ray nor the plan."""


def attempt_modules(*, notebooks: bool) -> tuple[str, ...]:
    """What processes that make attempts import, the sooner the better.

    Args:
        notebooks: there are notebooks among the tasks.
    """
    return ("pynb_dag_runner.work.attempt", *(("pynb_dag_runner.work.notebook",) if notebooks else ()))
