"""Make the JSON documents that commands print with ``--json``."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from pynb_dag_runner.run_folder import Run, TaskRun


def json_text(document: object) -> str:
    """Indented JSON with a last newline, in ASCII: a message may hold what no stream can encode."""
    return json.dumps(document, indent=1) + "\n"


def task_document(task: "TaskRun") -> dict[str, Any]:
    """A task as scripts want it; ``error`` is that of the last attempt."""
    failure = task.failure
    return {
        "name": task.name,
        "kind": task.kind,
        "status": task.status,
        "start": _time(task.start),
        "duration_s": task.duration_s,
        "attempts": len(task.attempts),
        "error": {"kind": failure.kind, "message": failure.message} if failure else None,
        "blocked_by": task.blocked_by,
    }


def run_document(run: "Run") -> dict[str, Any]:
    """A run without its tasks."""
    return {
        "run_id": run.id,
        "pipeline": run.pipeline,
        "status": run.status,
        "folder": str(run.folder),
        "start": _time(run.start),
        "end": _time(run.end),
        "duration_s": run.duration_s,
    }


def _time(time: "datetime | None") -> str | None:
    return time.isoformat().replace("+00:00", "Z") if time else None
