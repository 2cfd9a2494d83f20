"""The ways of uploading one run that are compared: all send the same parameters, metrics, tags and files of a task."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from mlflow_bridge.mapping.runs import map_pipeline, map_task
from mlflow_bridge.model.values import MappedRun
from mlflow_bridge.store import open_store
from mlflow_bridge.store.target import resolve_target
from mlflow_bridge.uploads.one_run import upload_folder
from pynb_dag_runner.run_folder import AttemptDetails, read_attempt_details, read_run

RAW_THREADS = 4


@dataclass(frozen=True)
class Work:
    """What is to be sent: the pipeline's run and that of each task, as our own upload maps them."""

    folder: Path
    parent: MappedRun
    tasks: tuple[MappedRun, ...]

    def paths(self, run: MappedRun) -> Iterator[tuple[Path, str]]:
        """Files and the directories among the artifacts that they go to."""
        for file in run.files:
            directory, _, _ = file.target.rpartition("/")
            yield self.folder / file.source, directory


def read_work(folder: Path) -> Work:
    """Read a run folder once, before any clock runs."""
    run = read_run(folder)
    tasks = (
        map_task(run, task, read_attempt_details(run, task.last_attempt) if task.last_attempt else AttemptDetails())
        for task in run.tasks
    )
    return Work(folder=folder, parent=map_pipeline(run), tasks=tuple(tasks))


def ours(work: Work, uri: str, experiment: str) -> None:
    """What this project does, opening of the store and reading of the folder included."""
    upload_folder(work.folder, open_store(resolve_target(uri)), experiment=experiment)


def naive_fluent(work: Work, uri: str, experiment: str) -> None:
    """What most people write: nested ``start_run``, one call for each parameter, metric and file.

    It can't keep the original times.
    """
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=work.parent.name):
        _fluent(work, work.parent)
        for task in work.tasks:
            with mlflow.start_run(run_name=task.name, nested=True):
                _fluent(work, task)


def _fluent(work: Work, run: MappedRun) -> None:
    for key, value in run.params.items():
        mlflow.log_param(key, value)
    for point in run.metrics:
        mlflow.log_metric(point.key, point.value, step=point.step)
    mlflow.set_tags(dict(run.tags))
    for path, directory in work.paths(run):
        mlflow.log_artifact(str(path), directory or None)


def client_loop(work: Work, uri: str, experiment: str) -> None:
    """A careful loop over ``MlflowClient``: tags with the run, one batch for its data."""
    client = MlflowClient(uri)
    experiment_id = client.create_experiment(experiment)
    parent = _client_run(client, work, work.parent, experiment_id, {})
    for task in work.tasks:
        _client_run(client, work, task, experiment_id, {"mlflow.parentRunId": parent})


def _client_run(client: MlflowClient, work: Work, run: MappedRun, experiment_id: str, tags: dict[str, str]) -> str:
    created = client.create_run(experiment_id, run.start_ms, {**run.tags, **tags}, run.name)
    run_id = str(created.info.run_id)
    for path, directory in work.paths(run):
        client.log_artifact(run_id, str(path), directory or None)
    client.log_batch(
        run_id,
        metrics=[Metric(point.key, point.value, point.timestamp_ms, point.step) for point in run.metrics],
        params=[Param(key, value) for key, value in run.params.items()],
        tags=[RunTag("complete", "yes")],
    )
    client.set_terminated(run_id, run.status.value, run.end_ms)
    return run_id


def raw_requests(work: Work, uri: str, experiment: str) -> None:
    """The floor of a server: the same data as JSON over connections that stay open, checked by nobody."""
    made = requests.post(f"{uri}/api/2.0/mlflow/experiments/create", json={"name": experiment}, timeout=60)
    made.raise_for_status()
    experiment_id = made.json()["experiment_id"]
    sessions = threading.local()
    parent = _raw_run(sessions, work, work.parent, (uri, experiment_id), {})
    with ThreadPoolExecutor(RAW_THREADS) as pool:
        list(
            pool.map(
                lambda task: _raw_run(sessions, work, task, (uri, experiment_id), {"mlflow.parentRunId": parent}),
                work.tasks,
            )
        )


def _raw_run(
    sessions: threading.local, work: Work, run: MappedRun, where: tuple[str, str], tags: dict[str, str]
) -> str:
    uri, experiment_id = where
    session: requests.Session = sessions.__dict__.setdefault("session", requests.Session())

    def post(call: str, **body: object) -> requests.Response:
        answer = session.post(f"{uri}/api/2.0/mlflow/runs/{call}", json=body, timeout=60)
        answer.raise_for_status()
        return answer

    created = post(
        "create",
        experiment_id=experiment_id,
        start_time=run.start_ms,
        run_name=run.name,
        tags=[{"key": key, "value": value} for key, value in {**run.tags, **tags}.items()],
    )
    run_id = str(created.json()["run"]["info"]["run_id"])
    for path, directory in work.paths(run):
        target = quote(f"{experiment_id}/{run_id}/artifacts/{directory}/{path.name}".replace("//", "/"))
        with path.open("rb") as file:
            url = f"{uri}/api/2.0/mlflow-artifacts/artifacts/{target}"
            session.put(url, data=file, timeout=60).raise_for_status()
    post("update", run_id=run_id, status=run.status.value, end_time=run.end_ms)
    post(
        "log-batch",
        run_id=run_id,
        params=[{"key": key, "value": value} for key, value in run.params.items()],
        metrics=[
            {"key": point.key, "value": point.value, "timestamp": point.timestamp_ms, "step": point.step}
            for point in run.metrics
        ],
        tags=[{"key": "complete", "value": "yes"}],
    )
    return run_id


Way = Callable[[Work, str, str], None]
ON_SQLITE: dict[str, Way] = {"ours": ours, "client loop": client_loop, "naive fluent": naive_fluent}
ON_SERVER: dict[str, Way] = {**ON_SQLITE, "raw requests": raw_requests}


@contextmanager
def silent() -> Iterator[None]:
    """MLflow's own lines on standard output would be part of what is measured."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()):
        yield
