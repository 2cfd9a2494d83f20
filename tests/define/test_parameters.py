"""From a pipeline's signature and what was given to typed values, and what is said when that can't be."""

import enum
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy
import pytest
from pydantic import Field

from pynb_dag_runner.define.parameters import Text, convert, notebook_problems, specs_of
from pynb_dag_runner.errors import ParameterError
from pynb_dag_runner.model.recorded_values import recorded
from pynb_dag_runner.notebooks.source_code import RECEIVABLE, source_code

JSON_RECEIVABLE = "can receive None, bool, int, float, str, and lists and dicts of these"


class Size(enum.Enum):
    SMALL = "small"


class Level(enum.IntEnum):
    HIGH = 2


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
    when: datetime = datetime(2026, 1, 2, tzinfo=UTC),
    moments: tuple[datetime, ...] = (),
    price: Decimal = Decimal(1),
    level: Level = Level.HIGH,
    shape: tuple[int, ...] = (),
    chosen: set[int] = set(),
    delay: timedelta = timedelta(0),
    share: Fraction = Fraction(0),
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
        ("when", "2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("price", "0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
        ("price", "1.10", Decimal("1.10")),
        ("level", "2", Level.HIGH),
        ("shape", "[3, 4]", (3, 4)),
        ("chosen", "[1, 2, 1]", {1, 2}),
        ("delay", "PT90S", timedelta(seconds=90)),
        ("share", "1/3", Fraction(1, 3)),
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
        (
            "sizes",
            Text("1,2"),
            "parameter 'sizes': got '1,2', expected list[int] (input should be a valid list; "
            "it is written as JSON: -p 'sizes=[1, 2]')",
        ),
        (
            "sizes",
            Text("1"),
            "parameter 'sizes': got 1, expected list[int] (input should be a valid array; "
            "it is written as JSON: -p 'sizes=[1]')",
        ),
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
        "there is no parameter 'c'; there is 'a' and 'b'",
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


def test_what_is_typed_has_time_zones_of_the_standard_library() -> None:
    paris = timezone(timedelta(hours=1))
    (moment,) = value_of("moments", Text('["2026-01-01T00:00:00+01:00"]'))
    assert repr(moment) == repr(datetime(2026, 1, 1, tzinfo=paris))
    assert value_of("when", Text("2026-01-01T00:00:00Z")).tzinfo is UTC


def test_paths_become_absolute_in_what_contains_itself() -> None:
    circle: list[Any] = [Path("x"), {Path("key"): (Path("y"),)}]
    circle.append((circle,))
    value = value_of("anything", circle)
    assert value[:2] == [Path("/here/x"), {Path("/here/key"): (Path("/here/y"),)}]
    assert value[2][0] is value


def test_a_value_that_is_nested_too_deeply_for_python() -> None:
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    assert problem_of({"anything": deep}) == "parameter 'anything' is nested too deeply"


def test_the_cell_is_as_a_person_would_write_it() -> None:
    code = source_code({"n": 3, "name": "x", "sizes": [1, 2.5], "table": {"a": None}, "data_dir": Path("/data")})
    assert code.imports == ("from pathlib import Path",)
    assert code.expressions == {
        "n": "3",
        "name": "'x'",
        "sizes": "[1, 2.5]",
        "table": "{'a': None}",
        "data_dir": "Path('/data')",
    }


def test_imports_do_not_shadow_parameters() -> None:
    code = source_code(
        {"Path": Path("/x"), "float": float("inf"), "_datetime": date(2026, 1, 2), "numpy": numpy.int8(1)}
    )
    assert code.imports == (
        "from builtins import float as _float",
        "from pathlib import Path as _Path",
        "import datetime as __datetime",
        "import numpy as _numpy",
    )
    assert code.expressions["_datetime"] == "__datetime.date(2026, 1, 2)"


def test_a_set_has_the_same_text_in_every_process() -> None:
    assert source_code({"names": {"b", "aa", "a"}}).expressions["names"] == "{'a', 'b', 'aa'}"


class Text2(str):
    """A subclass, which would come back as a str."""


class OtherZone(tzinfo):
    """A time zone that is not of the standard library."""


def local_member() -> enum.Enum:
    class Local(enum.Enum):
        A = 1

    return Local.A


def member_of_the_program() -> enum.Enum:
    kind = enum.Enum("kind", {"A": 1}, module="__main__")
    return next(iter(kind))


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": [Model]}, f"parameter 'n'['a'][0] is a type: <class '{__name__}.Model'>"),
        ([1, Text2("x")], f"parameter 'n'[1] is a {__name__}.Text2: 'x'"),
        ({(1, Text2("x")): 1}, f"parameter 'n': the key (1, 'x')[1] is a {__name__}.Text2: 'x'"),
        ({bytearray: 1}.keys(), "parameter 'n' is a dict_keys: dict_keys([<class 'bytearray'>])"),
        (numpy.array([1]), "parameter 'n' is a numpy.ndarray: array([1]); hand over its path or an artifact"),
        (numpy.longdouble(1), "parameter 'n' is a numpy.longdouble: np.longdouble('1.0')"),
        (
            datetime(2026, 1, 1, tzinfo=OtherZone()),  # type: ignore[abstract] # datetime does not mind
            f"parameter 'n' is a datetime whose tzinfo is a {__name__}.OtherZone, expected a datetime.timezone or a "
            "ZoneInfo",
        ),
        ([10**4300], "parameter 'n'[0] is a whole number of more than 4300 digits"),
        ([Fraction(1, 10**4300)], "parameter 'n'[0] is a whole number of more than 4300 digits"),
        ([Path("\udcff")], "parameter 'n'[0] holds half of a surrogate pair, which no file can hold"),
        (nested(101), "parameter 'n' is nested more than 100 levels deep"),
        ([CIRCLE], "parameter 'n'[0][0] is a list that contains itself"),
        (
            [local_member()],
            "parameter 'n'[0] is a member of the Enum local_member.<locals>.Local, which can't be imported from "
            f"{__name__} by that name; define it at a module's top level",
        ),
        (
            member_of_the_program(),
            "parameter 'n' is a member of the Enum kind of the program itself, which a notebook can't import; "
            "define it in a module",
        ),
    ],
)
def test_what_a_notebook_can_not_receive(value: Any, problem: str) -> None:
    assert notebook_problems({"fine": 1, "n": value}) == [f"{problem}; {RECEIVABLE}"]


