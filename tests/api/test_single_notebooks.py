"""Parameters of a single notebook: its cell's annotations, or else its defaults, say what a typed text means."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy
import pytest

from pynb_dag_runner import Pipeline
from pynb_dag_runner.api.definitions import PipelineDefinition, notebook_pipeline
from pynb_dag_runner.define.parameters import Text
from pynb_dag_runner.errors import ParameterError

CELL = """\
# %% tags=["parameters"]
version: str = "1.9"
release = "1.9"
flag = False
count = 1
rate = 0.5
xs = [1]
table = {"a": 1}
limit: int | None = None
day: date = date(2024, 1, 1)
data: Path = Path("data")
cache = Path("cache")
free = load()
"""


def given(tmp_path: Path, name: str, value: Any) -> Any:
    """What the notebook gets for ``value``."""
    path = tmp_path / "n.py"
    path.write_text(CELL)
    (task,) = notebook_pipeline(path).build({name: value}).tasks
    return task.parameters[name]


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("version", "1.10", "1.10"),
        ("version", "null", "null"),
        ("release", "1.10", "1.10"),
        ("release", "null", None),
        ("flag", "no", False),
        ("flag", "True", True),
        ("flag", "1", True),
        ("count", "3", 3),
        ("count", "2.5", 2.5),
        ("count", "None", None),
        ("rate", "1", 1.0),
        ("xs", "[1, 2]", [1, 2]),
        ("table", '{"b": 2}', {"b": 2}),
        ("limit", "5", 5),
        ("limit", "None", None),
        ("day", "2025-02-03", date(2025, 2, 3)),
        ("free", "1.10", 1.1),
        ("free", "text", "text"),
    ],
)
def test_a_typed_text(tmp_path: Path, name: str, typed: str, value: Any) -> None:
    found = given(tmp_path, name, Text(typed))
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("name", ["data", "cache"])
def test_a_path_is_taken_from_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert given(tmp_path, name, Text("x.csv")) == tmp_path / "here" / "x.csv"


@pytest.mark.parametrize(
    ("name", "typed", "problem"),
    [
        ("flag", "maybe", "parameter 'flag': got 'maybe', expected bool | None"),
        ("count", "many", "parameter 'count': got 'many', expected int | float | None"),
        ("xs", "1,2", "parameter 'xs': got '1,2', expected list | None"),
        ("limit", "many", "parameter 'limit': got 'many', expected int | None"),
    ],
)
def test_a_text_that_means_nothing(tmp_path: Path, name: str, typed: str, problem: str) -> None:
    with pytest.raises(ParameterError) as caught:
        given(tmp_path, name, Text(typed))
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize("value", [numpy.int64(3), numpy.float32(1.5), None, 2.5])
def test_a_value_from_python_stays_what_it_is(tmp_path: Path, value: Any) -> None:
    assert given(tmp_path, "count", value) is value


def test_a_list_by_default_is_written_as_json() -> None:
    def define(p: Pipeline, xs=[1, 2]) -> None: ...  # type: ignore[no-untyped-def] # noqa: ANN001 - as people do

    definition = PipelineDefinition(define)
    assert definition.define({"xs": Text("[3]")}).parameters == {"xs": [3]}
    with pytest.raises(ParameterError, match=r"got '1,2', expected list \| None .*: -p 'xs=\[1, 2\]'"):
        definition.define({"xs": Text("1,2")})
