"""What is asked once for many uploads to one store: which runs of an experiment are there already, and complete.

Asked one by one, an unchanged run costs three requests; a thousand of them are listed by three.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from mlflow_bridge.errors import UploadError
from mlflow_bridge.mapping.links import run_link
from mlflow_bridge.mapping.saved_view import view_page
from mlflow_bridge.model.values import Experiment, StoredRun, UploadOutcome, UploadResult
from mlflow_bridge.store.protocol import TrackingStore
from mlflow_bridge.tags import KEY, KIND, REVISION, RUN_ID, UPLOAD, pipeline_key
from mlflow_bridge.uploads.deduplicate import chosen, is_complete, is_superseded, revision
from mlflow_bridge.uploads.experiments import check_experiment, experiment_name
from pynb_dag_runner.run_folder import RunRecord

FEW = 5
"""Up to so many, runs are asked for one by one: an experiment's list may be long."""
_PAGE = 1000
_PER_UPLOAD = 20
"""Of an experiment with many more runs than are uploaded, only the newest are listed; others are asked for."""


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """An experiment's runs: the complete ones by key, and ids of pipeline runs of which something was deleted."""

    experiment: Experiment
    complete: dict[str, StoredRun]
    damaged: frozenset[str]


class KnownRuns:
    """Uploads to one store, from several threads.

    Args:
        experiment: name of the MLflow experiment; None for the pipeline's name.
        expected: how many runs are to be uploaded, as far as that is known; see :meth:`expect`.
    """

    def __init__(self, store: TrackingStore, experiment: str | None, expected: int) -> None:
        self.store = store
        self.experiment = experiment
        self._expected = expected
        self._lock = Lock()
        self._listed: dict[str, _Listed | None] = {}
        self._runs: dict[str, Lock] = {}

    def expect(self, more: int) -> None:
        """An archive holds so many more runs than were expected."""
        with self._lock:
            self._expected += more

    @contextmanager
    def alone(self, run_id: str) -> Iterator[None]:
        """Hold off other threads from a run: archives of a CI system often hold the same one."""
        with self._lock:
            lock = self._runs.setdefault(run_id, Lock())
        with lock:
            yield

    def unchanged(self, folder: Path, run: RunRecord) -> UploadResult | None:
        """The result for a run that is known to be there as it is in its folder; None if that has to be asked.

        Raises:
            UploadError: MLflow does not answer, or the experiment's name is none.
        """
        listed = self._of(experiment_name(run, self.experiment))
        if listed is None or run.run_id in listed.damaged:
            return None
        there = listed.complete.get(pipeline_key(run))
        if there is None or revision(there) != len(run.resumes):
            return None
        return UploadResult(
            folder=folder,
            run_id=run.run_id,
            outcome=UploadOutcome.UNCHANGED,
            tracking_uri=self.store.target.shown,
            experiment_id=listed.experiment.id,
            mlflow_run_id=there.id,
            url=self.store.target.url(run_link(listed.experiment.id, there.id)),
            view_url=self.store.target.url(view_page(listed.experiment)),
            tasks=len(run.tasks),
        )

    def _of(self, name: str) -> _Listed | None:
        with self._lock:
            if name not in self._listed:
                if self._expected <= FEW:
                    return None
                self._listed[name] = self._list(name, _PAGE + _PER_UPLOAD * self._expected)
            return self._listed[name]

    def _list(self, name: str, most: int) -> _Listed | None:
        """None if there is no such experiment, or too much in its bin; whatever is wrong is said by each upload."""
        experiment = self.store.experiment(name)
        if experiment is None:
            return None
        try:
            check_experiment(experiment, self.store)
        except UploadError:
            return None
        damaged: set[str] = set()
        for kind in ("task", "attempt", "mlflow"):
            binned = list(itertools.islice(self._search(experiment, kind, deleted_only=True), most + 1))
            if len(binned) > most:
                return None
            damaged |= {run.tags.get(RUN_ID, "") for run in binned if not is_superseded(run)}
        by_key: dict[str, list[StoredRun]] = {}
        for run in itertools.islice(self._search(experiment, "pipeline"), most):
            by_key.setdefault(run.tags.get(KEY, ""), []).append(run)
        best = ((key, chosen(same)) for key, same in by_key.items())
        complete = {key: run for key, run in best if run and is_complete(run)}
        return _Listed(experiment=experiment, complete=complete, damaged=frozenset(damaged))

    def _search(self, experiment: Experiment, kind: str, *, deleted_only: bool = False) -> Iterator[StoredRun]:
        """Only what is needed of each run: a thousand descriptions are some megabytes."""
        for run in self.store.search(experiment.id, KIND, kind, deleted_only=deleted_only):
            tags = {key: run.tags[key] for key in (KEY, RUN_ID, UPLOAD, REVISION) if key in run.tags}
            yield StoredRun(id=run.id, artifact_uri="", tags=tags, deleted=run.deleted)
