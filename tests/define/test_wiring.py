"""Names and types between tasks: a mistake is told by ``check``, by ``run`` and from Python before anything runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import Pipeline, PipelineError, Secret, tracking

TRAIN = """\
# %%
from pynb_dag_runner import tracking

# %% tags=["parameters"]
count = 1
rate: float = 0.5
label: str = "a"
data: Path = Path("x")

# %%
tracking.set_output("score", 1.0 + offset)
"""
FREE = "# %%\nprint(anything)\n"


def make(n: int = 1) -> str:
    return str(n)


def log_one() -> None:
    tracking.set_output("one", 1)


def total(xs: list[float], scale: float = 1.0) -> float:
    return scale * sum(xs)


@pytest.fixture
def p(tmp_path: Path) -> Pipeline:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "free.py").write_text(FREE)
    return Pipeline("sales", base_dir=tmp_path)


CELL = "in its notebook's parameters cell there is no parameter"


@pytest.mark.parametrize(
    ("define", "problem"),
    [
        (
            lambda p: p.notebook("train.py", parameters={"coutn": 3}),
            f"task 'train': {CELL} 'coutn'; did you mean 'count'? (extra_parameters=True lets it take more)",
        ),
        (
            lambda p: p.notebook("train.py", parameters={"zzz": 3}),
            f"task 'train': {CELL} 'zzz'; there is 'count', 'rate', 'label' and 'data' "
            "(extra_parameters=True lets it take more)",
        ),
        (
            lambda p: p.notebook("train.py", parameters={"rate": "fast"}),
            "task 'train': parameter 'rate': got 'fast', expected float",
        ),
        (
            lambda p: p.notebook("train.py", parameters={"label": 3}),
            "task 'train': parameter 'label': got 3, expected str",
        ),
        (
            lambda p: p.notebook("train.py", parameters={"rate": p.function(make).output()}),
            "task 'train': parameter 'rate': got output 'return' of task 'make', a str, expected float",
        ),
        (
            lambda p: p.function(total, parameters={"xs": p.function(make).output()}),
            "task 'total': parameter 'xs': got output 'return' of task 'make', a str, expected list[float]",
        ),
        (
            lambda p: p.function(total, parameters={"xs": [1, "2"]}),
            "task 'total': parameter 'xs': got [1, '2'], expected list[float]",
        ),
        (
            lambda p: p.function(total, parameters={"xs": [p.notebook("train.py").output("scroe")]}),
            "task 'total': it is given output 'scroe' of task 'train', "
            "but there is no output 'scroe'; did you mean 'score'?",
        ),
        (
            lambda p: p.function(total, parameters={"xs": [p.notebook("train.py").output()]}),
            "task 'total': it is given output 'return' of task 'train', "
            "but there is no output 'return'; there is 'score'",
        ),
        (
            lambda p: p.function(total, parameters={"xs": [p.notebook("free.py").output("score")]}),
            "task 'total': it is given output 'score' of task 'free', "
            "but there is no output 'score'; there is none at all",
        ),
        (
            lambda p: p.function(total, parameters={"xs": [p.function(make).output("retrun")]}),
            "task 'total': it is given output 'retrun' of task 'make', "
            "but there is no output 'retrun'; did you mean 'return'?",
        ),
    ],
)
def test_what_is_refused(p: Pipeline, tmp_path: Path, define: Callable[[Pipeline], Any], problem: str) -> None:
    define(p)
    with pytest.raises(PipelineError) as caught:
        p.build()
    assert caught.value.problems == (problem,)
    with pytest.raises(PipelineError):
        p.run(output_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "define",
    [
        lambda p: p.notebook("train.py", parameters={"coutn": 3}, extra_parameters=True),
        lambda p: p.notebook("free.py", parameters={"coutn": 3}),
        lambda p: p.notebook("train.py", parameters={"offset": 3}),  # read, and without a default
        lambda p: p.notebook("train.py", parameters={"count": "any", "rate": 1, "label": Path("a"), "data": "b"}),
        lambda p: p.notebook("train.py", parameters={"label": Secret[str]("hunter2!")}),
        lambda p: p.notebook("train.py", parameters={"rate": None}),
        lambda p: p.function(total, parameters={"xs": [p.function(log_one).output("one")]}),
        lambda p: p.notebook("train.py", parameters={"count": p.function(make).output()}),
    ],
)
def test_what_is_taken(p: Pipeline, define: Callable[[Pipeline], Any]) -> None:
    define(p)
    p.build()
