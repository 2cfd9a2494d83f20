"""Runs of a single notebook, in this process: the inline executor starts real kernels as Ray's workers do."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

from pynb_dag_runner import Pipeline, TaskRun


def run_one(base: Path, name: str, source: str | None = None, **options: Any) -> tuple[TaskRun, Path]:
    """Run one notebook; gives its task and its attempt's folder."""
    if source is not None:
        (base / name).write_text(dedent(source).lstrip())
    p = Pipeline("one", base_dir=base)
    p.notebook(name, name="it", **options)
    result = p.run(executor="inline", progress=False, output_dir=base / "runs")
    task = result.tasks["it"]
    return task, result.folder / task.attempts[-1].folder


def make_kernelspec(below: Path, name: str, language: str, module: str, **spec: Any) -> None:
    """A kernelspec for ``python -m MODULE`` in a directory that JUPYTER_PATH can name."""
    folder = below / "kernels" / name
    folder.mkdir(parents=True)
    argv = [sys.executable, "-m", module, "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": name, "language": language} | spec))


def outputs_of(folder: Path) -> list[list[Mapping[str, Any]]]:
    """The outputs of each code cell of an attempt's notebook."""
    cells = json.loads((folder / "notebook.ipynb").read_text())["cells"]
    return [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]
