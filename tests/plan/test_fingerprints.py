"""Fingerprints: the same in every process, another one for every change that matters."""

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from pydantic import Secret

from pynb_dag_runner import Pipeline
from pynb_dag_runner.plan.fingerprints import fingerprint
from pynb_dag_runner.run_folder.records import FingerprintRecord


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: int
    names: set[str]


class Ring:
    """Holds itself."""

    def __init__(self, size: int) -> None:
        self.size, self.me = size, self


def take(value: Any = None, **more: Any) -> None:
    pass


def adder(amount: int) -> Callable[[], int]:
    def add() -> int:
        return amount

    return add


def of_function(function: Callable[..., Any], **parameters: Any) -> FingerprintRecord:
    return fingerprint(Pipeline("p").function(function, name="t", parameters=parameters))


def of_value(value: Any) -> str:
    return of_function(take, value=value).parameters["value"]


VALUES = [
    None,
    True,
    1,
    1.0,
    float("nan"),
    float("inf"),
    "1",
    b"1",
    [1, 2],
    (1, 2),
    [2, 1],
    {1, 2},
    {"a": 1},
    {"a": 2},
    {"a": [1, {"b": None}]},
    Path("/a"),
    "/a",
    Decimal("1.0"),
    Decimal("1.00"),
    datetime(2026, 1, 1, tzinfo=UTC),
    Colour.RED,
    Colour.BLUE,
    Point(1, {"a", "b"}),
    Point(2, {"a", "b"}),
    Ring(1),
    Ring(2),
    adder(1),
    adder(2),
    functools.partial(take, 1),
    functools.partial(take, 2),
    int,
    str,
]


def test_different_values_have_different_fingerprints() -> None:
    assert len({of_value(value) for value in VALUES}) == len(VALUES)


def test_equal_values_have_the_same_whatever_their_order() -> None:
    assert of_value({"a": 1, "b": 2}) == of_value({"b": 2, "a": 1})
    assert of_value(Point(1, {"x", "y"})) == of_value(Point(1, {"y", "x"}))
    assert of_value(adder(3)) == of_value(adder(3))


def test_an_output_counts_by_its_name() -> None:
    def of_output(task: str, name: str) -> str:
        p = Pipeline("p")
        made = p.function(take, name=task)
        return fingerprint(p.function(take, name="t", parameters={"value": [made.output(name)]})).parameters["value"]

    assert of_output("a", "x") == of_output("a", "x")
    assert len({of_output("a", "x"), of_output("b", "x"), of_output("a", "y")}) == 3


def test_a_secret_leaves_no_trace() -> None:
    assert of_value([Secret("1234")]) == of_value([Secret("5678")])


def test_a_value_that_can_not_be_taken_apart_is_never_the_same() -> None:
    class Odd:
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise TypeError("not me")

    odd = Odd()
    assert of_value(odd) != of_value(odd)


PIPELINE = """
    import sys
    from dataclasses import dataclass, field
    from pynb_dag_runner import Pipeline
    from pynb_dag_runner.plan.fingerprints import fingerprint

    @dataclass
    class Config:
        names: set = field(default_factory=lambda: {"one", "two", "three", "four"})

    def work(a, b, *, c={"x", "y", "z"}):
        return a, b, c

    def outer(n):
        return lambda a, b: (a, b, n)

    if __name__ == "__main__":
        p = Pipeline("p")
        names = {"alpha", "beta", "gamma", "delta"}
        for function in (work, outer(frozenset(names)), eval("lambda a, b: (a, b)")):
            p.function(function, name="t", parameters={"a": names, "b": Config()})
        print([fingerprint(task) for task in p._tasks])
"""


def test_they_are_the_same_in_every_process(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.py"
    path.write_text(dedent(PIPELINE))
    said = {
        subprocess.run(
            [sys.executable, path], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


def source_of(path: Path, **options: Any) -> str:
    return fingerprint(Pipeline("p", base_dir=path.parent).notebook(path, name="t", **options)).source


def test_a_notebook_is_its_cells_and_not_its_outputs(tmp_path: Path) -> None:
    code: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "id": "a",
        "metadata": {},
        "outputs": [],
        "source": "1 + 1",
    }
    output = {"output_type": "execute_result", "execution_count": 3, "metadata": {}, "data": {"text/plain": "2"}}

    def notebook(name: str, **changes: Any) -> Path:
        content = {"cells": [code | changes], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    plain = source_of(notebook("plain.ipynb"))
    assert source_of(notebook("run.ipynb", outputs=[output], execution_count=3)) == plain
    assert source_of(notebook("changed.ipynb", source="1 + 2")) != plain
    assert source_of(notebook("tagged.ipynb", metadata={"tags": ["parameters"]})) != plain
    assert source_of(notebook("kernel.ipynb"), kernel="python3") != plain
    assert source_of(notebook("cwd.ipynb"), cwd=tmp_path.parent) != plain


@pytest.mark.parametrize("made", [adder, lambda amount: functools.partial(take, amount)])
def test_a_function_is_also_what_it_carries(made: Callable[[int], Callable[..., Any]]) -> None:
    assert of_function(made(1)).source == of_function(made(1)).source
    assert of_function(made(1)).source != of_function(made(2)).source
