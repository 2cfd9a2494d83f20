"""The commands ``upload`` and ``ui``, which the entry points of this package add to the command line.

The command line loads this file for every ``--help``: only click is imported at the top.
"""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from mlflow_bridge.cli.upload_output import UploadOutput
    from mlflow_bridge.store.target import Target
    from mlflow_bridge.uploads.batch import UploadOptions
    from mlflow_bridge.uploads.known_runs import KnownRuns
    from pynb_dag_runner.errors import RunFolderError

_TRACKING_URI = click.option(
    "--tracking-uri",
    metavar="URI",
    help="sqlite:///FILE or http(s)://SERVER. Default: MLFLOW_TRACKING_URI, or else sqlite:///mlflow.db.",
)


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="PATH...",
    type=click.Path(exists=True, path_type=Path),
)
@_TRACKING_URI
@click.option("--experiment", metavar="NAME", help="MLflow experiment. Default: the pipeline's name.")
@click.option("--restore", is_flag=True, help="Take what was deleted in MLflow out of its bin.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Upload so many runs at once. Default: 4 on a server; always 1 on an sqlite file.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a line for each run.")
def upload(
    paths: tuple[Path, ...],
    tracking_uri: str | None,
    experiment: str | None,
    restore: bool,
    jobs: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Upload run folders to MLflow: those at PATH, in an archive (zip, tar), or at any depth below a directory.

    Each run becomes an MLflow run with one nested run for each task. Uploading again changes nothing, and completes
    what was cut off. Prints where each run can be found.

    Exit code: 0 all is there, 1 some upload failed, 2 wrong usage, 130 interrupted.
    """
    from mlflow_bridge.errors import UploadError
    from mlflow_bridge.store import upload_settings
    from mlflow_bridge.uploads.batch import UploadOptions
    from pynb_dag_runner.errors import UsageError

    options = UploadOptions(restore=restore, dry_run=dry_run)
    try:
        with upload_settings():
            code = _upload(paths, tracking_uri, experiment, options, jobs, as_json)
    except UsageError as error:
        _stop(str(error), 2)
    except UploadError as error:
        _stop(str(error), 1)
    sys.exit(code)


def _upload(
    paths: Sequence[Path],
    tracking_uri: str | None,
    experiment: str | None,
    options: "UploadOptions",
    jobs: int | None,
    json: bool,
) -> int:
    """Upload all that there is at some paths, and say how it went; returns the exit code."""
    from mlflow_bridge.cli.upload_output import UploadOutput
    from mlflow_bridge.errors import UploadError
    from mlflow_bridge.source.discovery import find_sources
    from mlflow_bridge.store.target import resolve_target
    from mlflow_bridge.uploads.batch import jobs_for, none_tried

    target = resolve_target(tracking_uri)
    sources = find_sources(paths)
    output = UploadOutput(sys.stderr, len(sources), keep=json)
    try:
        known_runs = _known_runs(target, experiment, len(sources), options.dry_run)
    except UploadError as error:
        if json:
            for failure in none_tried(sources, str(error)):
                output.done(failure)
            click.echo(output.document(target, dry_run=options.dry_run, interrupted=False))
        raise
    if jobs and jobs > 1 and target.database:
        output.say("--jobs: one run at a time, since sqlite knows one writer; a server takes several")
    at_once = jobs_for(known_runs.store, jobs, sources) if known_runs else 1
    interrupted = not _all_done(sources, known_runs, options, at_once, output)
    output.summary(dry_run=options.dry_run, interrupted=interrupted)
    if json:
        click.echo(output.document(target, dry_run=options.dry_run, interrupted=interrupted))
    elif target.database and output.sent and not interrupted:
        output.say(f"To look at it: {_ui_command(tracking_uri)}")
    if interrupted:
        _end_at_once_if_threads_are_left(130)
        return 130
    return 1 if output.failed else 0


def _all_done(
    sources: "Sequence[Path | RunFolderError]",
    known_runs: "KnownRuns | None",
    options: "UploadOptions",
    jobs: int,
    output: "UploadOutput",
) -> bool:
    """Whether nobody has interrupted it. Without ``--json``, prints where each run can be found."""
    from mlflow_bridge.cli.upload_output import uri
    from mlflow_bridge.model.values import UploadResult
    from mlflow_bridge.uploads.batch import upload_each

    try:
        for done in upload_each(sources, known_runs, options, jobs=jobs, listener=output.listener()):
            output.done(done)
            if isinstance(done, UploadResult) and not output.keep:
                click.echo(uri(done))
    except KeyboardInterrupt:
        return False
    return True


def _end_at_once_if_threads_are_left(code: int) -> None:
    """After a second Ctrl-C, threads may wait for an answer for minutes; Python would wait for them. An upload that is
    cut off at any moment is gone on with by the next one."""
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _known_runs(target: "Target", experiment: str | None, expected: int, dry_run: bool) -> "KnownRuns | None":
    """The store, opened; None if it does not exist and must not be made."""
    from mlflow_bridge.store import open_store
    from mlflow_bridge.uploads.known_runs import KnownRuns

    if dry_run and target.database and not target.database.exists():
        return None
    return KnownRuns(open_store(target), experiment, expected)


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
    from mlflow_bridge.store.local_ui import serve
    from mlflow_bridge.store.target import resolve_target
    from pynb_dag_runner.errors import UsageError

    try:
        serve(resolve_target(tracking_uri), host, port, say=_say, answer=click.echo)
    except UsageError as error:
        _stop(str(error), 2)
    except UploadError as error:
        _stop(str(error), 1)


def _ui_command(tracking_uri: str | None) -> str:
    import shlex

    return "pynb-dag-runner ui" + (f" --tracking-uri {shlex.quote(tracking_uri)}" if tracking_uri else "")


def _say(text: str) -> None:
    from pynb_dag_runner.model.text import visible

    # Names and messages of a run folder may come from a stranger.
    click.echo("\n".join(visible(line) for line in text.split("\n")), err=True)


def _stop(text: str, code: int) -> NoReturn:
    _say(f"Error: {text}")
    sys.exit(code)
