"""Upload past runs of pynb-dag-runner to MLflow, and browse them there.

The package reads run folders and nothing else of the runner. Importing it loads no MLflow: :func:`upload` does, when it
is called.
"""

from pathlib import Path

from mlflow_bridge.errors import StoreError, TargetError, UploadError
from mlflow_bridge.values import UploadOutcome, UploadResult

__all__ = ["StoreError", "TargetError", "UploadError", "UploadOutcome", "UploadResult", "upload"]


def upload(folder: Path | str, tracking_uri: str | None = None, experiment: str | None = None) -> UploadResult:
    """Upload one run folder to MLflow. Repeating it changes nothing; a cut-off upload is completed.

    Sets ``MLFLOW_DISABLE_TELEMETRY`` and ``MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT`` in this process if they are unset.

    Args:
        folder: a run folder whose run has ended.
        tracking_uri: ``sqlite:///file.db`` or ``http(s)://server``; by default ``MLFLOW_TRACKING_URI``, and without
            that ``sqlite:///mlflow.db`` in the current directory.
        experiment: name of the MLflow experiment; by default the pipeline's name.

    Raises:
        TargetError: the URI can't be used, or MLflow is not installed.
        UploadError: this run could not be uploaded; :class:`StoreError` if MLflow refused or did not answer.
        pynb_dag_runner.errors.RunFolderError: it is no run folder, or a damaged one.
    """
    from mlflow_bridge.client import open_store
    from mlflow_bridge.target import resolve_target
    from mlflow_bridge.uploading import upload_folder

    return upload_folder(Path(folder), open_store(resolve_target(tracking_uri)), experiment=experiment)
