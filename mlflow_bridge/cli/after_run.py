"""``run --upload``: the store is tried before the run, and the run folder uploaded after it.

Both in processes of their own: MLflow takes 1.5 s and 100 MB to import and sets variables of the environment, which
the driver of a run, and the tasks that inherit them, shall not have.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_bridge.errors import StoreError
from mlflow_bridge.store.target import Target, resolve_target

_GRACE_S = 10.0
_TRY = "import sys; from mlflow_bridge.cli.after_run import try_store; sys.exit(try_store(sys.argv[1:]))"
_UPLOAD = "import sys; from mlflow_bridge.cli.commands import upload; upload(sys.argv[1:])"


@dataclass(frozen=True, kw_only=True)
class UploadAfterRun:
    """Uploads a run folder to where :func:`prepare` has found a store."""

    target: Target
    tracking_uri: str | None
    experiment: str | None

    def __call__(self, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
        """Upload a run folder.

        Args:
            say: takes lines for people.

        Returns:
            A record as ``upload --json`` has it. Its outcome is ``failed`` if anything goes wrong; nothing is raised.
        """
        options = _options(self.target, self.tracking_uri)
        if self.experiment:
            options.append(f"--experiment={self.experiment}")
        record = _uploaded(folder, options, say)
        if record["outcome"] == "failed":
            # Why, the other process has said.
            say(f"the upload failed; the run folder is complete. To upload it: {self.command(folder)}")
        elif str(record["uri"]).startswith("http"):
            say(str(record["uri"]))
        return record

    def command(self, folder: Path) -> str:
        """How to upload the folder by hand. A password is not said."""
        words = ["pynb-dag-runner", "upload", str(folder)]
        if self.tracking_uri:
            words += ["--tracking-uri", self.target.shown]
        if self.experiment:
            words += ["--experiment", self.experiment]
        return shlex.join(words)


def prepare(tracking_uri: str | None, experiment: str | None) -> UploadAfterRun:
    """Make sure that the store answers; an sqlite file is made.

    Raises:
        TargetError: the URI can't be used.
        StoreError: MLflow is not installed, or the store does not answer.
    """
    target = resolve_target(tracking_uri)
    tried = _python(_TRY, *_options(target, tracking_uri), capture=True)
    if tried.returncode:
        raise StoreError(tried.stderr.strip() or f"the store can't be tried (exit code {tried.returncode})")
    return UploadAfterRun(target=target, tracking_uri=tracking_uri, experiment=experiment)


def _options(target: Target, tracking_uri: str | None) -> list[str]:
    """A file with its absolute path: a task may change the directory of this process."""
    uri = target.uri if target.database else tracking_uri
    return [f"--tracking-uri={uri}"] if uri else []


def try_store(options: list[str]) -> int:
    """Open the store that ``--tracking-uri=URI`` names; says on stderr what is wrong with it. Returns an exit code."""
    from mlflow_bridge.store import open_store
    from pynb_dag_runner.errors import PynbDagRunnerError

    try:
        open_store(resolve_target(options[0].removeprefix("--tracking-uri=") if options else None))
    except PynbDagRunnerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _uploaded(folder: Path, options: list[str], say: Callable[[str], None]) -> dict[str, Any]:
    """The record of the only upload; made up, and said, if the process ends without one."""
    failed = {"folder": str(folder), "outcome": "failed", "tried": True}
    try:
        ended = _python(_UPLOAD, "--json", *options, str(folder), capture=False)
    except KeyboardInterrupt:
        return {**failed, "error": "it was interrupted"}
    try:
        (record,) = json.loads(ended.stdout)["uploads"]
        return dict(record)
    except ValueError:
        error = f"its process ended with exit code {ended.returncode} and no result"
        say(f"upload: {error}")
        return {**failed, "error": error}


def _python(code: str, *arguments: str, capture: bool) -> "subprocess.CompletedProcess[str]":
    """Another Python. ``capture`` its stderr; else it is shown, as that of this process."""
    # -P: a module of the user's project may have the name of one that an upload needs.
    command = [sys.executable, "-P", "-c", code, *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if capture else None,
        text=True,
        stdin=subprocess.DEVNULL,
    ) as process:
        try:
            out, err = process.communicate()
        except KeyboardInterrupt:
            # The terminal has told it, too.
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err or "")
