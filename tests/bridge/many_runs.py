"""Many small run folders, archives of them, and the command that uploads them."""

import importlib.metadata
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from mlflow_bridge.store import MlflowStore
from tests.bridge.run_folders import Attempt, Task, make_run

(COMMAND,) = importlib.metadata.entry_points(group="pynb_dag_runner.commands", name="upload")
SMALL = Task(attempts=(Attempt(html=None, log=None),))
NONE = {"uploaded": 0, "completed": 0, "updated": 0, "restored": 0, "unchanged": 0, "failed": 0, "not_tried": 0}


def invoke(*arguments: str | Path) -> Result:
    loaded: click.Command = COMMAND.load()
    result = CliRunner().invoke(loaded, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def document(*arguments: str | Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(invoke("--json", *arguments).stdout)
    return found


def make_runs(output_dir: Path, number: int, pipeline: str = "digits") -> list[Path]:
    return [make_run(output_dir, SMALL, pipeline=pipeline, run_id=f"run-{n:03d}") for n in range(number)]


def damaged_folder(output_dir: Path, run_id: str = "damaged") -> Path:
    folder = make_run(output_dir, SMALL, run_id=run_id)
    (folder / "run.json").write_text("{")
    return folder


def zipped(top: Path, archive: Path) -> Path:
    """All files below ``top``, as CI systems store them."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(top.rglob("*")):
            file.write(path, path.relative_to(top.parent))
    return archive


@contextmanager
def counted_searches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the searches that are made of the real store."""
    calls: list[str] = []
    real = MlflowStore.search

    def search(
        self: MlflowStore, experiment_id: str, tag: str, value: str, *, deleted_only: bool = False
    ) -> Iterator[object]:
        calls.append(tag)
        return real(self, experiment_id, tag, value, deleted_only=deleted_only)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowStore, "search", search)
        yield calls
