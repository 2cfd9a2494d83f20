"""The commands ``upload`` and ``ui``, which the entry points of this package add to the command line.

The command line loads this file for every ``--help``: only click is imported at the top.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from mlflow_bridge.listener import Listener
    from mlflow_bridge.store import TrackingStore
    from mlflow_bridge.target import Target
    from mlflow_bridge.values import UploadResult
    from pynb_dag_runner.run_folder.archives import OpenedRun

_TRACKING_URI = click.option(
    "--tracking-uri",
    metavar="URI",
    help="sqlite:///FILE or http(s)://SERVER. Default: MLFLOW_TRACKING_URI, or else sqlite:///mlflow.db.",
)


@click.command()
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    metavar="RUN_DIR_OR_ZIP...",
    type=click.Path(exists=True, path_type=Path),
)
@_TRACKING_URI
@click.option("--experiment", metavar="NAME", help="MLflow experiment. Default: the pipeline's name.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a line for each run.")
def upload(
    folders: tuple[Path, ...], tracking_uri: str | None, experiment: str | None, dry_run: bool, as_json: bool
) -> None:
    """Upload run folders to MLflow, also those in a zip or tar.

    Each run becomes an MLflow run with one nested run for each task. Uploading again changes nothing, and completes
    what was cut off. Prints where each run can be found.

    Exit code: 0 all is there, 1 some upload failed, 2 wrong usage.
    """
    from mlflow_bridge.errors import UploadError
    from mlflow_bridge.target import resolve_target
    from pynb_dag_runner.errors import UsageError

    records: list[dict[str, object]] = []
    try:
        target = resolve_target(tracking_uri)
        store = _open(target, dry_run)
        for record in (record for path in folders for record in _records(path, store, experiment, dry_run)):
            records.append(record)
            if not as_json and "uri" in record:
                click.echo(record["uri"])
    except UsageError as error:
        _stop(str(error), 2)
    except UploadError as error:
        _stop(str(error), 1)
    if as_json:
        import json

        click.echo(json.dumps({"tracking_uri": target.shown, "dry_run": dry_run, "uploads": records}, indent=1))
    elif target.database and not dry_run and "uri" in records[-1]:
        _say(f"To look at it: {_ui_command(tracking_uri)}")
    sys.exit(1 if any(record["outcome"] == "failed" for record in records) else 0)


def _open(target: "Target", dry_run: bool) -> "TrackingStore | None":
    """The store; None if it does not exist and must not be made."""
    from mlflow_bridge.client import open_store

    if dry_run and target.database and not target.database.exists():
        return None
    return open_store(target)


def _records(
    path: Path, store: "TrackingStore | None", experiment: str | None, dry_run: bool
) -> "Iterator[dict[str, object]]":
    """What became of each run folder at ``path``, which may be an archive of several."""
    from mlflow_bridge.errors import UploadError
    from pynb_dag_runner.errors import RunFolderError
    from pynb_dag_runner.run_folder.archives import opened

    try:
        with opened(path) as runs:
            for run in runs:
                try:
                    yield _preview(run, store, experiment) if dry_run else _upload(run, store, experiment)
                except (UploadError, RunFolderError) as error:
                    # Of a run in an archive, people know its place there, not where it lies for the moment.
                    yield _failure(run.shown, str(error).replace(str(run.folder), str(run.shown)))
    except RunFolderError as error:
        yield _failure(path, str(error))


def _failure(path: Path, problem: str) -> dict[str, object]:
    _say(f"failed: {problem}")
    return {"folder": str(path), "outcome": "failed", "error": problem}


def _upload(opened: "OpenedRun", store: "TrackingStore | None", experiment: str | None) -> dict[str, object]:
    from mlflow_bridge.uploading import upload_folder

    assert store is not None
    with _Progress() as progress:
        result = upload_folder(opened.folder, store, experiment=experiment, listener=progress.listener())
    _say(f"{result.outcome.value}: {result.run_id} ({_count(result.tasks)}) in {result.tracking_uri}")
    for warning in result.warnings:
        _say(f"warning: {warning}")
    where = result.folder if opened.shown == opened.folder else opened.shown
    return {"folder": str(where), **_record(result)}


def _preview(opened: "OpenedRun", store: "TrackingStore | None", experiment: str | None) -> dict[str, object]:
    from mlflow_bridge.uploading import preview
    from mlflow_bridge.values import UploadOutcome

    outcome = preview(opened.folder, store, experiment=experiment)
    words = {
        UploadOutcome.UPLOADED: "would be uploaded",
        UploadOutcome.COMPLETED: "is there in part and would be completed",
        UploadOutcome.UPDATED: "has been resumed since it was uploaded; what is new would be sent",
        UploadOutcome.UNCHANGED: "is there; nothing would be sent",
    }
    _say(f"{opened.shown}: {words[outcome]}")
    return {"folder": str(opened.shown), "outcome": outcome.value}


def _record(result: "UploadResult") -> dict[str, object]:
    return {
        "outcome": result.outcome.value,
        "run_id": result.run_id,
        "uri": result.url or f"runs:/{result.mlflow_run_id}",
        "experiment_id": result.experiment_id,
        "mlflow_run_id": result.mlflow_run_id,
        "tasks": result.tasks,
        "warnings": list(result.warnings),
    }


@click.command()
@_TRACKING_URI
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=5000,
    show_default=True,
    help="Port to listen on; if it is taken, the next free one.",
)
def ui(tracking_uri: str | None, host: str, port: int) -> None:
    """Start the MLflow UI on the local store, until Ctrl-C.

    Prints the address as soon as the UI answers.
    """
    from mlflow_bridge.errors import UploadError
    from mlflow_bridge.local_ui import serve
    from mlflow_bridge.target import resolve_target
    from pynb_dag_runner.errors import UsageError

    try:
        serve(resolve_target(tracking_uri), host, port, say=_say, answer=click.echo)
    except UsageError as error:
        _stop(str(error), 2)
    except UploadError as error:
        _stop(str(error), 1)


class _Progress:
    """A counter of tasks on a terminal; silent elsewhere."""

    def __init__(self) -> None:
        self._shown = False

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            click.echo("\r\033[K", err=True, nl=False)

    def listener(self) -> "Listener":
        from mlflow_bridge.listener import Listener

        return Listener(task_done=self._task_done, waiting=self._waiting)

    def _task_done(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            self._shown = True
            click.echo(f"\ruploading: {done} of {_count(total)}", err=True, nl=False)

    def _waiting(self) -> None:
        _say("waiting for another upload of this folder to end")


def _ui_command(tracking_uri: str | None) -> str:
    import shlex

    return "pynb-dag-runner ui" + (f" --tracking-uri {shlex.quote(tracking_uri)}" if tracking_uri else "")


def _count(tasks: int) -> str:
    return "1 task" if tasks == 1 else f"{tasks} tasks"


def _say(text: str) -> None:
    from pynb_dag_runner.errors import visible

    # Names and messages of a run folder may come from a stranger.
    click.echo("\n".join(visible(line) for line in text.split("\n")), err=True)


def _stop(text: str, code: int) -> NoReturn:
    _say(f"Error: {text}")
    sys.exit(code)
