"""``run --upload`` and ``resume --upload``: hand the run folder to another package when the run has ended.

Which one, and how, is said by the entry point :data:`NAME` in the group :data:`GROUP`: a function that is called before
the run, and returns what is called after it.
"""

import functools
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from pynb_dag_runner.errors import PynbDagRunnerError, UsageError
from pynb_dag_runner.model.outcomes import RunStatus
from pynb_dag_runner.model.text import visible

if TYPE_CHECKING:
    from pynb_dag_runner.api.workflow import AfterRun
    from pynb_dag_runner.execute.runner import RunResult

GROUP = "pynb_dag_runner.after_run"
NAME = "upload"


class Uploader(Protocol):
    """What uploads a run folder."""

    def __call__(self, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
        """Upload it; gives a record for ``--json``.

        Raises nothing for what goes wrong with the upload: the record's ``outcome`` is ``failed`` then.

        Args:
            say: takes lines for people.
        """

    def command(self, folder: Path) -> str:
        """How to do the same by hand; a password is left out."""


Prepare = Callable[[str | None, str | None], Uploader]
"""Takes tracking URI and experiment, None for the defaults. Raises a ``PynbDagRunnerError`` if it would fail."""


def upload_options(command: Callable[..., int]) -> Callable[..., int]:
    """The options of this file, for a command, which gets ``prepare_upload`` instead.

    The command calls it before the run. It raises a ``UsageError`` if the upload would fail, and returns what to call
    after the run; None stands for no upload.
    """

    @functools.wraps(command)
    def with_uploader(*, upload: bool, tracking_uri: str | None, experiment: str | None, **others: Any) -> int:
        for option, value in (("--tracking-uri", tracking_uri), ("--experiment", experiment)):
            if value is not None and not upload:
                raise click.UsageError(f"{option} says where --upload uploads to; there is no --upload")
        return command(
            prepare_upload=lambda: _after_run(_prepared(tracking_uri, experiment)) if upload else None, **others
        )

    options = (
        click.option("--upload", is_flag=True, help="When the run has ended, upload it to MLflow."),
        click.option("--tracking-uri", metavar="URI", help="With --upload: where to; see upload."),
        click.option("--experiment", metavar="NAME", help="With --upload: MLflow experiment; see upload."),
    )
    decorated: Callable[..., int] = with_uploader
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def _prepared(tracking_uri: str | None, experiment: str | None) -> Uploader:
    """What uploads the run when it has ended.

    Raises:
        UsageError: nothing that uploads is installed, or it would fail: a wrong address, a store that does not answer.
    """
    found = [entry for entry in entry_points(group=GROUP) if entry.name == NAME]
    if not found:
        raise UsageError(f"--upload: nothing that uploads is installed (entry point {NAME!r} of {GROUP})")
    try:
        prepare: Prepare = found[0].load()
    except Exception as error:
        raise UsageError(f"--upload can't be loaded from {found[0].value}: {type(error).__name__}: {error}") from error
    try:
        return prepare(tracking_uri, experiment)
    except PynbDagRunnerError as error:
        raise UsageError(f"--upload: {error}; nothing has run") from error


def _after_run(uploader: Uploader) -> "AfterRun":
    """Upload the run when it has ended; whatever comes of it, the run's exit code stays."""

    def upload_now(result: "RunResult") -> dict[str, Any]:
        if result.status is RunStatus.CANCELLED:
            return {"upload": _not_now(uploader, result.folder)}
        return {"upload": uploader(result.folder, _say)}

    return upload_now


def _not_now(uploader: Uploader, folder: Path) -> dict[str, Any]:
    """Whoever has interrupted a run does not want to wait for a server."""
    _say(f"not uploaded, since the run was interrupted; to upload it: {uploader.command(folder)}")
    return {"folder": str(folder), "outcome": "failed", "error": "the run was interrupted", "tried": False}


def _say(line: str) -> None:
    click.echo(visible(line), err=True)
