"""Many notebooks in one run, and many at once: no port race, no failed start, nothing left behind."""

import tempfile
from pathlib import Path

import pytest

from pynb_dag_runner import Pipeline, RunResult, RunStatus
from pynb_dag_runner.model.graph import Task
from pynb_dag_runner.model.run_settings import ExecutorName
from tests.soak import repetitions

NOTEBOOK = """# %% tags=["parameters"]
number = 0
# %%
from pynb_dag_runner import tracking
tracking.set_output("double", 2 * number)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory: whatever Jupyter, IPython, Ray or we leave in it is seen."""
    home = tmp_path / "home"
    home.mkdir()
    for variable in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "runtime"))
    return home


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)  # so that it is looked up again
    return temporary


def run_notebooks(folder: Path, count: int, *, executor: ExecutorName, num_cpus: int, rounds: int = 1) -> RunResult:
    """Run one notebook as ``count`` tasks in each round; the tasks of a round start at once, after the round before."""
    folder.mkdir()
    (folder / "double.py").write_text(NOTEBOOK)
    pipeline = Pipeline("many", base_dir=folder)
    before: list[Task] = []
    for first in range(0, count * rounds, count):
        before = [
            pipeline.notebook("double.py", name=f"double-{number}", parameters={"number": number}, after=before)
            for number in range(first, first + count)
        ]
    return pipeline.run(executor=executor, num_cpus=num_cpus, progress=False, output_dir=folder / "runs")


def assert_all_doubled(result: RunResult) -> None:
    assert result.status is RunStatus.SUCCEEDED
    outputs = [task.outputs["double"] for task in result.tasks.values()]
    assert outputs == [2 * number for number in range(len(outputs))]


def left_behind(home: Path) -> list[str]:
    """Files below the home directory that are not of an IPython profile: connection files, sockets, databases."""
    return sorted(
        path.relative_to(home).as_posix()
        for path in home.rglob("*")
        if path.is_file() and ("runtime" in path.parts or path.suffix in (".json", ".sqlite") or path.is_socket())
    )


@pytest.mark.soak
@pytest.mark.timeout(900)  # 200 of them take a minute on 2 idle processors; never a hang that passes for slowness
def test_many_notebooks_on_two_processors(home: Path, temporary: Path, tmp_path: Path) -> None:
    count = repetitions(few=30, many=200)
    assert_all_doubled(run_notebooks(tmp_path / "project", count, executor="ray", num_cpus=2))
    assert left_behind(home) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_sixteen_kernels_start_at_once_again_and_again(home: Path, tmp_path: Path) -> None:
    rounds = repetitions(few=3, many=20)
    assert_all_doubled(run_notebooks(tmp_path / "project", 16, executor="process", num_cpus=16, rounds=rounds))
    assert left_behind(home) == []
