"""Upload past runs of pynb-dag-runner to MLflow, and browse them there.

The package reads run folders and nothing else of the runner. Importing it loads no MLflow: :func:`upload` does, when it
is called.
"""

from collections.abc import Iterable
from pathlib import Path

from mlflow_bridge.errors import StoreError, TargetError, UploadError
from mlflow_bridge.model.values import UploadFailure, UploadOutcome, UploadResult

__all__ = [
    "StoreError",
    "TargetError",
    "UploadError",
    "UploadFailure",
    "UploadOutcome",
    "UploadResult",
    "upload",
    "upload_many",
]


def upload(
    folder: Path | str, tracking_uri: str | None = None, experiment: str | None = None, *, restore: bool = False
) -> UploadResult:
    """Upload one run to MLflow. Repeating it changes nothing; a cut-off upload is completed.

    Until it returns, some ``MLFLOW_*`` variables are set in this process (retries, no telemetry), if they are unset.

    Args:
        folder: a run folder whose run has ended, or an archive or a directory with one such folder in it.
        tracking_uri: ``sqlite:///file.db`` or ``http(s)://server``; by default ``MLFLOW_TRACKING_URI``, and without
            that ``sqlite:///mlflow.db`` in the current directory.
        experiment: name of the MLflow experiment; by default the pipeline's name.
        restore: take what someone has deleted in MLflow out of its bin.

    Raises:
        TargetError: the URI can't be used, or MLflow is not installed.
        UploadError: this run could not be uploaded; :class:`StoreError` if MLflow refused or did not answer.
        pynb_dag_runner.errors.UsageError: there is no run, or there are several.
        pynb_dag_runner.errors.RunFolderError: it is no run folder or archive, or a damaged one.
    """
    from mlflow_bridge.store import open_store, upload_settings
    from mlflow_bridge.store.target import resolve_target
    from mlflow_bridge.uploads.batch import opened_run
    from mlflow_bridge.uploads.one_run import upload_folder

    with upload_settings(), opened_run(Path(folder)) as run:
        store = open_store(resolve_target(tracking_uri))
        result = upload_folder(run.folder, store, experiment=experiment, restore=restore)
        return run.named(result)


def upload_many(
    folders: Path | str | Iterable[Path | str],
    tracking_uri: str | None = None,
    experiment: str | None = None,
    *,
    restore: bool = False,
    jobs: int | None = None,
) -> tuple[UploadResult | UploadFailure, ...]:
    """Upload many runs to MLflow. What fails is a value; the others are uploaded all the same.

    Args:
        folders: run folders, archives of some, or directories with any of both at any depth.
        tracking_uri, experiment, restore: as for :func:`upload`.
        jobs: so many runs at once, on a server; the default was measured. A local file always gets 1.

    Returns:
        What became of each run, in the order of ``folders``, below each sorted by path. If MLflow does not answer any
        more, what is left is there as failures with ``tried=False``.

    Raises:
        TargetError: the URI can't be used, or MLflow is not installed.
        StoreError: MLflow can't be reached, or refuses to be opened; nothing was uploaded.
        pynb_dag_runner.errors.UsageError: there is nothing to upload at one of the paths.
        ValueError: ``jobs`` is less than 1.
    """
    from mlflow_bridge.source.discovery import find_sources
    from mlflow_bridge.store import open_store, upload_settings
    from mlflow_bridge.store.target import resolve_target
    from mlflow_bridge.uploads.batch import UploadOptions, jobs_for, upload_each
    from mlflow_bridge.uploads.known_runs import KnownRuns

    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs: got {jobs}, expected 1 or more")
    given = [folders] if isinstance(folders, Path | str) else folders
    sources = find_sources(Path(path) for path in given)
    with upload_settings():
        store = open_store(resolve_target(tracking_uri))
        known_runs = KnownRuns(store, experiment, len(sources))
        done = upload_each(sources, known_runs, UploadOptions(restore=restore), jobs=jobs_for(store, jobs, sources))
        return tuple(one for one in done if isinstance(one, UploadResult | UploadFailure))
