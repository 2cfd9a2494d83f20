"""A tracking store through MLflow's own client."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_bridge import mlflow_internals
from mlflow_bridge.errors import StoreError
from mlflow_bridge.mapping.timeline import Trace
from mlflow_bridge.model.captured_values import CapturedTrace
from mlflow_bridge.model.values import Batch, Experiment, MlflowStatus, StoredRun
from mlflow_bridge.store.batches import log_batch
from mlflow_bridge.store.errors import translated
from mlflow_bridge.store.models import ModelCalls
from mlflow_bridge.store.target import Target
from mlflow_bridge.store.traces import log_task_trace, log_trace

if TYPE_CHECKING:
    from mlflow.entities import Run

SERVER_THREADS = 4
"""Measured for MLflow 3.18: 4 to 8 at once make a server faster; direct sqlite gets slower, and fails with 16."""
_SEARCH_PAGE = 1000


class MlflowStore:
    """A :class:`~mlflow_bridge.store.protocol.TrackingStore` through MLflow's own client; from :func:`open_store`."""

    def __init__(self, target: Target) -> None:
        from mlflow import MlflowClient

        self.target = target
        self.threads = 1 if target.database else SERVER_THREADS
        self._client = MlflowClient(tracking_uri=target.uri)
        self.models = ModelCalls(target, self._client)

    def experiment(self, name: str) -> Experiment | None:
        """See :class:`mlflow_bridge.store.protocol.TrackingStore`, also for the other methods."""
        with translated(self.target):
            found = self._client.get_experiment_by_name(name)
        if found is None:
            return None
        return Experiment(
            id=found.experiment_id,
            name=found.name,
            artifact_location=found.artifact_location or "",
            deleted=found.lifecycle_stage == "deleted",
            tags=dict(found.tags),
        )

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> Experiment:
        """Its artifacts get an absolute path if the store is a file: MLflow's default depends on the directory."""
        from mlflow.exceptions import MlflowException

        root = self.target.artifact_root
        location = str(root / re.sub(r"[^\w.-]+", "-", name)[:80]) if root else None
        with translated(self.target):
            try:
                self._client.create_experiment(name, artifact_location=location, tags=dict(tags))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        experiment = self.experiment(name)
        if experiment is None:
            raise StoreError(f"{self.target.shown} has made the experiment {name!r}, but does not find it")
        return experiment

    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """One request for each tag: MLflow has no other."""
        with translated(self.target):
            for key, value in tags.items():
                self._client.set_experiment_tag(experiment_id, key, value)

    def restore_experiment(self, experiment_id: str) -> None:
        """MLflow restores all runs of it, also those that had been deleted before."""
        from mlflow.exceptions import MlflowException

        with translated(self.target):
            try:
                self._client.restore_experiment(experiment_id)
            except MlflowException:
                # If an answer was lost, MLflow's client has asked a second time.
                if self._client.get_experiment(experiment_id).lifecycle_stage == "deleted":
                    raise

    def search(self, experiment_id: str, tag: str, value: str, *, deleted_only: bool = False) -> Iterator[StoredRun]:
        """Page by page: an experiment may hold more runs than one answer."""
        from mlflow.entities import ViewType

        view = ViewType.DELETED_ONLY if deleted_only else ViewType.ALL
        token: str | None = None
        while True:
            with translated(self.target):
                page = self._client.search_runs(
                    [experiment_id], f"tags.`{tag}` = '{value}'", view, _SEARCH_PAGE, page_token=token
                )
            yield from map(_stored, page)
            token = page.token
            if not token:
                return

    def create_run(self, experiment_id: str, name: str, start_ms: int, tags: Mapping[str, str]) -> StoredRun:
        """The run's id is MLflow's own."""
        with translated(self.target):
            return _stored(self._client.create_run(experiment_id, start_ms, dict(tags), name))

    def log_artifact(self, artifact_uri: str, path: Path, directory: str) -> None:
        """Through the artifact store itself: the client's own methods ask for the run or model first."""
        with translated(self.target):
            mlflow_internals.send_file(self.target.uri, artifact_uri, path, directory or None)

    def log_batch(self, run_id: str, batch: Batch) -> None:
        """MLflow's client would cut larger batches itself, in another order."""
        from mlflow.entities import Metric, Param, RunTag

        with translated(self.target):
            log_batch(
                self._client,
                run_id,
                metrics=[Metric(point.key, point.value, point.timestamp_ms, point.step) for point in batch.metrics],
                params=[Param(key, value) for key, value in batch.params],
                tags=[RunTag(key, value) for key, value in batch.tags],
            )

    def end_run(self, run_id: str, status: MlflowStatus, end_ms: int) -> None:
        """MLflow takes any status word at any time."""
        with translated(self.target):
            self._client.set_terminated(run_id, status.value, end_ms)

    def delete_run(self, run_id: str) -> None:
        """Only into the bin; `mlflow gc` empties it."""
        with translated(self.target):
            self._client.delete_run(run_id)

    def restore_run(self, run_id: str) -> None:
        """What is nested in it is not restored with it."""
        with translated(self.target):
            self._client.restore_run(run_id)

    def log_trace(self, experiment_id: str, run_id: str, trace: Trace) -> None:
        """Not through MLflow's public client, which can't choose ids: an error here may be of any kind."""
        with self._anything_translated():
            log_trace(self.target, experiment_id, run_id, trace)

    def log_task_trace(self, experiment_id: str, trace: CapturedTrace) -> str:
        """As :meth:`log_trace`."""
        with self._anything_translated():
            return log_task_trace(self.target, experiment_id, trace)

    @contextmanager
    def _anything_translated(self) -> Iterator[None]:
        try:
            with translated(self.target):
                yield
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(f"{type(error).__name__}: {error}") from error


def _stored(run: "Run") -> StoredRun:
    return StoredRun(
        id=run.info.run_id,
        artifact_uri=run.info.artifact_uri or "",
        tags=dict(run.data.tags),
        deleted=run.info.lifecycle_stage == "deleted",
    )
