"""What a task logged with MLflow's own calls, as what an upload sends. Pure.

The first run that is nested in no other is the task's *main* run: what calls without ``start_run`` go to, or the one
that the task began. It joins the task's own run; every other one becomes a run nested in that, or in each other as the
task nested them. Names that both have are kept both:

===============================  ==========================================================================
parameter                        as ``tracking.log_param`` of the runner; what that logged too keeps its name, and
                                 MLflow's becomes ``mlflow.<name>``
metric                           its points beside those that ``tracking.log_metric`` logged
tag                              as parameters; those of MLflow itself as for ``tracking.set_tag``
artifact                         under its own name; one that the runner's files have, below ``mlflow/``
===============================  ==========================================================================

To upload an attempt: ``replayed`` gives a :class:`Replay`; ``map_task`` or ``map_attempt`` take its ``details`` and
``native``; when that run has been made and before it is marked as complete, ``native_runs.send_native`` sends the rest.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from mlflow_bridge.limits import MAX_PARAM_CHARACTERS, MAX_TAG_CHARACTERS, artifact_name, cut, legal_keys
from mlflow_bridge.mapping.fit_to_limits import ORIGINAL_VALUES, fitted
from mlflow_bridge.mapping.runs import attempt_status, milliseconds, shared_tags, source_tags, user_tags
from mlflow_bridge.mapping.task_traces import ReplayedTrace, replayed_trace
from mlflow_bridge.model.captured_values import NO_NATIVE, Captured, CapturedDataset, CapturedModel, CapturedRun, Native
from mlflow_bridge.model.values import ArtifactFile, MappedModel, MappedRun, MetricPoint, MlflowStatus
from mlflow_bridge.tags import KEY, KIND, REVISION, STATUS, attempt_key
from pynb_dag_runner.run_folder import AttemptDetails, AttemptRun, Run, TaskRun
from pynb_dag_runner.run_folder.paths import ARTIFACTS, LOG, NOTEBOOK, NOTEBOOK_HTML

REGISTERED = "pynb_dag_runner.registered_as"
"""Tag of a model with the names under which the task registered it; an upload registers nothing."""
_EXPERIMENT = "pynb_dag_runner.mlflow_experiment"
_MLFLOW_STATUS = "pynb_dag_runner.mlflow_status"
_OF_CONTEXT = re.compile(
    r"mlflow\.(user|parentRunId|source\..*|log-model\.history)|pynb_dag_runner\.(run_id|task|attempt)"
)
"""Set by MLflow or by us on every run; the runs in which these end up have tags of their own for that."""
_READ_BY_UI = ("mlflow.autologging", "mlflow.loggedArtifacts")
_NAME = "mlflow.runName"
_GENERATED_NAME = re.compile(r"[a-z]+-[a-z]+-\d{1,3}")
"""As MLflow names a run whose maker gives it no name (``mlflow/utils/name_utils.py``)."""
_RESERVED = (NOTEBOOK, NOTEBOOK_HTML, LOG, ORIGINAL_VALUES)
_ILLEGAL_IN_MODEL_NAME = re.compile(r"[/:.%\"']")
_MAX_MODEL_NAME_CHARACTERS = 256
_STATUSES = {status.value: status for status in MlflowStatus}


@dataclass(frozen=True, kw_only=True)
class ReplayedRun:
    """A run beside the main one.

    Attributes:
        parent_key: of the one that it is nested in; None: the task's own.
    """

    mapped: MappedRun
    parent_key: str | None = None
    inputs: tuple[CapturedDataset, ...] = ()
    models: tuple[MappedModel, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Replay:
    """An attempt with all that it logged, by whatever calls.

    Attributes:
        details: with parameters and tags of the main run among its own.
        native: the rest of the main run.
        inputs, models: of the main run.
        runs: all others, none before the one that it is nested in.
        traces: of all runs and of none, with the ids of the capture.
        warnings: what could not be read, one sentence each.
    """

    details: AttemptDetails = field(default_factory=AttemptDetails)
    native: Native = NO_NATIVE
    inputs: tuple[CapturedDataset, ...] = ()
    models: tuple[MappedModel, ...] = ()
    runs: tuple[ReplayedRun, ...] = ()
    traces: tuple[ReplayedTrace, ...] = ()
    warnings: tuple[str, ...] = ()


def replayed(run: Run, task: TaskRun, attempt: AttemptRun, details: AttemptDetails, captured: Captured) -> Replay:
    """What is to be sent of an attempt."""
    # Not the task's own key: a resume makes its run that of an earlier attempt, and what is nested in it stays.
    prefix = f"{attempt_key(run, task, attempt)}/mlflow"
    ids = {one.id for one in captured.runs}
    main = next((one for one in captured.runs if one.parent_id not in ids), None)
    loose = [_model(prefix, model) for model in captured.models]
    others = {one.id: one for one in captured.runs if one is not main}
    traces = tuple(
        replayed_trace((run, task, attempt), one, prefix, f"{prefix}/{one.run_id}" if one.run_id in others else None)
        for one in captured.traces
    )
    if main is None:
        return Replay(details=details, models=tuple(loose), traces=traces, warnings=captured.warnings)
    return Replay(
        details=replace(
            details,
            params=_both(main.params, details.params),
            tags=_both(_tags_of_main(main), details.tags),
        ),
        native=Native(
            metrics=main.metrics,
            tags=_tags_beside(main, attempt),
            files=tuple(_beside(main.files, details.artifacts)),
        ),
        inputs=main.inputs,
        models=tuple([_model(prefix, model) for model in main.models] + loose),
        runs=tuple(
            ReplayedRun(
                mapped=_other_run(run, task, attempt, one, f"{prefix}/{one.id}"),
                parent_key=f"{prefix}/{one.parent_id}" if one.parent_id in others else None,
                inputs=one.inputs,
                models=tuple(_model(prefix, model) for model in one.models),
            )
            for one in _parents_first(others)
        ),
        traces=traces,
        warnings=captured.warnings,
    )


def _parents_first(runs: Mapping[str, CapturedRun]) -> Iterator[CapturedRun]:
    """Each run after its parent; those of a circle, which no MLflow makes, hang on the task's own run."""
    children: dict[str | None, list[CapturedRun]] = {}
    for run in runs.values():
        children.setdefault(run.parent_id if run.parent_id in runs else None, []).append(run)
    left = dict(runs)
    while left:
        roots = children.pop(None, None)
        if roots is None:
            first = next(iter(left.values()))
            if first.parent_id is not None:
                children[first.parent_id].remove(first)
            roots = [replace(first, parent_id=None)]
        waiting = roots[::-1]
        while waiting:
            run = waiting.pop()
            if left.pop(run.id, None) is not None:
                yield run
                waiting += children.pop(run.id, [])[::-1]


