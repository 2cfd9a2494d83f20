"""Reading what a task logged with MLflow's own calls from its attempt's folder, without MLflow and without trust in it.

The tables are those of MLflow 3.17 and 3.18, read by the names of their columns: one that a version does not have reads
as empty. A file that can't be read is a warning, and the upload goes on without it.
"""

import math
import os
import re
import stat
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from mlflow_bridge.errors import UploadError
from mlflow_bridge.limits import cut
from mlflow_bridge.model.captured_values import (
    NOTHING,
    Captured,
    CapturedAssessment,
    CapturedDataset,
    CapturedModel,
    CapturedRun,
    CapturedTrace,
)
from mlflow_bridge.model.values import MetricPoint, ModelMetric
from mlflow_bridge.source.untrusted_database import UntrustedDatabase, open_untrusted
from mlflow_bridge.tags import PARENT, SOURCE_RUN, TRACE_NAME, TRACE_SESSION
from pynb_dag_runner.errors import RunFolderError
from pynb_dag_runner.run_folder import AttemptRun
from pynb_dag_runner.run_folder.paths import MLFLOW_ARTIFACTS, MLFLOW_DATABASE
from pynb_dag_runner.run_folder.safe_read import regular_files

MAX_RUNS = 10_000
MAX_MODELS = 10_000
MAX_TRACES = 100_000

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
_TRACE_ID = re.compile(r"tr-[0-9a-f]{32}")
_ASSESSMENT_ID = re.compile(r"a-[0-9a-f]{32}")
_EXPERIMENT_ID = re.compile(r"\d{1,20}")
_MODEL_URI = "models:/"
_IS_PROMPT = "mlflow.prompt.is_prompt"
"""Tag of those registered models that are none."""
_MAX_NAMES_CHARACTERS = 300
_MODEL_STATUSES: Mapping[object, Literal["PENDING", "READY", "FAILED"]] = {1: "PENDING", 2: "READY", 3: "FAILED"}
_LARGEST = sys.float_info.max
"""What MLflow's store writes for infinity."""
_T = TypeVar("_T")


def read_captured(folder: Path, attempt: AttemptRun) -> Captured:
    """What an attempt of the run folder ``folder`` logged with MLflow's own calls; :data:`NOTHING` if it did not."""
    relative = attempt.folder / MLFLOW_DATABASE
    if not os.path.lexists(folder / relative):
        return NOTHING
    try:
        with open_untrusted(folder, relative) as database:
            return _Reading(database, folder, attempt.folder).captured()
    except (UploadError, RunFolderError) as error:
        return Captured(warnings=(f"what the task logged to MLflow itself was not uploaded: {error}",))


