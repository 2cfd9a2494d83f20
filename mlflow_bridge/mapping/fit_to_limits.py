"""What is to be sent is made to fit MLflow's rules; what had to be changed is kept in an artifact. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mlflow_bridge.limits import (
    MAX_PARAM_CHARACTERS,
    MAX_RUN_NAME_CHARACTERS,
    MAX_TAG_CHARACTERS,
    MAX_USER_CHARACTERS,
    artifact_name,
    cut,
    legal_keys,
)
from mlflow_bridge.model.values import ArtifactFile, MappedRun, MetricPoint, MlflowStatus

ORIGINAL_VALUES = "original-values.json"
"""Artifact that holds what MLflow could not take as it was: names that were changed, values that were cut."""


def fitted(
    *,
    key: str,
    revision: int,
    name: str,
    start_ms: int,
    end_ms: int,
    status: MlflowStatus,
    params: Mapping[str, str],
    metrics: Iterable[MetricPoint],
    tags: Mapping[str, str],
    files: Sequence[tuple[Path, PurePosixPath]],
) -> MappedRun:
    """A run whose names and values MLflow takes; what had to be changed is kept in an artifact."""
    points = list(metrics)
    param_keys, tag_keys = legal_keys(params), legal_keys(tags)
    metric_keys = legal_keys(point.key for point in points)
    targets = {str(path): artifact_name(path) for _, path in files}
    changed = {
        "names of params": _renamed(param_keys),
        "names of metrics": _renamed(metric_keys),
        "names of tags": _renamed(tag_keys),
        "names of artifacts": _renamed(targets),
        "values of params": {param_keys[k]: v for k, v in params.items() if v != cut(v, MAX_PARAM_CHARACTERS)},
        "values of tags": {tag_keys[k]: v for k, v in tags.items() if v != _tag_value(k, v)},
    }
    kept = {kind: values for kind, values in changed.items() if values}
    return MappedRun(
        key=key,
        revision=revision,
        name=cut(name, MAX_RUN_NAME_CHARACTERS),
        start_ms=start_ms,
        end_ms=max(start_ms, end_ms),
        status=status,
        params={param_keys[k]: cut(v, MAX_PARAM_CHARACTERS) for k, v in params.items()},
        metrics=tuple(
            MetricPoint(key=metric_keys[p.key], value=p.value, step=p.step, timestamp_ms=p.timestamp_ms) for p in points
        ),
        tags={tag_keys[k]: _tag_value(k, v) for k, v in tags.items()},
        files=tuple(ArtifactFile(source=source, target=targets[str(path)]) for source, path in files),
        texts={ORIGINAL_VALUES: json.dumps(kept, indent=1, ensure_ascii=True) + "\n"} if kept else {},
    )


def _tag_value(key: str, value: str) -> str:
    return cut(value, MAX_USER_CHARACTERS if key == "mlflow.user" else MAX_TAG_CHARACTERS)


def _renamed(names: Mapping[str, str]) -> dict[str, str]:
    """Original names by the new ones, of those that had to be changed."""
    return {new: old for old, new in names.items() if new != old}
