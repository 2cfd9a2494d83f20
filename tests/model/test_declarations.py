"""A declared option is checked, recorded and read back by what its field says."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from pynb_dag_runner.model.declarations import Amounts, Names, Number, Option, StoredInteger, declared, problems_of


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """One option of each kind."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"alias_generator": lambda name: declared(Wishes)[name].key}

    size: Annotated[StoredInteger, Option("how many", Number(is_whole=True), key="size_bytes")]
    share: Annotated[float | None, Option("how much of it", Number(above=0, most=1))] = None
    mode: Annotated[Literal["fresh", "shared", "old"], Option("in which way")] = "fresh"
    title: Annotated[str | None, Option("for people")] = None
    loud: Annotated[bool, Option("say so")] = False
    amounts: Annotated[Mapping[str, float], Option("by name", Amounts())] = field(default_factory=dict)
    names: Annotated[tuple[str, ...], Option("which ones", Names("metrics"))] = ()


def test_a_field_says_what_its_option_is() -> None:
    options = declared(Wishes)
    assert list(options) == ["size", "share", "mode", "title", "loud", "amounts", "names"]
    assert [(option.type, option.is_optional) for option in options.values()][:4] == [
        (int, False),
        (float, True),
        (Literal["fresh", "shared", "old"], False),
        (str, True),
    ]
    assert [option.default for option in options.values()] == [MISSING, None, "fresh", None, False, {}, ()]
    assert (options["size"].key, options["share"].key, options["share"].help) == (
        "size_bytes",
        "share",
        "how much of it",
    )


def test_what_is_right_has_no_problem() -> None:
    assert problems_of(Wishes(size=0, share=1, title="", loud=True, amounts={"x": 0.5}, names=("a",))) == []
    assert problems_of(Wishes(size=2**63 - 1, share=None)) == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"size": 1.0}, "size must be a whole number from 0, got 1.0"),
        ({"size": True}, "size must be a whole number from 0, got True"),
        ({"size": 2**63}, "size must be a whole number from 0, got 9223372036854775808"),
        ({"share": 0}, "share must be a number above 0 and at most 1 or None, got 0"),
        ({"share": 1.01}, "share must be a number above 0 and at most 1 or None, got 1.01"),
        ({"share": "1"}, "share must be a number above 0 and at most 1 or None, got '1'"),
        ({"mode": "new"}, "mode must be 'fresh', 'shared' or 'old', got 'new'"),
        ({"mode": ["fresh"]}, "mode must be 'fresh', 'shared' or 'old', got ['fresh']"),
        ({"title": 3}, "title must be a text or None, got 3"),
        ({"loud": None}, "loud must be True or False, got None"),
        ({"amounts": {"x": -1}}, "amounts['x'] must be a number from 0, got -1"),
        ({"amounts": ["x"]}, "amounts must give amounts by name, got ['x']"),
        ({"names": ("a", "")}, "names must be names of metrics, got ''"),
        ({"names": 5}, "names must be names of metrics, got 5"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_declaration(given: dict[str, Any], problem: str) -> None:
    assert problems_of(Wishes(**{"size": 1, **given})) == [problem]


def test_a_file_has_the_keys_and_is_read_by_types_alone() -> None:
    adapter = TypeAdapter(Wishes)
    read = adapter.validate_json('{"size_bytes": -3, "share": 7, "unknown": 1}')
    assert (read.size, read.share) == (-3, 7.0)  # a reader takes what a later version may write
    assert set(adapter.dump_python(read, by_alias=True)) >= {"size_bytes", "share"}
    schema = adapter.json_schema()["properties"]
    assert (schema["size_bytes"]["description"], schema["size_bytes"]["maximum"]) == ("how many", 2**63 - 1)
    with pytest.raises(ValidationError):
        adapter.validate_json(f'{{"size_bytes": {2**63}}}')