class _Reading:
    """One database; ``root`` is the run folder, ``attempt`` relative to it."""

    def __init__(self, database: UntrustedDatabase, root: Path, attempt: Path) -> None:
        self._database = database
        self._root = root
        self._attempt = attempt

    def captured(self) -> Captured:
        experiments = {row[0]: _text(row[1]) for row in self._rows("experiments", "experiment_id", "name")}
        params = self._pairs("params", "run_uuid", "key", "value")
        tags = self._pairs("tags", "run_uuid", "key", "value")
        metrics = self._metrics()
        inputs = self._inputs()
        models = _grouped((model.run_id, model) for model in self._models(metrics))
        runs = []
        columns = ("run_uuid", "name", "status", "start_time", "end_time", "lifecycle_stage", "experiment_id")
        for row in self._rows("runs", *columns, most=MAX_RUNS):
            run_id, name, status, start, end, stage, experiment = row
            if stage == "deleted" or not _is(_RUN_ID, run_id):
                continue
            start_ms = _number(start, 1)
            own_tags = tags.get(run_id, {})
            runs.append(
                CapturedRun(
                    id=str(run_id),
                    name=_text(name) or own_tags.get("mlflow.runName", "") or str(run_id),
                    status=_text(status) or "RUNNING",
                    start_ms=start_ms,
                    end_ms=None if end is None else _number(end, start_ms),
                    parent_id=own_tags.get(PARENT),
                    experiment=experiments.get(experiment) if experiment else None,
                    params=params.get(run_id, {}),
                    metrics=tuple(metrics.get(run_id, ())),
                    tags=own_tags,
                    inputs=tuple(inputs.get(run_id, ())),
                    files=tuple(self._files(str(experiment), str(run_id))),
                    models=tuple(models.get(run_id, ())),
                )
            )
        runs.sort(key=lambda run: run.start_ms)  # stable: those of one millisecond in the order of their making
        there = {run.id for run in runs}
        return Captured(
            runs=tuple(runs),
            models=tuple(model for run_id, several in models.items() if run_id not in there for model in several),
            traces=tuple(sorted(self._traces(), key=lambda trace: trace.start_ms)),
            warnings=tuple(self._left_out()),
        )

    def _left_out(self) -> Iterator[str]:
        """What belongs to no run, but to all who use a server: an upload does not send it."""
        tags = self._rows("registered_model_tags", "name", "key", "value")
        found = {
            "prompts": {_text(name) for name, *tag in tags if tag == [_IS_PROMPT, "true"]},
            "evaluation datasets": {_text(name) for (name,) in self._rows("evaluation_datasets", "name")},
            "scorers": {_text(name) for (name,) in self._rows("scorers", "scorer_name")},
        }
        for what, names in found.items():
            if names:
                said = cut(", ".join(sorted(names)), _MAX_NAMES_CHARACTERS)
                yield f"{self._root / self._attempt}: {what} that the task registered stay there: {said}"

    def _rows(self, table: str, *columns: str, most: int | None = None) -> Iterator[tuple[Any, ...]]:
        return self._database.rows(table, columns, *([] if most is None else [most]))

    def _pairs(self, table: str, owner: str, key: str, value: str) -> dict[Any, dict[str, str]]:
        """Texts by owner and key."""
        pairs: dict[Any, dict[str, str]] = defaultdict(dict)
        for one, name, text in self._rows(table, owner, key, value):
            if isinstance(name, str) and name:
                pairs[one][name] = _text(text)
        return pairs

    def _metrics(self) -> dict[Any, list[MetricPoint]]:
        rows = self._rows("metrics", "run_uuid", "key", "value", "timestamp", "step", "is_nan")
        return _grouped((row[0], point) for row in rows if (point := _point(*row[1:])))

    def _inputs(self) -> dict[Any, list[CapturedDataset]]:
        tags = self._pairs("input_tags", "input_uuid", "name", "value")
        columns = ("name", "digest", "dataset_source_type", "dataset_source", "dataset_schema", "dataset_profile")
        datasets = {row[0]: row[1:] for row in self._rows("datasets", "dataset_uuid", *columns)}
        found: dict[Any, list[CapturedDataset]] = defaultdict(list)
        links = ("input_uuid", "source_type", "source_id", "destination_type", "destination_id")
        for one, source_type, source, destination_type, destination in self._rows("inputs", *links):
            if (source_type, destination_type) != ("DATASET", "RUN") or source not in datasets:
                continue
            name, digest, kind, text, schema, profile = datasets[source]
            found[destination].append(
                CapturedDataset(
                    name=_text(name),
                    digest=_text(digest),
                    source_type=_text(kind),
                    source=_text(text),
                    schema=None if schema is None else _text(schema),
                    profile=None if profile is None else _text(profile),
                    tags=tags.get(one, {}),
                )
            )
        return found

    def _models(self, run_metrics: Mapping[Any, list[MetricPoint]]) -> Iterator[CapturedModel]:
        params = self._pairs("logged_model_params", "model_id", "param_key", "param_value")
        tags = self._pairs("logged_model_tags", "model_id", "tag_key", "tag_value")
        metrics = self._model_metrics(run_metrics)
        links = self._rows("inputs", "source_type", "destination_type", "destination_id", "step")
        steps = {row[2]: _number(row[3], 0) for row in links if row[:2] == ("RUN_OUTPUT", "MODEL_OUTPUT")}
        registered = _grouped(
            (source.removeprefix(_MODEL_URI), _text(name))
            for name, source in self._rows("model_versions", "name", "source")
            if isinstance(source, str) and source.startswith(_MODEL_URI)
        )
        columns = ("model_id", "name", "status", "model_type", "source_run_id", "lifecycle_stage", "experiment_id")
        for row in self._rows("logged_models", *columns, most=MAX_MODELS):
            model_id, name, status, kind, run_id, stage, experiment = row
            if stage == "deleted" or not _is(_MODEL_ID, model_id):
                continue
            yield CapturedModel(
                id=model_id,
                name=_text(name) or model_id,
                status=_MODEL_STATUSES.get(status, "PENDING"),
                model_type=_text(kind) or None,
                run_id=_text(run_id) or None,
                step=steps.get(model_id, 0),
                params=params.get(model_id, {}),
                tags=tags.get(model_id, {}),
                metrics=tuple(metrics.get(model_id, ())),
                files=tuple(self._files(str(experiment), "models", model_id)),
                registered_as=tuple(dict.fromkeys(registered.get(model_id, ()))),
            )

    def _model_metrics(self, metrics: Mapping[Any, list[MetricPoint]]) -> dict[Any, list[ModelMetric]]:
        """A model's metrics are those of its run once more, but MLflow writes 0 here for what is no number there."""
        none = {
            (run_id, point.key, point.timestamp_ms, point.step)
            for run_id, points in metrics.items()
            for point in points
            if math.isnan(point.value)
        }
        found: dict[Any, list[ModelMetric]] = defaultdict(list)
        columns = (
            "metric_name",
            "metric_value",
            "metric_timestamp_ms",
            "metric_step",
            "dataset_name",
            "dataset_digest",
        )
        for row in self._rows("logged_model_metrics", "model_id", "run_id", *columns):
            model_id, run_id, name, value, timestamp, step, dataset, digest = row
            if point := _point(name, value, timestamp, step):
                if (run_id, point.key, point.timestamp_ms, point.step) in none:
                    point = replace(point, value=math.nan)
                metric = ModelMetric(
                    point=point, dataset_name=_text(dataset) or None, dataset_digest=_text(digest) or None
                )
                found[model_id].append(metric)
        return found

    def _traces(self) -> Iterator[CapturedTrace]:
        tags = self._pairs("trace_tags", "request_id", "key", "value")
        metadata = self._pairs("trace_request_metadata", "request_id", "key", "value")
        spans = _grouped((row[0], _text(row[1])) for row in self._rows("spans", "trace_id", "content"))
        assessments = _grouped(self._assessments())
        times = ("timestamp_ms", "execution_time_ms")
        texts = ("status", "request_preview", "response_preview", "client_request_id", "trace_name", "session_id")
        for row in self._rows("trace_info", "request_id", "experiment_id", *times, *texts, most=MAX_TRACES):
            trace_id, experiment, start, duration, state, request, response, client_id, name, session = row
            if not _is(_TRACE_ID, trace_id):
                continue
            said = metadata.get(trace_id, {})
            yield CapturedTrace(
                id=trace_id,
                run_id=said.get(SOURCE_RUN),
                name=_text(name) or tags.get(trace_id, {}).get(TRACE_NAME, ""),
                state=_text(state),
                start_ms=_number(start, 1),
                duration_ms=None if duration is None else _number(duration, 0),
                request=_text(request) or None,
                response=_text(response) or None,
                client_request_id=_text(client_id) or None,
                tags=tags.get(trace_id, {}),
                # Newer versions keep it in a column of its own.
                metadata={**said, TRACE_SESSION: _text(session)} if session else said,
                spans=tuple(spans.get(trace_id, ())),
                assessments=tuple(assessments.get(trace_id, ())),
                files=tuple(self._files(str(experiment), "traces", trace_id)),
            )

    def _assessments(self) -> Iterator[tuple[Any, CapturedAssessment]]:
        texts = ("assessment_id", "name", "assessment_type", "value", "error", "assessment_metadata")
        others = ("source_type", "source_id", "span_id", "rationale")
        numbers = ("created_timestamp", "last_updated_timestamp", "valid")
        for row in self._rows("assessments", "trace_id", *texts, *others, *numbers):
            trace_id, one, name, kind, value, error, metadata, source, source_id, span, why, *rest = row
            created, updated, valid = rest
            # One that another has replaced is not valid any more; MLflow has no way to send it as that.
            if _is(_ASSESSMENT_ID, one) and valid != 0:
                yield (
                    trace_id,
                    CapturedAssessment(
                        id=one,
                        name=_text(name),
                        kind=_text(kind),
                        value=_text(value),
                        error=_text(error) or None,
                        metadata=_text(metadata) or None,
                        source_type=_text(source),
                        source_id=_text(source_id),
                        span_id=_text(span) or None,
                        rationale=_text(why) or None,
                        created_ms=_number(created, 1),
                        updated_ms=_number(updated, 1),
                    ),
                )

    def _files(self, experiment: str, *parts: str) -> Iterator[tuple[Path, str]]:
        """Files below an artifact folder: where the ids say that it is, whatever path the database holds, as the
        folder may have been moved since.
        """
        if not _EXPERIMENT_ID.fullmatch(experiment):
            return
        folder = self._attempt.joinpath(MLFLOW_ARTIFACTS, experiment, *parts, "artifacts")
        if _is_directory(self._root, folder):
            for path in sorted(regular_files(self._root, folder)):
                yield folder / path, path.as_posix()


def _is_directory(root: Path, relative: Path) -> bool:
    """Whether it is one, reached through no link."""
    try:
        return all(stat.S_ISDIR(os.lstat(root / part).st_mode) for part in [relative, *relative.parents[:-1]])
    except OSError:
        return False


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _number(value: object, otherwise: int) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else otherwise


def _point(key: object, value: object, timestamp: object, step: object, is_nan: object = False) -> MetricPoint | None:
    """A point of a metric; None if it has no name or no number."""
    if not isinstance(key, str) or not key or not isinstance(value, int | float | None):
        return None
    number = math.nan if is_nan or value is None else float(value)
    if abs(number) >= _LARGEST:
        number = math.copysign(math.inf, number)
    return MetricPoint(key=key, value=number, step=_number(step, 0), timestamp_ms=max(1, _number(timestamp, 1)))


def _grouped(pairs: Iterable[tuple[Any, _T]]) -> dict[Any, list[_T]]:
    """Values by key, in order."""
    groups: dict[Any, list[_T]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups
