"""Notebooks whose imports were made before: what they find, and that their results are the same as without."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest

from pynb_dag_runner import RunStatus, read_run
from pynb_dag_runner.model.run_settings import ExecutorName
from tests.end_to_end.cli_process import pynb, write

PIPELINE = """
    from pynb_dag_runner import Pipeline, pipeline

    @pipeline(preload={preload})
    def figures(p: Pipeline):
        p.notebook("draw.py", after=[p.notebook("look.py")])
"""
LOOK = """
    # %%
    import sys
    from pynb_dag_runner import tracking
    tracking.set_output("there", sorted({"numpy", "matplotlib.pyplot", "pandas", "draws_at_import"} & set(sys.modules)))
"""
DRAW = """
    # %%
    import os
    import matplotlib.pyplot as plt
    import draws_at_import
    assert not os.path.exists("fails"), "as it is told"
    plt.rcParams["svg.hashsalt"] = "same"
    # %%
    plt.plot([1, 3, 2])
    # %%
    fig, ax = plt.subplots(figsize=(2, 1))
    _ = ax.bar(["a", "b"], [1, 2])
    plt.show()
    # %%
    %config InlineBackend.figure_formats = ["svg"]
    plt.figure()
    _ = plt.title("text")
    # %%
    import matplotlib
    print(matplotlib.get_backend(), plt.isinteractive(), plt.get_fignums())
    # %%
    import pandas
    pandas.DataFrame({"x": [1, 2]})
"""
DRAWS_AT_IMPORT = """
    import matplotlib.pyplot as plt
    plt.close(plt.figure())  # chooses the backend, in a process that has no shell yet
"""
PRELOAD = ["numpy", "pandas", "matplotlib.pyplot", "draws_at_import"]


def project(base: Path, preload: Sequence[str]) -> Path:
    base.mkdir()
    return write(
        base,
        {
            "pipeline.py": _dedent(PIPELINE.format(preload=list(preload))),
            "look.py": _dedent(LOOK),
            "draw.py": _dedent(DRAW),
            "modules/draws_at_import.py": _dedent(DRAWS_AT_IMPORT),
        },
    )


def _dedent(text: str) -> str:
    return re.sub("^    ", "", text.strip("\n"), flags=re.MULTILINE)


def with_modules(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(folder / "modules")}


def run(folder: Path, executor: ExecutorName, *, code: int = 0) -> Path:
    done = pynb("run", "pipeline.py", "--executor", executor, "--no-progress", cwd=folder, env=with_modules(folder))
    assert done.returncode == code, done.stderr
    return Path(done.stdout.strip())


def shown(folder: Path, attempt: int = 1) -> list[Any]:
    """The outputs of all cells, without addresses and times."""
    notebook = nbformat.read(folder / "tasks" / "draw" / f"attempt-{attempt}" / "notebook.ipynb", as_version=4)
    text = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    return list(json.loads(re.sub(r"0x[0-9a-f]+|<dc:date>[^<]*", "", text)))


def kernel_start(folder: Path, attempt: int = 1) -> Any:
    return json.loads((folder / "tasks/draw" / f"attempt-{attempt}" / "attempt.json").read_text())["kernel_start"]


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a preload."""
    return run(project(tmp_path_factory.mktemp("without") / "it", []), "process")


def test_without_a_preload_nothing_is_there(without: Path) -> None:
    assert kernel_start(without) == {"how": "forked", "preloaded": [], "remarks": []}
    assert read_run(without).by_name["look"].outputs["there"] == []


@pytest.mark.parametrize("executor", ["process", "ray"])
def test_a_notebook_finds_the_modules_and_shows_the_same_figures_also_when_it_is_resumed(
    without: Path, tmp_path: Path, executor: ExecutorName
) -> None:
    base = project(tmp_path / "with", PRELOAD)
    (base / "fails").touch()
    folder = run(base, executor, code=1)
    (base / "fails").unlink()
    assert pynb("resume", folder, "--no-progress", cwd=base, env=with_modules(base)).returncode == 0
    resumed = read_run(folder)
    assert resumed.status is RunStatus.SUCCEEDED
    assert resumed.by_name["look"].outputs["there"] == sorted(PRELOAD)
    for attempt in (1, 2):
        assert kernel_start(folder, attempt) == {"how": "forked", "preloaded": PRELOAD, "remarks": []}
    assert shown(folder, 2) == shown(without)
    assert [len(outputs) for outputs in shown(without)] == [0, 2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "executor"),
    [
        # One notebook has nothing to share out.
        (["look.py"], "process"),
        (["look.py", "--executor", "ray"], "ray"),
        (["look.py", "--executor", "inline"], "inline"),
        (["pipeline.py"], "ray"),
        (["pipeline.py", "--executor", "process"], "process"),
    ],
)
def test_who_runs_it_unless_somebody_chooses(tmp_path: Path, arguments: list[str], executor: str) -> None:
    base = project(tmp_path / "it", [])
    done = pynb("run", *arguments, "--no-progress", cwd=base, env=with_modules(base))
    assert done.returncode == 0, done.stderr
    assert json.loads((Path(done.stdout.strip()) / "run.json").read_text())["settings"]["executor"] == executor


def test_a_cluster_s_address_chooses_ray_for_a_notebook_too(tmp_path: Path) -> None:
    done = pynb("run", "look.py", "--ray-address", "127.0.0.1:1", cwd=project(tmp_path / "it", []))
    assert done.returncode != 0
    assert "no Ray cluster answers at 127.0.0.1:1" in done.stderr


def test_a_notebook_run_alone_is_resumed_where_it_ran(tmp_path: Path) -> None:
    base = project(tmp_path / "it", [])
    (base / "fails").touch()
    done = pynb("run", "draw.py", "--no-progress", cwd=base, env=with_modules(base))
    (base / "fails").unlink()
    folder = Path(done.stdout.strip())
    assert pynb("resume", folder, "--no-progress", cwd=base, env=with_modules(base)).returncode == 0
    assert read_run(folder).status is RunStatus.SUCCEEDED
    assert json.loads((folder / "run.json").read_text())["settings"]["executor"] == "process"
