"""GPUs on processes: which there are, who gets which, and that a task sees its own and no others."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import Pipeline, PipelineError, RunStatus
from pynb_dag_runner.executors.gpus import VARIABLE, Gpus, find_gpus
from tests.faults.kernels import start_of

LISTING = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5d1c)
  MIG 1g.10gb     Device  0: (UUID: MIG-8a1f)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-77aa)
"""


def write_program(folder: Path, text: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(text)
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        ("0", ("0",)),
        ("2, 0", ("2", "0")),
        ("GPU-5d1c,MIG-8a1f", ("GPU-5d1c", "MIG-8a1f")),
        ("", ()),
        ("-1", ()),
        ("0,-1,1", ("0",)),
        ("NoDevFiles", ()),
        ("1,1", ("1",)),
    ],
)
def test_the_variable_says_which_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, found: tuple[str, ...]
) -> None:
    (tmp_path / "nvidia7").touch()
    monkeypatch.setenv(VARIABLE, visible)
    assert find_gpus(tmp_path) == found


def test_without_it_the_device_files_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("nvidia3", "nvidia5", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert find_gpus(tmp_path) == ("0", "1")  # as CUDA counts those that it can open
    assert find_gpus(tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("program", "found"),
    [(f"#!/bin/sh\necho '{LISTING}'", ("0", "1")), ("#!/bin/sh\necho 'GPU 0: it'\nexit 9", ()), ("no program", ())],
)
def test_or_the_driver_s_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, found: tuple[str, ...]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    write_program(tmp_path, program)
    assert find_gpus(tmp_path) == found


def test_whole_ones_and_parts_are_shared_out() -> None:
    gpus, held = Gpus(["a", "b", "c"]), []

    def take(amount: float) -> tuple[str, ...] | None:
        names = gpus.choose(amount)
        if names is not None:
            gpus.take(names, amount)
            held.append((names, amount))
        return names

    assert [take(amount) for amount in (0.5, 1, 0.3, 0.3, 0.1)] == [("a",), ("b",), ("a",), ("c",), ("a",)]
    assert take(2) is None
    assert take(1) is None
    while held:
        gpus.give_back(*held.pop())
    assert take(3) == ("a", "b", "c")
    assert take(0.1) is None
    gpus.give_back(*held.pop())
    assert [take(0.1) for _ in range(10)] == [("a",)] * 10
    assert take(0.1) == ("b",)
    assert Gpus([]).choose(0.1) is None


def sees() -> list[str | None]:
    """The variable, here and in a child."""
    command = [sys.executable, "-c", f"import os; print(os.environ.get({VARIABLE!r}))"]
    return [os.environ.get(VARIABLE), subprocess.run(command, capture_output=True, text=True).stdout.strip()]


NOTEBOOK = """
# %%
import os, sys
assert "reads_gpus" in sys.modules
import reads_gpus
from pynb_dag_runner import tracking
tracking.set_output("seen", [os.environ.get("CUDA_VISIBLE_DEVICES"), reads_gpus.found])
"""


def test_a_task_sees_those_that_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "GPU-a,GPU-b")
    (tmp_path / "reads_gpus.py").write_text(f"import os\nfound = os.environ.get({VARIABLE!r})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))  # where the check before the run looks
    pipeline = Pipeline("gpus", base_dir=tmp_path, preload=["reads_gpus"])
    (tmp_path / "it.py").write_text(NOTEBOOK)
    expected = {0: "GPU-a,GPU-b", 0.5: "GPU-a", 1: "GPU-a", 2: "GPU-a,GPU-b"}
    before: list[Any] = []
    for amount in expected:  # one after the other, so that all are free
        before.append(pipeline.function(sees, name=f"function {amount}", num_gpus=amount, after=before[-1:]))
        before.append(pipeline.notebook("it.py", name=f"notebook {amount}", num_gpus=amount, after=before[-1:]))
    result = pipeline.run(executor="process", num_cpus=1, progress=False, output_dir=tmp_path / "runs")
    assert result.status is RunStatus.SUCCEEDED, {name: task.failure for name, task in result.tasks.items()}
    for amount, visible in expected.items():
        assert result.tasks[f"function {amount}"].outputs["return"] == [visible, visible]
        assert result.tasks[f"notebook {amount}"].outputs["seen"] == [visible, visible]
        assert start_of(result, f"notebook {amount}") == ("forked", ["reads_gpus"], "")
    assert os.environ[VARIABLE] == "GPU-a,GPU-b"


def test_more_than_there_are_is_refused_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0,1")
    pipeline = Pipeline("gpus", base_dir=tmp_path)
    pipeline.function(sees, num_gpus=3)
    with pytest.raises(PipelineError, match=r"num_gpus=3 \(there are 2\)"):
        pipeline.run(executor="process", progress=False, output_dir=tmp_path / "runs")
