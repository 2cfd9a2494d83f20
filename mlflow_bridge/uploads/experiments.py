"""The experiment and the parent run that an upload goes to: found, made, or restored."""

from collections.abc import Sequence
from dataclasses import replace

from mlflow_bridge.errors import UploadError
from mlflow_bridge.limits import MAX_EXPERIMENT_NAME_CHARACTERS, MAX_EXPERIMENT_TAG_CHARACTERS, cut
from mlflow_bridge.mapping.notes import defused
from mlflow_bridge.model.values import Experiment, StoredRun
from mlflow_bridge.store.protocol import TrackingStore
from mlflow_bridge.tags import KEY, NOTE, pipeline_key
from mlflow_bridge.uploads.deduplicate import chosen, deleted_by_user
from pynb_dag_runner.run_folder import Run, RunRecord


def experiment_name(run: Run | RunRecord, wanted: str | None) -> str:
    """The experiment of a run: the pipeline's name, unless the user wants another.

    Raises:
        UploadError: MLflow would refuse the name.
    """
    name = wanted or run.pipeline
    if len(name) > MAX_EXPERIMENT_NAME_CHARACTERS or not name.strip():
        raise UploadError(
            f"the experiment's name {name[:40]!r} has {len(name)} characters; MLflow takes 1 to "
            f"{MAX_EXPERIMENT_NAME_CHARACTERS}"
        )
    return name


def experiment_for(run: Run, store: TrackingStore, wanted: str | None, *, restore: bool) -> tuple[Experiment, bool]:
    """The experiment of a run, made if there is none, and whether it was taken out of MLflow's bin.

    Args:
        restore: take it out of MLflow's bin if it is there; MLflow restores all of its runs with it.

    Raises:
        UploadError: it was deleted, or can't be added to.
    """
    name = experiment_name(run, wanted)
    tags = {"mlflow.experimentKind": "custom_model_development"}
    if run.record.description and not wanted:
        tags[NOTE] = cut(defused(run.record.description), MAX_EXPERIMENT_TAG_CHARACTERS)
    experiment = store.experiment(name) or store.create_experiment(name, tags)
    restored = experiment.deleted and restore
    if restored:
        store.restore_experiment(experiment.id)
        experiment = replace(experiment, deleted=False)
    return check_experiment(experiment, store), restored


def check_experiment(experiment: Experiment, store: TrackingStore) -> Experiment:
    """An experiment that runs and files can be added to.

    Raises:
        UploadError: it was deleted, or it keeps its files behind a server and this is no server.
    """
    if experiment.deleted:
        raise UploadError(
            f"the experiment {experiment.name!r} was deleted in MLflow; restore it with --restore (with all its runs), "
            f"remove it for good with `mlflow gc`, or choose another one with --experiment"
        )
    if store.target.database and experiment.artifact_location.startswith("mlflow-artifacts:"):
        raise UploadError(
            f"the experiment {experiment.name!r} was made by an MLflow server, which alone can write its artifacts "
            f"({experiment.artifact_location}); upload to that server (--tracking-uri http://…), "
            f"or choose another experiment with --experiment"
        )
    return experiment


def existing_parent(run: Run, store: TrackingStore, experiment: Experiment) -> StoredRun | None:
    """The parent run that an earlier upload made; None if there is none.

    Raises:
        UploadError: someone has deleted it in MLflow.
    """
    found = list(store.search(experiment.id, KEY, pipeline_key(run)))
    if deleted_by_user(found):
        raise UploadError(
            f"the run {run.id} was deleted in MLflow (experiment {experiment.name!r}); "
            "restore it with --restore, or remove it for good with `mlflow gc` and upload again"
        )
    return chosen(found)


def restorable(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """What someone has deleted in MLflow and can be taken out of its bin: not runs that have been replaced.

    Args:
        runs: all runs of one pipeline run.
    """
    by_key: dict[str, list[StoredRun]] = {}
    for run in runs:
        by_key.setdefault(run.tags.get(KEY, ""), []).append(run)
    best = (chosen(replace(run, deleted=False) for run in deleted_by_user(same)) for same in by_key.values())
    return [run for run in best if run]


def restore_deleted(store: TrackingStore, runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Take out of MLflow's bin what is :func:`restorable`.

    Args:
        runs: all runs of one pipeline run.

    Returns:
        The same runs, as they are now.
    """
    restored = set()
    for run in restorable(runs):
        store.restore_run(run.id)
        restored.add(run.id)
    return [replace(run, deleted=False) if run.id in restored else run for run in runs]
