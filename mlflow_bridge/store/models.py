"""Datasets and logged models through MLflow's own client."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlflow_bridge.limits import MAX_BATCH_ENTITIES, cut
from mlflow_bridge.model.captured_values import CapturedDataset
from mlflow_bridge.model.values import MappedModel, ModelMetric, StoredModel
from mlflow_bridge.store.batches import log_batch
from mlflow_bridge.store.errors import translated
from mlflow_bridge.store.target import Target
from mlflow_bridge.tags import COMPLETE, KEY, UPLOAD

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, LoggedModel, Metric

# mlflow/utils/validation.py
_MAX_DATASET_NAME = 500
_MAX_DATASET_DIGEST = 36
_MAX_DATASET_SOURCE = 65535
_MAX_DATASET_SCHEMA = 1048575
_MAX_DATASET_PROFILE = 16777215
_MAX_INPUT_TAG_KEY = 255
_MAX_INPUT_TAG_VALUE = 500
_DATASETS_AT_ONCE = 100


class ModelCalls:
    """The part of a :class:`mlflow_bridge.store.protocol.TrackingStore` that is about datasets and models."""

    def __init__(self, target: Target, client: "MlflowClient") -> None:
        self._target = target
        self._client = client

    def log_inputs(self, run_id: str, inputs: Sequence[CapturedDataset]) -> None:
        """Repeating it changes nothing: MLflow knows a dataset by its name and digest."""
        for start in range(0, len(inputs), _DATASETS_AT_ONCE):
            some = inputs[start : start + _DATASETS_AT_ONCE]
            with translated(self._target):
                self._client.log_inputs(run_id, datasets=[_dataset_input(one) for one in some])

    def find(self, experiment_id: str, key: str) -> StoredModel | None:
        """Of several, which two uploads at once may make, a complete one, or the oldest."""
        query = f"tags.`{KEY}` = '{key}'"
        order = [{"field_name": "creation_timestamp", "ascending": True}]
        with translated(self._target):
            found = self._client.search_logged_models([experiment_id], query, order_by=order)
        return min(map(_stored, found), key=lambda model: not model.complete, default=None)

    def create(self, experiment_id: str, run_id: str, model: MappedModel) -> StoredModel:
        """In MLflow's status PENDING."""
        with translated(self._target):
            return _stored(
                self._client.create_logged_model(
                    experiment_id=experiment_id,
                    name=model.name,
                    source_run_id=run_id,
                    tags=dict(model.tags),
                    params=dict(model.params),
                    model_type=model.model_type,
                )
            )

    def finish(self, run_id: str, stored: StoredModel, model: MappedModel) -> None:
        """The tag that makes it complete comes last."""
        from mlflow.entities import LoggedModelOutput

        with translated(self._target):
            for start in range(0, len(model.metrics), MAX_BATCH_ENTITIES):
                some = model.metrics[start : start + MAX_BATCH_ENTITIES]
                log_batch(self._client, run_id, metrics=[_metric(stored, one) for one in some])
            # A second link of the same two is refused.
            outputs = self._client.get_run(run_id).outputs
            if outputs is None or stored.id not in {output.model_id for output in outputs.model_outputs}:
                self._client.log_outputs(run_id, [LoggedModelOutput(stored.id, model.step)])
            self._client.finalize_logged_model(stored.id, "READY" if model.ready else "FAILED")
            self._client.set_logged_model_tags(stored.id, {UPLOAD: COMPLETE})


def _stored(model: "LoggedModel") -> StoredModel:
    return StoredModel(
        id=model.model_id, artifact_uri=model.artifact_location, complete=model.tags.get(UPLOAD) == COMPLETE
    )


def _metric(stored: StoredModel, metric: ModelMetric) -> "Metric":
    from mlflow.entities import Metric

    point = metric.point
    known = metric.dataset_name and metric.dataset_digest
    return Metric(
        point.key,
        point.value,
        point.timestamp_ms,
        point.step,
        model_id=stored.id,
        dataset_name=metric.dataset_name if known else None,
        dataset_digest=metric.dataset_digest if known else None,
    )


def _dataset_input(dataset: CapturedDataset) -> "DatasetInput":
    """What is too long for MLflow is cut; JSON that is too long is left out, as half of it is none."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(
        Dataset(
            name=cut(dataset.name, _MAX_DATASET_NAME) or "dataset",
            digest=dataset.digest[:_MAX_DATASET_DIGEST] or "-",
            source_type=dataset.source_type,
            source=_short(dataset.source, _MAX_DATASET_SOURCE) or "{}",
            schema=_short(dataset.schema, _MAX_DATASET_SCHEMA),
            profile=_short(dataset.profile, _MAX_DATASET_PROFILE),
        ),
        [
            InputTag(cut(key, _MAX_INPUT_TAG_KEY), cut(value, _MAX_INPUT_TAG_VALUE))
            for key, value in dataset.tags.items()
        ],
    )


def _short(text: str | None, limit: int) -> str | None:
    return text if text is not None and len(text) <= limit else None
