"""From a pipeline's signature and what was given to typed values, and what is said when that can't be."""

import enum
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy
import pytest
from pydantic import Field

from pynb_dag_runner.errors import ParameterError
from pynb_dag_runner.parameters import Text, convert, notebook_problems, recorded, specs_of

RECEIVABLE = "a notebook can receive None, bool, int, float, str, lists and dicts of these, and a Path alone"


class Size(enum.Enum):
    SMALL = "small"


class Model:
    """A class that pydantic knows nothing about."""


def sample(
    p: object,
    count: int = 1,
    rate: float = 0.5,
    name: str = "x",
    verbose: bool = False,
    data: Path = Path("data"),
    sizes: list[int] = [1],
    table: dict[str, list[int]] = {},
    either: int | float = 1,
    maybe: str | None = None,
    mode: Literal["fast", "slow"] = "fast",
    size: Size = Size.SMALL,
    day: date = date(2026, 1, 2),
    positive: Annotated[int, Field(gt=0)] = 1,
    model: Model | None = None,
    anything: Any = None,
) -> None: ...


def value_of(name: str, given: Any) -> Any:
    return convert(
        specs_of(sample), {name: given}, given_relative_to=Path("/here"), defaults_relative_to=Path("/file")
    )[name]


def problem_of(values: dict[str, Any], function: Callable[..., Any] = sample) -> str:
    with pytest.raises(ParameterError) as caught:
        convert(specs_of(function), values, given_relative_to=Path("/here"), defaults_relative_to=Path("/file"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("count", "3", 3),
        ("rate", "1e-3", 0.001),
        ("rate", "inf", float("inf")),
        ("name", "12", "12"),  # a text is taken as typed, also where it looks like a number
        ("name", '"quoted"', '"quoted"'),
        ("verbose", "True", True),
        ("verbose", "false", False),
        ("data", "12", Path("/here/12")),
        ("sizes", "[100, 200]", [100, 200]),
        ("table", '{"a": [1]}', {"a": [1]}),
        ("either", "1.5", 1.5),
        ("maybe", "12", "12"),
        ("maybe", "null", None),
        ("mode", "slow", "slow"),
        ("size", "small", Size.SMALL),
        ("day", "2026-11-23", date(2026, 11, 23)),
        ("anything", "[1, 2]", [1, 2]),
        ("anything", "None", None),
        ("anything", "plain text", "plain text"),
    ],
)
def test_what_is_typed_becomes_a_value_of_the_annotated_type(name: str, typed: str, value: Any) -> None:
    assert (value_of(name, Text(typed)), type(value_of(name, Text(typed)))) == (value, type(value))


def test_without_an_annotation_the_default_tells_the_type() -> None:
    # As users write it.
    def pipeline(p, count=1, data=Path("data")) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001

    assert [spec.type_name for spec in specs_of(pipeline)] == ["int", "Path"]


def test_a_relative_path_given_is_taken_from_the_current_directory() -> None:
    assert value_of("data", Text("a/../b")) == Path("/here/b")
    assert value_of("data", "/elsewhere") == Path("/elsewhere")


def test_a_relative_path_by_default_is_taken_from_the_file() -> None:
    values = convert(specs_of(sample), {}, given_relative_to=Path("/here"), defaults_relative_to=Path("/file"))
    assert values["data"] == Path("/file/data")


def test_paths_inside_lists_and_dicts_become_absolute_too() -> None:
    assert value_of("anything", {"a": [Path("x")]}) == {"a": [Path("/here/x")]}


def test_a_home_directory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert value_of("data", Text("~/x")) == Path("/home/ada/x")


def test_the_home_directory_of_nobody_is_a_plain_name() -> None:
    assert value_of("data", Text("~no such user/x")) == Path("/here/~no such user/x")


