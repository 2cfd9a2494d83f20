"""One attempt, inside a worker; knows neither Ray nor the plan."""

ATTEMPT_MODULES = ("pynb_dag_runner.work.attempt",)
"""What a process that makes attempts needs: an executor's processes import it while there are none to make yet."""
