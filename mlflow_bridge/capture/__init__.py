"""Plugins of MLflow for tasks: what a task logs with MLflow's own calls is kept in its attempt's folder.

MLflow finds these by their entry points (``setup.cfg``) and loads this module while it is itself being imported, so
that nothing here may import MLflow before it is called.

It may import the names of a run folder's files; it must not know how a run folder is uploaded.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

RUN_TAGS = {
    "PYNB_DAG_RUNNER_RUN_ID": "pynb_dag_runner.run_id",
    "PYNB_DAG_RUNNER_TASK": "pynb_dag_runner.task",
    "PYNB_DAG_RUNNER_ATTEMPT": "pynb_dag_runner.attempt",
}
"""Tags of every MLflow run that a task starts, by the environment variables in which the runner says what they hold."""


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> "SqlAlchemyStore":
    """MLflow's sqlite store in the attempt's folder that ``store_uri`` names; made if it is not there yet.

    Args:
        artifact_uri: not used; artifacts are kept beside the store.

    Raises:
        OSError: the attempt's folder can't be written.
    """
    from mlflow_bridge.capture.stores import open_tracking_store

    return open_tracking_store(store_uri)


def registry_store(store_uri: str, tracking_uri: str | None = None) -> "RegistryStore":
    """The same for registered models, in the same file."""
    from mlflow_bridge.capture.stores import open_registry_store

    return open_registry_store(store_uri)


class TaskContext:
    """Says in tags of each run, wherever MLflow logs to, which attempt of which task made it."""

    def in_context(self) -> bool:
        """Whether this is a task of a pipeline."""
        return all(name in os.environ for name in RUN_TAGS)

    def tags(self) -> dict[str, str]:
        """Tags for a run that is being made."""
        return {tag: os.environ[name] for name, tag in RUN_TAGS.items()}
