"""Relative paths in parameters mean the same for every task, wherever in a value they stand."""

import copy
import dataclasses
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any, NamedTuple

import pydantic
import pytest

from pynb_dag_runner import Pipeline
from pynb_dag_runner.api.definitions import PipelineDefinition
from pynb_dag_runner.define.parameters import Text
from pynb_dag_runner.define.settled_values import settled


class Place(pydantic.BaseModel, extra="allow"):
    path: Path
    others: list[Path] = []
    inner: "Place | None" = None


@dataclasses.dataclass(frozen=True, slots=True)
class Fixed:
    path: Path
    label: str = ""


class Pair(NamedTuple):
    name: str
    path: Path


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Place(path=Path("a")), Place(path=Path("/base/a"))),
        (Place(path=Path("/a"), others=[Path("b")]), Place(path=Path("/a"), others=[Path("/base/b")])),
        (
            Place(path=Path("/a"), inner=Place(path=Path("b"))),
            Place(path=Path("/a"), inner=Place(path=Path("/base/b"))),
        ),
        (Place(path=Path("/a"), more=Path("b")), Place(path=Path("/a"), more=Path("/base/b"))),  # type: ignore[call-arg] # an extra
        (Fixed(Path("a"), "x"), Fixed(Path("/base/a"), "x")),
        ([{"x": Fixed(Path("a"))}], [{"x": Fixed(Path("/base/a"))}]),
        (Pair("n", Path("a")), Pair("n", Path("/base/a"))),
        (deque([Path("a")], 3), deque([Path("/base/a")], 3)),
        (OrderedDict(x=Path("a")), OrderedDict(x=Path("/base/a"))),
    ],
)
def test_relative_paths_inside_of_objects(value: Any, expected: Any) -> None:
    before = copy.deepcopy(value)
    found = settled(value, Path("/base"))
    assert (found, type(found)) == (expected, type(expected))
    assert value == before  # the caller's own object stays what it is


def test_an_object_without_relative_paths_is_the_same_object() -> None:
    for value in (Place(path=Path("/a")), Fixed(Path("/a")), Pair("n", Path("/a")), OrderedDict(x=1)):
        assert settled(value, Path("/base")) is value


def test_a_models_path_is_taken_from_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def define(p: Pipeline, place: Place) -> None: ...

    monkeypatch.chdir(tmp_path)
    given = {"place": Text('{"path": "a"}')}
    assert PipelineDefinition(define).define(given).parameters == {"place": Place(path=tmp_path / "a")}
