"""The few calls that an upload makes, whatever store is behind them.

:class:`mlflow_bridge.store.MlflowStore` makes them with MLflow's own client.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mlflow_bridge.mapping.timeline import Trace
from mlflow_bridge.model.captured_values import CapturedDataset, CapturedTrace
from mlflow_bridge.model.values import Batch, Experiment, MappedModel, MlflowStatus, StoredModel, StoredRun
from mlflow_bridge.store.target import Target


class ModelStore(Protocol):
    """A place that keeps what runs used and made. Errors as of a :class:`TrackingStore`."""

    def log_inputs(self, run_id: str, inputs: Sequence[CapturedDataset]) -> None:
        """Say which datasets a run has used; those that it has already stay as they are."""

    def find(self, experiment_id: str, key: str) -> StoredModel | None:
        """The model with this key in its tags. It may hold no quote."""

    def create(self, experiment_id: str, run_id: str, model: MappedModel) -> StoredModel:
        """A new model of a run, with its parameters and tags."""

    def finish(self, run_id: str, stored: StoredModel, model: MappedModel) -> None:
        """Send its metrics, link it to its run, and mark it as complete, at the end."""


class TrackingStore(Protocol):
    """A place that keeps MLflow runs. Every call raises :class:`mlflow_bridge.errors.StoreError` if it is refused.

    Attributes:
        target: where it is.
        threads: how many calls at once make it faster.
    """

    target: Target
    threads: int

    @property
    def models(self) -> "ModelStore":
        """The calls about datasets and models."""

    def experiment(self, name: str) -> Experiment | None:
        """The experiment of this name, deleted or not; None if there is none."""

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> Experiment:
        """Make an experiment; if another process was faster, the one that is there."""

    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment."""

    def restore_experiment(self, experiment_id: str) -> None:
        """Take an experiment out of MLflow's bin, and with it all of its runs."""

    def search(self, experiment_id: str, tag: str, value: str, *, deleted_only: bool = False) -> Iterator[StoredRun]:
        """Runs of an experiment, active and deleted, with this value of a tag. Neither may hold a quote."""

    def create_run(self, experiment_id: str, name: str, start_ms: int, tags: Mapping[str, str]) -> StoredRun:
        """A new run, in MLflow's status RUNNING, that started at ``start_ms`` (milliseconds since 1970, UTC)."""

    def log_artifact(self, artifact_uri: str, path: Path, directory: str) -> None:
        """Send a file of a run, a model or a trace; it keeps the last part of its name.

        Args:
            artifact_uri: where the store keeps its files.
            directory: below that; "" for the top.
        """

    def log_batch(self, run_id: str, batch: Batch) -> None:
        """Send data that fits into one request; written in the order parameters, metrics, tags."""

    def end_run(self, run_id: str, status: MlflowStatus, end_ms: int) -> None:
        """Set status and end time, milliseconds since 1970, UTC."""

    def delete_run(self, run_id: str) -> None:
        """Put a run into MLflow's bin; no error if it is there already."""

    def restore_run(self, run_id: str) -> None:
        """Take a run out of MLflow's bin."""

    def log_trace(self, experiment_id: str, run_id: str, trace: Trace) -> None:
        """Send a trace of a run; one with the same id is changed to it. A store may have no traces."""

    def log_task_trace(self, experiment_id: str, trace: CapturedTrace) -> str:
        """The same for a trace that a task recorded. Returns where its files belong."""
