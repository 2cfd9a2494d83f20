"""What a task logged with MLflow's own calls, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from mlflow_bridge.model.values import MetricPoint, ModelMetric


@dataclass(frozen=True, kw_only=True)
class CapturedDataset:
    """A dataset that a run has used.

    Attributes:
        digest: MLflow's, of its content.
        source_type, source, schema, profile: as MLflow describes them; ``source`` is JSON of most types.
        tags: such as ``mlflow.data.context``, which says what for.
    """

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CapturedModel:
    """A logged model.

    Attributes:
        id: MLflow's, in the capture.
        status: how it was finished; PENDING: it was not.
        run_id: of the captured run that logged it.
        step: at which it was logged.
        files: relative to the run folder, and their names in the model.
        registered_as: names under which the task registered it.
    """

    id: str
    name: str
    status: Literal["PENDING", "READY", "FAILED"] = "READY"
    model_type: str | None = None
    run_id: str | None = None
    step: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[ModelMetric, ...] = ()
    files: tuple[tuple[Path, str], ...] = ()
    registered_as: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CapturedAssessment:
    """What someone, or a program, said of a trace.

    Attributes:
        id: MLflow's, in the capture.
        kind: MLflow's word: feedback, expectation, or one that a later version has.
        value, error, metadata: JSON; of ``error`` and ``metadata`` None if there is none.
        source_type, source_id: who said it, in MLflow's words.
        created_ms, updated_ms: milliseconds since 1970, UTC.
        span_id: of the span that it is about; None: the whole trace.
    """

    id: str
    name: str
    kind: str
    value: str
    error: str | None = None
    metadata: str | None = None
    source_type: str = "CODE"
    source_id: str = "default"
    created_ms: int
    updated_ms: int
    span_id: str | None = None
    rationale: str | None = None


@dataclass(frozen=True, kw_only=True)
class CapturedTrace:
    """A trace that the task recorded, by autologging or by ``mlflow.trace``.

    Attributes:
        id: MLflow's, in the capture.
        run_id: of the captured run that was active; None: there was none.
        state: MLflow's word; IN_PROGRESS if nothing has ended it.
        start_ms: milliseconds since 1970, UTC.
        duration_ms: None if it was not ended.
        request, response: what MLflow's list shows of its inputs and outputs.
        tags: may be changed later; ``metadata`` may not.
        spans: JSON of each, as MLflow wrote it.
        files: attachments, relative to the run folder, and their names in the trace.
    """

    id: str
    run_id: str | None = None
    name: str = ""
    state: str = "OK"
    start_ms: int = 1
    duration_ms: int | None = None
    request: str | None = None
    response: str | None = None
    client_request_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    spans: tuple[str, ...] = ()
    assessments: tuple[CapturedAssessment, ...] = ()
    files: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class CapturedRun:
    """An MLflow run that a task made.

    Attributes:
        id: MLflow's, in the capture.
        status: MLflow's word; RUNNING if nothing has ended it.
        start_ms, end_ms: milliseconds since 1970, UTC; ``end_ms`` is None if nothing has ended it.
        parent_id: of the captured run that it is nested in.
        experiment: its experiment's name; None: the default one.
        metrics: all points, with nan and infinities.
        files: relative to the run folder, and their names among the run's artifacts.
    """

    id: str
    name: str
    status: str
    start_ms: int
    end_ms: int | None = None
    parent_id: str | None = None
    experiment: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[MetricPoint, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[CapturedDataset, ...] = ()
    files: tuple[tuple[Path, str], ...] = ()
    models: tuple[CapturedModel, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Captured:
    """All that one attempt logged with MLflow's own calls.

    Attributes:
        runs: in the order in which they began.
        models: those that belong to none of the runs.
        traces: in the order in which they began.
        warnings: what could not be read, one sentence each.
    """

    runs: tuple[CapturedRun, ...] = ()
    models: tuple[CapturedModel, ...] = ()
    traces: tuple[CapturedTrace, ...] = ()
    warnings: tuple[str, ...] = ()


NOTHING = Captured()


@dataclass(frozen=True, kw_only=True)
class Native:
    """What a task's own run gets from the captured one that joins it, beside parameters and tags.

    Attributes:
        metrics: with names as logged.
        tags: of MLflow, which its UI reads.
        files: relative to the run folder, and their names among the artifacts.
    """

    metrics: tuple[MetricPoint, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    files: tuple[tuple[Path, PurePosixPath], ...] = ()


NO_NATIVE = Native()
