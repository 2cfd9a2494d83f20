"""Traces that a task recorded with MLflow's own calls, as what an upload sends. Pure.

Their ids are made from the attempt's key and from the experiment, so that sending one again changes it and makes no
second one. What stands in a trace of other ids (of itself in links to its attachments, of models) is written anew.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mlflow_bridge.limits import MAX_TAG_CHARACTERS, cut
from mlflow_bridge.mapping.runs import attempt_status, shared_tags, source_tags
from mlflow_bridge.mapping.timeline import hexadecimal
from mlflow_bridge.model.captured_values import CapturedTrace
from mlflow_bridge.model.values import MlflowStatus
from mlflow_bridge.tags import KEY, RUN_ID, SOURCE_RUN, TRACE_NAME
from pynb_dag_runner.run_folder import AttemptRun, Run, TaskRun

_OF_STORE = re.compile(r"mlflow\.(artifactLocation|trace\.(spansLocation|archiveLocation|archivalFailure))")
"""Tags that say where the store of the capture keeps it."""
_OF_CONTEXT = re.compile(r"mlflow\.(user|source\..*)")
_ID = re.compile(r"\b(?:tr|m|a)-[0-9a-f]{32}\b")
_UNFINISHED = ("IN_PROGRESS", "STATE_UNSPECIFIED")


@dataclass(frozen=True, kw_only=True)
class ReplayedTrace:
    """A trace with the tags and metadata that it shall have; ids are still those of the capture.

    Attributes:
        task: that recorded it.
        key: what its new id is made from.
        parent_key: of the run whose page shows it; None: the task's own.
    """

    trace: CapturedTrace
    task: str
    key: str
    parent_key: str | None = None


def replayed_trace(
    which: tuple[Run, TaskRun, AttemptRun], trace: CapturedTrace, prefix: str, parent_key: str | None
) -> ReplayedTrace:
    """A trace of an attempt.

    Args:
        prefix: of all keys of what the attempt captured.
    """
    run, task, attempt = which
    shared = shared_tags(run)
    key = f"{prefix}/{trace.id}"
    tags = {
        **{name: value for name, value in trace.tags.items() if not _OF_STORE.fullmatch(name)},
        RUN_ID: run.id,
        "pynb_dag_runner.task": task.name,
        "pynb_dag_runner.attempt": str(attempt.number),
        KEY: key,
    }
    if trace.name:
        tags[TRACE_NAME] = trace.name
    metadata = {
        **{name: value for name, value in trace.metadata.items() if value and not _OF_CONTEXT.fullmatch(name)},
        **{name: value for name, value in {**shared, **source_tags(task)}.items() if _OF_CONTEXT.fullmatch(name)},
    }
    state = trace.state
    if state in _UNFINISHED:
        # As a run that was left open: it ended as the task did.
        state = "OK" if attempt_status(attempt.outcome) is MlflowStatus.FINISHED else "ERROR"
    return ReplayedTrace(
        trace=replace(trace, state=state, tags=_fitting(tags), metadata=_fitting(metadata)),
        task=task.name,
        key=key,
        parent_key=parent_key,
    )


def new_ids(traces: Iterable[ReplayedTrace], experiment_id: str) -> dict[str, str]:
    """Ids of traces and assessments in an experiment, by those of the capture.

    Args:
        experiment_id: part of the new ones; MLflow refuses the id of a trace of another experiment.
    """
    ids = {}
    for one in traces:
        key = f"{experiment_id}/{one.key}"
        ids[one.trace.id] = f"tr-{hexadecimal(key, 32)}"
        ids |= {said.id: f"a-{hexadecimal(f'{key}/{said.id}', 32)}" for said in one.trace.assessments}
    return ids


def with_ids(trace: CapturedTrace, ids: Mapping[str, str], run_id: str) -> CapturedTrace:
    """A trace as it stands where it is uploaded to.

    Args:
        ids: new ones by those of the capture; others that occur stay.
        run_id: MLflow's id of the run whose page shows it.
    """

    def renamed(text: str) -> str:
        return _ID.sub(lambda found: ids.get(found[0], found[0]), text)

    return replace(
        trace,
        id=ids[trace.id],
        metadata={**{name: renamed(value) for name, value in trace.metadata.items()}, SOURCE_RUN: run_id},
        request=renamed(trace.request) if trace.request else None,
        response=renamed(trace.response) if trace.response else None,
        spans=tuple(map(renamed, trace.spans)),
        assessments=tuple(replace(said, id=ids[said.id]) for said in trace.assessments),
    )


def _fitting(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: cut(value, MAX_TAG_CHARACTERS) for name, value in texts.items()}
