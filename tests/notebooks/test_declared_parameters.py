"""Parameters cells, read as text: which names they declare, and of which types."""

import typing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy
import pytest

from pynb_dag_runner.notebooks.declared_parameters import declared_in, fits, may_convert


def declared(source: str) -> dict[str, Any]:
    found = declared_in(source)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("", []),
        ("# count = 1", []),
        ("a = 1\nb: int\nc: int = 2", ["a", "b", "c"]),
        ("a = b = 1", ["a", "b"]),
        ("a, (b, *c) = 1, (2, 3)", ["a", "b", "c"]),
        ("if True:\n    a = 1\nelse:\n    b = 1", ["a", "b"]),
        ("from pathlib import Path as P\na = P('x')", ["P", "a"]),
        ("%matplotlib inline\n!pip install x\na = 1", ["a"]),
        ("%%time\na = 1", ["a"]),
        ("a = 1  # a comment = 2", ["a"]),
    ],
)
def test_the_names_of_a_cell(source: str, names: list[str]) -> None:
    assert list(declared(source)) == names


@pytest.mark.parametrize(
    "source",
    [
        "a = ",
        "%run defaults.py",
        "%%bash_of_my_own\nx",
        "from defaults import *",
        "globals()['a'] = 1",
        "exec('a = 1')",
        "a = !ls",
        "a <- 1\nb -> x",
    ],
)
def test_a_cell_that_does_not_tell(source: str) -> None:
    assert declared_in(source) is None


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("x: int = 1", int),
        ("x: 'int'", int),
        ("x: int = None", int | None),
        ("x: Optional[int]", int | None),
        ("x: typing.Union[int, str]", int | str),
        ("x: float | None = 1", float | None),
        ("x: list[int] = []", list[int]),
        ("x: List[str]", list[str]),
        ("x: Dict[str, float]", dict[str, float]),
        ("x: tuple[int, ...]", tuple[int, ...]),
        ("x: Path", Path),
        ("x: pathlib.Path", Path),
        ("x: datetime.date", date),
        ("x: Literal['a', 'b'] = 'a'", Literal["a", "b"]),
        ("x: Annotated[int, 'size']", int),
        ("x: np.ndarray", Any),
        ("x: list[np.float64]", list[Any]),
        ("x: int | pd.DataFrame", Any),
        ("x: Literal[-1]", Any),
        ("x: dict[str]", Any),
        ("x: tuple[()]", Any),
        ("x: 'not a type'", Any),
        ("x = 1", Any),
    ],
)
def test_the_type_that_is_annotated(source: str, kind: Any) -> None:
    assert declared(source)["x"].type == kind


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("x: str = 1", str),
        ("x = '1.9'", str | None),
        ("x = 1", int | float | None),
        ("x = -1.5", float | None),
        ("x = True", bool | None),
        ("x = [1]", list | None),
        ("x = {'a': 1}", dict | None),
        ("x = Path('a')", Path | None),
        ("x = None", Any),
        ("x = f(1)", Any),
        ("x, y = 1, 2", Any),
    ],
)
def test_the_type_that_a_default_tells(source: str, kind: Any) -> None:
    assert declared(source)["x"].likely_type == kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, float),
        (1.0, int),
        (True, int),
        (1, bool),
        (None, int),
        (numpy.int64(1), int),
        (numpy.float32(1), float),
        (numpy.datetime64("2024-01-01"), date),
        (Decimal(1), float),
        ("a", Path),
        (Path("a"), str),
        ((1, 2), list[int]),
        ([1, 2], tuple[int, ...]),
        ({1}, list),
        ([1, "a"], list),
        ([1, None], list[int]),
        ([1, "a"], list[int | str]),
        ([1, "a"], tuple[int, str]),
        ({"a": [1]}, dict[str, list[int]]),
        (datetime(2024, 1, 1, tzinfo=UTC), date),
        ("a", Literal["a", "b"]),
        ("a", int | str),
        ("a", Any),
        ("a", object),
        ("a", typing.TypeVar("a")),
        ([1], typing.Sequence[int]),
        (object(), Annotated[Any, []]),
    ],
)
def test_what_may_be_given(value: object, kind: Any) -> None:
    assert fits(value, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("text", int),
        ("1", int),
        (1, str),
        (1.5, int),
        ("no", bool),
        ("1,2", list),
        (["1"], list[int]),
        ([[1]], list[int]),
        ({"a": "1"}, dict[str, int]),
        ({1: 1}, dict[str, int]),
        ([1], dict),
        ("2024-01-01", date),
        ("c", Literal["a", "b"]),
        ("a", int | None),
        ("a", Annotated[int, "size"]),
        (b"a", str),
    ],
)
def test_what_can_not_be_meant(value: object, kind: Any) -> None:
    assert not fits(value, kind)


@pytest.mark.parametrize(
    ("given", "wanted", "possible"),
    [
        (str, int, False),
        (str, int | None, False),
        (list[int], int, False),
        (dict, list, False),
        (str, str, True),
        (float, int, True),
        (bool, float, True),
        (str, Path, True),
        (list, tuple, True),
        (str, int | str, True),
        (Any, int, True),
        (str, Any, True),
        (int | str, int, True),
        (None, int, True),
        (object, int, True),
    ],
)
def test_which_returned_type_may_be_meant_for_which_parameter(given: Any, wanted: Any, possible: bool) -> None:
    assert may_convert(given, wanted) is possible