def test_a_default_that_is_changed_by_one_build_is_whole_in_the_next() -> None:
    arguments = {"given_relative_to": Path("/here"), "defaults_relative_to": Path("/file")}
    convert(specs_of(sample), {}, **arguments)["sizes"].append(2)
    assert convert(specs_of(sample), {}, **arguments)["sizes"] == [1]


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        (
            "count",
            Text("many"),
            "parameter 'count': got 'many', expected int "
            "(input should be a valid integer, unable to parse string as an integer)",
        ),
        (
            "count",
            Text("1.5"),
            "parameter 'count': got 1.5, expected int "
            "(input should be a valid integer, got a number with a fractional part)",
        ),
        ("count", None, "parameter 'count': got None, expected int (input should be a valid integer)"),
        ("sizes", Text("1,2"), "parameter 'sizes': got '1,2', expected list[int] (input should be a valid list)"),
        (
            "table",  # the place in a nested value
            Text('{"a": [1, null]}'),
            "parameter 'table'['a'][1]: got None, expected dict[str, list[int]] (input should be a valid integer)",
        ),
        (
            "either",  # a union has no places inside
            Text("x"),
            "parameter 'either': got 'x', expected int | float "
            "(input should be a valid integer, unable to parse string as an integer)",
        ),
        (
            "mode",
            Text("medium"),
            "parameter 'mode': got 'medium', expected Literal['fast', 'slow'] (input should be 'fast' or 'slow')",
        ),
        ("positive", Text("-1"), "parameter 'positive': got -1, expected int (input should be greater than 0)"),
        (
            "model",
            Text("x"),
            f"parameter 'model': got 'x', expected {__name__}.Model | None (input should be an instance of Model)",
        ),
        ("name", 5, "parameter 'name': got 5, expected str (input should be a valid string)"),
        ("cuont", 5, "there is no parameter 'cuont'; did you mean 'count'?"),
    ],
)
def test_a_value_that_does_not_fit(name: str, given: Any, problem: str) -> None:
    assert problem_of({name: given}) == problem


def test_a_class_that_can_not_be_converted_to_takes_its_instances() -> None:
    model = Model()
    assert value_of("model", model) is model


def test_all_problems_are_told_at_once() -> None:
    def pipeline(p: object, a: int, b: str) -> None: ...

    assert problem_of({"c": 1, "b": 2}, pipeline).splitlines() == [
        "there is no parameter 'c'; there is 'a', 'b'",
        "parameter 'a' needs a value of type int",
        "parameter 'b': got 2, expected str (input should be a valid string)",
    ]


def test_a_pipeline_function_must_take_the_pipeline() -> None:
    def pipeline() -> None: ...

    message = "pipeline function pipeline() must take the pipeline as its first argument: def pipeline(p)"
    assert problem_of({}, pipeline) == message


def test_a_pipeline_function_must_name_its_parameters() -> None:
    def pipeline(p: object, **rest: int) -> None: ...

    message = "pipeline function pipeline() takes **rest: int; a pipeline's parameters must be named"
    assert problem_of({}, pipeline) == message


def test_an_annotation_that_names_nothing() -> None:
    def pipeline(p: object, a: "Nothing") -> None: ...  # type: ignore[name-defined]  # noqa: F821 - the case in question

    message = "an annotation of pipeline function pipeline() can't be resolved: name 'Nothing' is not defined"
    assert problem_of({}, pipeline) == message


def test_a_notebook_receives_what_source_code_can_say() -> None:
    assert notebook_problems({"a": [1, {"b": float("nan")}], "data": Path("/x"), "none": None}) == []


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("n", numpy.int64(5), f"parameter 'n' is a numpy.int64: np.int64(5); {RECEIVABLE}"),
        ("n", {"a": [Path("/x")]}, f"parameter 'n'['a'][0] is a pathlib.PosixPath: PosixPath('/x'); {RECEIVABLE}"),
        (
            "n",
            {float("nan"): 1},
            f"parameter 'n' has the key nan of type float; JSON's keys are strings; {RECEIVABLE}",
        ),
        ("class", 1, "'class' can't be a parameter of a notebook: it is no variable name"),
        ("a-b", 1, "'a-b' can't be a parameter of a notebook: it is no variable name"),
    ],
)
def test_what_a_notebook_can_not_receive(name: str, value: Any, problem: str) -> None:
    assert notebook_problems({"fine": 1, name: value}) == [problem]


class BrokenRepr:
    def __repr__(self) -> str:
        raise RuntimeError


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ([1, {"a": None}], [1, {"a": None}]),
        (float("nan"), "NaN"),
        (Path("/x"), "/x"),
        ((1, 2), [1, 2]),
        (numpy.array([1, 2]), "array([1, 2])"),
        (b"\xff", r"b'\xff'"),  # no UTF-8
        ("\ud800", r"'\ud800'"),  # no text that a file can hold
        (CIRCLE, "[[...]]"),
        (BrokenRepr(), "<its repr raises RuntimeError>"),
    ],
)
def test_every_parameter_of_a_function_can_be_written_down(value: Any, written: Any) -> None:
    assert recorded({"value": value, "other": 1}) == {"value": written, "other": 1}