@pytest.mark.parametrize("name", ["class", "a-b", "ⅽlass"])
def test_what_is_no_variable(name: str) -> None:
    problem = f"{name!r} can't be a parameter of a notebook: it is no variable name"
    assert notebook_problems({"fine": 1, name: 1}) == [problem]


def test_a_notebook_in_another_language_receives_json() -> None:
    given = {"fine": [1.5, {"a": None}], "data": Path("/x"), "shape": {"a": (1,)}}
    assert notebook_problems(given, "r") == [
        f"parameter 'data' is a pathlib.PosixPath: PosixPath('/x'); a notebook in r {JSON_RECEIVABLE}",
        f"parameter 'shape'['a'] is a tuple: (1,); a notebook in r {JSON_RECEIVABLE}",
    ]


class BrokenRepr:
    def __repr__(self) -> str:
        raise RuntimeError


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
        (numpy.int64(5), 5),
        (numpy.timedelta64(5, "s"), "5 seconds"),
        ({Decimal("1.10"): Fraction(1, 3)}, {"1.10": "1/3"}),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
        (BrokenRepr(), "<its repr raises RuntimeError>"),
    ],
)
def test_every_parameter_of_a_function_can_be_written_down(value: Any, written: Any) -> None:
    assert recorded({"value": value, "other": 1}) == {"value": written, "other": 1}
