"""The tags by which the bridge finds again what it has sent. Pure."""

import hashlib

from mlflow_bridge.limits import storable
from pynb_dag_runner.run_folder import AttemptRun, Run, RunRecord, TaskRun
from pynb_dag_runner.run_folder.paths import encode_name

KEY = "pynb_dag_runner.key"
KIND = "pynb_dag_runner.kind"
RUN_ID = "pynb_dag_runner.run_id"
STATUS = "pynb_dag_runner.status"
UPLOAD = "pynb_dag_runner.upload"
COMPLETE = "complete"
SUPERSEDED = "superseded"
"""Value of the upload tag of a run that the bridge itself has put into MLflow's bin."""
REVISION = "pynb_dag_runner.revision"
"""How often a run was resumed, or how many attempts a task has: what grows when a run folder changes."""
UPLOADER = "pynb_dag_runner.uploader"
"""Which process made an MLflow run."""
NOTE_DIGEST = "pynb_dag_runner.note_digest"
"""Of the note as it was sent: another one was written by the user, and stays."""
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
SOURCE_RUN = "mlflow.sourceRun"
"""Metadata of a trace: MLflow's id of the run whose page shows it."""
TRACE_NAME = "mlflow.traceName"
TRACE_SESSION = "mlflow.trace.session"


def pipeline_key(run: Run | RunRecord) -> str:
    """The key of the parent run."""
    return run.id if isinstance(run, Run) else run.run_id


def task_key(run: Run, task: TaskRun) -> str:
    """The key of a task's run. The name is encoded, so that its slashes can't be taken for ours."""
    return f"{run.id}/{encode_name(task.name)}"


def attempt_key(run: Run, task: TaskRun, attempt: AttemptRun) -> str:
    """The key of an earlier attempt's run."""
    return f"{task_key(run, task)}/{attempt.number}"


def note_tags(note: str) -> dict[str, str]:
    """A note and its digest; the digest is of what MLflow will hold."""
    kept = storable(note)
    return {NOTE: kept, NOTE_DIGEST: hashlib.sha256(kept.encode()).hexdigest()[:16]}
