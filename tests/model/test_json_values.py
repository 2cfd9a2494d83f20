"""Which values an output or a notebook's parameter may have, and that they come back as they were."""

import enum
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pynb_dag_runner.model.json_values import decode, encode, json_problem
from pynb_dag_runner.run_folder.records import TrackingRecord

TEXTS = st.text(st.characters(codec="utf-8"))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS.filter(lambda key: key != "$float"), inner),
)


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


@settings(deadline=None)  # a busy machine is no reason to fail
@given(VALUES)
def test_a_value_comes_back_from_a_file_as_it_was(value: Any) -> None:
    assert json_problem(value) is None
    written = json.dumps(encode(value), allow_nan=False)
    # repr tells 1 from 1.0 and True, 0.0 from -0.0, and is equal for NaN.
    assert repr(decode(json.loads(written))) == repr(value)


@settings(deadline=None)  # a busy machine is no reason to fail
@given(VALUES)
def test_a_value_comes_back_from_a_record_as_it_was(value: Any) -> None:
    record = TrackingRecord(outputs={"value": encode(value)})
    read = TrackingRecord.model_validate_json(record.to_json(), strict=True)
    assert repr(decode(read.outputs["value"])) == repr(value)


def test_what_json_has_no_word_for_is_written_as_an_object() -> None:
    assert encode([math.nan, {"a": -math.inf}]) == [{"$float": "NaN"}, {"a": {"$float": "-Infinity"}}]


def test_an_object_that_only_looks_like_a_number_stays_one() -> None:
    assert decode({"$float": "12", "x": 1}) == {"$float": "12", "x": 1}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ((1, 2), "value is a tuple: (1, 2)"),  # would come back as a list
        ({1}, "value is a set: {1}"),
        (b"x", "value is a bytes: b'x'"),
        (Colour.RED, f"value is a {__name__}.Colour: <Colour.RED: 1>"),  # would come back as an int
        (Name("x"), f"value is a {__name__}.Name: 'x'"),
        (Path("a"), "value is a pathlib.PosixPath: PosixPath('a')"),
        (datetime(2026, 1, 2, tzinfo=UTC), "value is a datetime.datetime: datetime.datetime(2026, 1, 2, 0, 0, tzinfo="),
        (numpy.float64(0.5), "value is a numpy.float64: np.float64(0.5)"),  # a float, yet not of type float
        (numpy.int64(5), "value is a numpy.int64: np.int64(5)"),
        (Broken(), f"value is a {__name__}.Broken: <its repr raises RuntimeError>"),
        ([0, {"a": [{1}]}], "value[1]['a'][0] is a set: {1}"),  # the place is named
        ({1: 2}, "value has the key 1 of type int; JSON's keys are strings"),
        ({math.nan: 2}, "value has the key nan of type float; JSON's keys are strings"),
        ({"a": {None: 2}}, "value['a'] has the key None of type NoneType; JSON's keys are strings"),
        ({"$float": 1}, "value has the key '$float', which is reserved"),
        ("\ud800", "value holds half of a surrogate pair, which no file can hold"),
        ({"\udfff": 1}, "value: a key holds half of a surrogate pair, which no file can hold"),
    ],
)
def test_a_value_that_would_be_lost_is_refused(value: Any, problem: str) -> None:
    assert (json_problem(value) or "")[: len(problem)] == problem


def test_a_whole_number_that_no_reader_takes_is_refused() -> None:
    assert json_problem([-(10**4300)]) == "value[0] is a whole number of more than 4300 digits"


def test_the_longest_whole_number_is_taken() -> None:
    value = 10**4300 - 1
    assert json_problem(value) is None
    assert TrackingRecord.model_validate_json(TrackingRecord(outputs={"n": value}).to_json()).outputs["n"] == value


def test_a_list_inside_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    assert json_problem(value) == "value" + "[0]" * 101 + " is nested more than 100 levels deep"


def test_a_long_value_is_cut_in_the_message() -> None:
    assert json_problem(("x" * 100,), "output 'a'") == "output 'a' is a tuple: ('" + "x" * 55 + "..."