def _both(native: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    """Two sets of named texts; where they differ about a name, MLflow's gets another one."""
    return {
        **{f"mlflow.{name}" if ours.get(name, value) != value else name: value for name, value in native.items()},
        **ours,
    }


def _own_tags(run: CapturedRun) -> dict[str, str]:
    """Tags that say something which the run would not have otherwise."""
    return {
        name: value
        for name, value in run.tags.items()
        if not _OF_CONTEXT.fullmatch(name) and name not in (*_READ_BY_UI, _NAME)
    }


def _tags_of_main(run: CapturedRun) -> dict[str, str]:
    tags = _own_tags(run)
    return tags if _GENERATED_NAME.fullmatch(run.name) else {**tags, _NAME: run.name}


def _tags_beside(run: CapturedRun, attempt: AttemptRun) -> dict[str, str]:
    """Tags that are no user's."""
    status = _status(run, attempt)
    differs = status is not attempt_status(attempt.outcome)
    return {
        **{name: value for name, value in run.tags.items() if name in _READ_BY_UI},
        **_experiment(run),
        **({_MLFLOW_STATUS: status.value} if differs else {}),
    }


def _experiment(run: CapturedRun) -> dict[str, str]:
    return {_EXPERIMENT: run.experiment} if run.experiment else {}


def _status(run: CapturedRun, attempt: AttemptRun) -> MlflowStatus:
    """How it ended; what the end of the task's process has ended, ended as the task did."""
    end_ms = milliseconds(attempt.end) if attempt.end else None
    if run.end_ms is None or (end_ms is not None and run.end_ms > end_ms):
        return attempt_status(attempt.outcome)
    return _STATUSES.get(run.status) or attempt_status(attempt.outcome)


def _other_run(run: Run, task: TaskRun, attempt: AttemptRun, captured: CapturedRun, key: str) -> MappedRun:
    status = _status(captured, attempt)
    latest = max([captured.start_ms, *(point.timestamp_ms for point in captured.metrics)])
    end_ms = captured.end_ms or (milliseconds(attempt.end) if attempt.end else latest)
    tags = {
        KIND: "mlflow",
        "pynb_dag_runner.task": task.name,
        "pynb_dag_runner.attempt": str(attempt.number),
        STATUS: status.value,
        REVISION: str(attempt.number),
        KEY: key,
        **_experiment(captured),
        **shared_tags(run),
        **source_tags(task),
        **{name: value for name, value in captured.tags.items() if name in _READ_BY_UI},
    }
    return fitted(
        key=key,
        revision=attempt.number,
        name=captured.name,
        start_ms=captured.start_ms,
        end_ms=end_ms,
        status=status,
        params=captured.params,
        metrics=captured.metrics,
        tags={**user_tags(_own_tags(captured)), **tags},
        files=[(source, PurePosixPath(name)) for source, name in captured.files],
    )


def _beside(files: Iterable[tuple[Path, str]], artifacts: Iterable[Path]) -> Iterator[tuple[Path, PurePosixPath]]:
    """Files of the main run with names that none of the attempt's own files has, nor a folder of theirs."""
    taken = {PurePosixPath(name) for name in _RESERVED} | {PurePosixPath(ARTIFACTS, one) for one in artifacts}
    folders = {folder for path in taken for folder in path.parents[:-1]} | {PurePosixPath(ARTIFACTS)}
    for source, name in files:
        path = PurePosixPath(name)
        clashes = path in taken or path in folders or any(folder in taken for folder in path.parents)
        yield source, PurePosixPath("mlflow", name) if clashes or path.parts[0] == "mlflow" else path


def _model(prefix: str, model: CapturedModel) -> MappedModel:
    tags = user_tags({name: value for name, value in model.tags.items() if not _OF_CONTEXT.fullmatch(name)})
    if model.registered_as:
        tags[REGISTERED] = ", ".join(model.registered_as)
    tag_keys, param_keys = legal_keys(tags), legal_keys(model.params)
    metric_keys = legal_keys(metric.point.key for metric in model.metrics)
    key = f"{prefix}/{model.id}".replace("'", "%27")  # it stands in a search; no % in it is a task's own
    return MappedModel(
        key=key,
        captured_id=model.id,
        name=_ILLEGAL_IN_MODEL_NAME.sub("_", model.name)[:_MAX_MODEL_NAME_CHARACTERS],
        ready=model.status == "READY",
        model_type=model.model_type,
        step=model.step,
        params={param_keys[name]: cut(value, MAX_PARAM_CHARACTERS) for name, value in model.params.items()},
        metrics=tuple(
            replace(metric, point=_renamed(metric.point, metric_keys[metric.point.key])) for metric in model.metrics
        ),
        tags={**{tag_keys[name]: cut(value, MAX_TAG_CHARACTERS) for name, value in tags.items()}, KEY: key},
        files=tuple(
            ArtifactFile(source=source, target=artifact_name(PurePosixPath(name))) for source, name in model.files
        ),
    )


def _renamed(point: MetricPoint, key: str) -> MetricPoint:
    return replace(point, key=key)


MLMODEL = "MLmodel"


def mlmodel_text(text: str, *, model_id: str, run_id: str, artifact_uri: str) -> str:
    """A model's description with the ids and the place that it has where it is uploaded to.

    Args:
        text: YAML, as MLflow writes it.
    """
    values = {"artifact_path": artifact_uri, "run_id": run_id, "model_id": model_id, "model_uuid": model_id}
    # A long value goes on in lines that are indented. JSON's texts are YAML's, too.
    return re.sub(
        rf"(?m)^({'|'.join(values)}):.*(?:\n +.*)*$",
        lambda found: f"{found[1]}: {json.dumps(values[found[1]])}",
        text,
    )
