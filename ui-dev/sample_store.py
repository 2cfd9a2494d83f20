"""A throw-away MLflow store with the sample runs in it, and MLflow's UI on it.

Both are made by the commands that users type.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sample_runs import PROGRAM

_PATIENCE_S = 120.0


class StoreProblem(Exception):
    """The store could not be filled, or its UI did not start."""


@dataclass(frozen=True, kw_only=True)
class UploadedRun:
    """A run folder's place in the store: MLflow's ids of its experiment and its parent run, and the id of the run."""

    experiment_id: str
    mlflow_run_id: str
    run_id: str

    @property
    def experiment_page(self) -> str:
        """The table of runs; relative to the address of the UI."""
        return f"/#/experiments/{self.experiment_id}/runs?workflowType=machine_learning"

    @property
    def view_page(self) -> str:
        """The saved view of the experiment; relative to the address of the UI."""
        return f"{self.experiment_page}&viewStateShareKey=pynb-dag-runner"

    @property
    def page(self) -> str:
        """The run's own page; relative to the address of the UI."""
        return f"/#/experiments/{self.experiment_id}/runs/{self.mlflow_run_id}?workflowType=machine_learning"


@dataclass(frozen=True, kw_only=True)
class SampleUi:
    """MLflow's UI on the sample runs: its address, and the uploaded runs by how they ended."""

    address: str
    runs: dict[str, UploadedRun]

    def experiment_page(self) -> str:
        """The table of all runs."""
        return self.address + self.runs["succeeded"].experiment_page

    def run_page(self, name: str) -> str:
        """The page of a parent run, by the name of its sample."""
        return self.address + self.runs[name].page


def fill_store(directory: Path, folders: Mapping[str, Path]) -> dict[str, UploadedRun]:
    """Upload run folders to the store; those that are there already stay as they are.

    Args:
        directory: holds the store, which is made if it is not there.
        folders: name for people -> run folder.

    Raises:
        StoreProblem: an upload failed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    return upload_runs(_uri(directory), folders)


def upload_runs(uri: str, folders: Mapping[str, Path], *options: str) -> dict[str, UploadedRun]:
    """Upload run folders.

    Args:
        uri: of a file or a server.
        folders: name for people -> run folder.
        options: of the command.

    Raises:
        StoreProblem: an upload failed.
    """
    command = [str(PROGRAM), "upload", "--json", "--tracking-uri", uri, *options, *map(str, folders.values())]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    )
    if done.returncode != 0:
        raise StoreProblem(f"the upload ended with exit code {done.returncode}:\n{done.stderr}")
    fields = UploadedRun.__dataclass_fields__
    uploads = [{field: upload[field] for field in fields} for upload in json.loads(done.stdout)["uploads"]]
    return {name: UploadedRun(**upload) for name, upload in zip(folders, uploads, strict=True)}


@contextmanager
def running_ui(directory: Path, first_port: int) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """MLflow's UI on the store: its address, without a slash at the end, and its process.

    Args:
        first_port: the one to listen on, or the next free one.

    Raises:
        StoreProblem: the UI did not start.
    """
    command = [str(PROGRAM), "ui", "--tracking-uri", _uri(directory), "--port", str(first_port)]
    with (directory / "ui.log").open("w+") as log:
        # In a session of its own: Ctrl-C reaches this process only, which then ends the other.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
        try:
            assert process.stdout
            # The command prints its address as soon as the UI answers; an end without an address is an empty line.
            address = process.stdout.readline().split("/#/")[0].strip()
            if not address:
                log.seek(0)
                raise StoreProblem(f"the UI did not start:\n{log.read()}")
            yield address, process
        finally:
            process.terminate()
            process.communicate()


def _uri(directory: Path) -> str:
    return f"sqlite:///{directory.absolute() / 'mlflow.db'}"
