"""What an MLflow store holds of an experiment, one fact a line: run in the environment of any MLflow release.

Usage: contents.py URI EXPERIMENT. Prints a JSON object of facts by path, such as ``run/train/param/depth``. Ids that
a store chooses are left out, so that two stores that hold the same print the same.
"""

import contextlib
import io
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

_ID = re.compile(r"\b(?:tr-|m-|a-)?[0-9a-f]{32}\b|\b[0-9a-f]{16}\b|(?<=experiments/)\d+")
_OF_ONE_UPLOAD = (
    "pynb_dag_runner.uploader",
    "pynb_dag_runner.key",
    "pynb_dag_runner.note_digest",
    "mlflow.parentRunId",
)
_OF_ONE_STORE = (
    "mlflow.artifactLocation",
    "mlflow.trace.spansLocation",
    "mlflow.experimentId",
    "mlflow.trace.infoFinalized",
)
_WITH_IDS_IN_IT = ("index.md", "MLmodel")

Fact = tuple[str, Any]


def main(uri: str, experiment: str) -> None:
    """Print the facts on standard output, which has nothing else."""
    with contextlib.redirect_stdout(io.StringIO()):
        facts = dict(_facts(uri, experiment))
    json.dump(facts, sys.stdout, indent=1, sort_keys=True)


def _facts(uri: str, experiment: str) -> Iterator[Fact]:
    import mlflow

    mlflow.set_tracking_uri(uri)  # older clients look for artifacts there, whatever they were made with
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return
    for name, value in found.tags.items():
        yield f"experiment/tag/{name}", value
    runs = {run.info.run_id: run for run in client.search_runs([found.experiment_id], max_results=1000)}
    names = {run_id: _path(run, runs) for run_id, run in runs.items()}
    for run_id, run in runs.items():
        yield from _asked(f"run/{names[run_id]}", partial(_run, client, run))
    yield from _asked("model", partial(_models, client, uri, found.experiment_id, names))
    yield from _asked("trace", partial(_traces, client, uri, found.experiment_id, names))


def _asked(prefix: str, facts: Callable[[], Iterator[Fact]]) -> Iterator[Fact]:
    """Facts below a path; one that says why, where a store can't be asked."""
    try:
        for path, value in facts():
            yield f"{prefix}/{path}", value
    except Exception as error:  # noqa: BLE001 - of any kind: an old server does not know what it is asked
        yield f"{prefix}/can't be asked", f"{type(error).__name__}: {str(error)[:200]}"


def _path(run: Any, runs: dict[str, Any]) -> str:
    """The names of the runs that it is nested in, below the pipeline's run, and its own."""
    names: list[str] = []
    while (parent := run.data.tags.get("mlflow.parentRunId")) in runs:
        names.insert(0, str(run.info.run_name).replace("/", "|"))
        run = runs[parent]
    return "/".join(names) or "(pipeline)"


def _run(client: Any, run: Any) -> Iterator[Fact]:
    yield "status", run.info.status
    yield "times", [run.info.start_time, run.info.end_time]
    for name, value in run.data.params.items():
        yield f"param/{name}", value
    for name in run.data.metrics:
        points = client.get_metric_history(run.info.run_id, name)
        yield f"metric/{name}", sorted([point.step, point.timestamp, str(point.value)] for point in points)
    yield from (("tag/" + name, value) for name, value in _texts(run.data.tags))
    for used in run.inputs.dataset_inputs if run.inputs else ():
        yield f"dataset/{used.dataset.name}", [used.dataset.digest, sorted(f"{t.key}={t.value}" for t in used.tags)]
    outputs = getattr(run, "outputs", None)
    yield "models", len(outputs.model_outputs) if outputs else 0
    for path, size in _artifacts(client, run.info.run_id):
        yield f"artifact/{path}", size


def _texts(tags: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in tags.items():
        if name not in _OF_ONE_UPLOAD and name not in _OF_ONE_STORE:
            yield name, _ID.sub("ID", str(value))


def _artifacts(client: Any, run_id: str, directory: str | None = None) -> Iterator[tuple[str, int | None]]:
    for info in client.list_artifacts(run_id, directory):
        if info.is_dir:
            yield from _artifacts(client, run_id, info.path)
        else:
            yield info.path, None if info.path.rpartition("/")[2] in _WITH_IDS_IN_IT else info.file_size


def _models(client: Any, uri: str, experiment_id: str, names: dict[str, str]) -> Iterator[Fact]:
    for model in client.search_logged_models([experiment_id]):
        path = f"{names.get(model.source_run_id, '-')}/{model.name}"
        yield f"{path}/status", [str(model.status), model.model_type or None]
        for name, value in (model.params or {}).items():
            yield f"{path}/param/{name}", value
        for name, value in _texts(model.tags):
            yield f"{path}/tag/{name}", value
        for metric in model.metrics or ():
            yield f"{path}/metric/{metric.key}/{metric.step}", [str(metric.value), metric.dataset_name]
        for name, size in _downloaded(model.artifact_location, uri):
            yield f"{path}/file/{name}", size


def _downloaded(location: str, uri: str) -> Iterator[tuple[str, int | None]]:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with tempfile.TemporaryDirectory() as directory:
        get_artifact_repository(location, tracking_uri=uri).download_artifacts("", directory)
        for path in sorted(Path(directory).rglob("*")):
            if path.is_file():
                name = path.relative_to(directory).as_posix()
                yield name, None if path.name in _WITH_IDS_IN_IT else path.stat().st_size


def _traces(client: Any, uri: str, experiment_id: str, names: dict[str, str]) -> Iterator[Fact]:
    for trace in client.search_traces([experiment_id]):
        info = trace.info
        where = names.get(info.trace_metadata.get("mlflow.sourceRun", ""), "-")
        path = f"{where}/{info.tags.get('mlflow.traceName', '-')}"
        yield f"{path}/head", [str(info.state), info.request_time, info.execution_duration]
        yield f"{path}/previews", [_ID.sub("ID", str(one)) for one in (info.request_preview, info.response_preview)]
        yield from ((f"{path}/tag/{name}", value) for name, value in _texts(info.tags))
        yield from ((f"{path}/metadata/{name}", value) for name, value in _texts(info.trace_metadata))
        ids = {span.span_id: span.name for span in trace.data.spans}
        for span in trace.data.spans:
            about = [span.span_type, ids.get(span.parent_id), span.start_time_ns, span.end_time_ns, str(span.status)]
            yield f"{path}/span/{span.name}", _ID.sub("ID", json.dumps(about))
            yield f"{path}/span/{span.name}/io", _ID.sub("ID", json.dumps([span.inputs, span.outputs], default=str))
            yield f"{path}/span/{span.name}/events", [event.name for event in span.events]
        for said in info.assessments or ():
            yield f"{path}/assessment/{said.name}", [str(said.value), said.source.source_id, said.rationale]
        yield from _asked(f"{path}/attachment", partial(_attachments, info, uri))


def _attachments(info: Any, uri: str) -> Iterator[Fact]:
    for name, size in _downloaded(info.tags["mlflow.artifactLocation"], uri):
        if name.startswith("attachments/"):
            yield "file", size


if __name__ == "__main__":
    main(*sys.argv[1:])
