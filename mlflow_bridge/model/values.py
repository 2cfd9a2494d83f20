"""The values that cross the bridge's borders, all frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class MlflowStatus(StrEnum):
    """How an MLflow run ends. MLflow has no word for a timeout, a crash or a task that was skipped."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricPoint:
    """One value of a metric. ``timestamp_ms`` counts from 1970, UTC."""

    key: str
    value: float
    step: int = 0
    timestamp_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactFile:
    """A file of the run folder and the name that it gets among the artifacts of an MLflow run.

    Attributes:
        source: relative to the run folder.
        target: with ``/`` between its parts.
    """

    source: Path
    target: str


@dataclass(frozen=True, kw_only=True)
class MappedRun:
    """What one MLflow run shall hold.

    Attributes:
        key: stands in the tag ``pynb_dag_runner.key``; the same in every upload of the run folder.
        name: what MLflow's table shows.
        start_ms, end_ms: original times, milliseconds since 1970, UTC.
        params, metrics, tags: with keys and values that MLflow takes.
        files: in the order in which they are sent.
        texts: artifacts made here: target and content.
        revision: how often the run was resumed; of a task's run, how many attempts it has. Greater means later.
    """

    key: str
    name: str
    start_ms: int
    end_ms: int
    status: MlflowStatus
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[MetricPoint, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    files: tuple[ArtifactFile, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0


@dataclass(frozen=True, kw_only=True)
class ModelMetric:
    """A point of a metric of a model, perhaps on a dataset."""

    point: MetricPoint
    dataset_name: str | None = None
    dataset_digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class MappedModel:
    """What one logged model shall hold.

    Attributes:
        key: stands in its tag ``pynb_dag_runner.key``.
        captured_id: MLflow's, in the capture.
    """

    key: str
    captured_id: str
    name: str
    ready: bool
    model_type: str | None = None
    step: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[ModelMetric, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    files: tuple[ArtifactFile, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredModel:
    """A logged model as the store knows it. ``complete``: an upload has sent all of it."""

    id: str
    artifact_uri: str
    complete: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Part of a run's data that fits into one request."""

    params: tuple[tuple[str, str], ...] = ()
    metrics: tuple[MetricPoint, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """An MLflow experiment as the store knows it. ``artifact_location`` was fixed when it was made."""

    id: str
    name: str
    artifact_location: str
    deleted: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """An MLflow run as the store knows it. ``deleted``: in MLflow's bin, from where it can be restored."""

    id: str
    artifact_uri: str
    tags: Mapping[str, str]
    deleted: bool = False


class UploadOutcome(StrEnum):
    """What an upload did."""

    UPLOADED = "uploaded"
    COMPLETED = "completed"
    """An earlier upload had been cut off; the rest was sent."""
    UPDATED = "updated"
    """The run had been resumed since; what is new was sent."""
    RESTORED = "restored"
    """Someone had deleted it, or some of it, in MLflow; it was taken out of the bin."""
    UNCHANGED = "unchanged"
    """It was there, complete; nothing was sent."""


@dataclass(frozen=True, kw_only=True)
class UploadResult:
    """One uploaded run.

    Attributes:
        folder: the run folder.
        run_id: of the pipeline run.
        outcome: what this upload did.
        tracking_uri: of the store, without user name and password.
        experiment_id, mlflow_run_id: MLflow's own ids, of the parent run.
        url: opens the run in a browser; None if the store is a local file, which ``pynb-dag-runner ui`` shows.
        view_url: opens the experiment with its pipeline runs only, if it has the saved view; None as ``url``.
        tasks: number of nested runs.
        warnings: what the user should know, one sentence each.
    """

    folder: Path
    run_id: str
    outcome: UploadOutcome
    tracking_uri: str
    experiment_id: str
    mlflow_run_id: str
    url: str | None = None
    view_url: str | None = None
    tasks: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class UploadPlan:
    """What an upload of a run would do; nothing was changed."""

    folder: Path
    run_id: str
    outcome: UploadOutcome


@dataclass(frozen=True, kw_only=True)
class UploadFailure:
    """A run that is not in MLflow, or not completely; uploading it again goes on.

    Attributes:
        folder: the run folder, its place in an archive, or an archive or a directory that can't be read.
        error: why, one sentence.
        tried: False if MLflow did not answer any more before its turn.
    """

    folder: Path
    error: str
    tried: bool = True
