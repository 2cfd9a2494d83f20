"""Ways take turns; medians, ratios, tables and the page follow from what they gave."""

import itertools
import json
from pathlib import Path

import pytest

from benchmarks.comparing import Comparison, Quantities, Row, Way, compare, rows_of
from benchmarks.machine import this_machine
from benchmarks.measuring import MeasurementFailed
from benchmarks.tables import put_into, shown, spread, to_json, to_markdown


def a_row(quantity: str, way: str, median: float, *, least: float | None = None, n: int = 1, ratio: float = 1.0) -> Row:
    return Row(quantity=quantity, way=way, median=median, least=least or median, n=n, ratio=ratio)


def a_comparison(*ways: Way, rounds: int = 1) -> Comparison:
    return Comparison(title="Title", reference="A", ways=ways, labels={"wall_s": "time"}, rounds=rounds)


def test_medians_are_set_against_the_reference() -> None:
    found = {"A": [{"wall_s": 3.0}, {"wall_s": 1.0}, {"wall_s": 2.0}], "B": [{"wall_s": 9.0}, {"wall_s": 5.0}]}
    assert rows_of(found, ("wall_s",), "A") == (
        a_row("wall_s", "A", 2.0, least=1.0, n=3, ratio=1.0),
        a_row("wall_s", "B", 7.0, least=5.0, n=2, ratio=3.5),
    )


def test_a_way_without_a_quantity_has_no_row_for_it() -> None:
    found: dict[str, list[Quantities]] = {"A": [{"wall_s": 3.0}], "B": [{"cpu_s": 9.0}]}
    assert [(row.quantity, row.way, row.ratio) for row in rows_of(found, ("wall_s", "cpu_s"), "A")] == [
        ("wall_s", "A", 1.0),
        ("cpu_s", "B", None),
    ]


def test_ways_take_turns_in_empty_directories() -> None:
    turns = []

    def way(name: str) -> Way:
        def measure(directory: Path) -> Quantities:
            assert list(directory.iterdir()) == []
            (directory / "left").touch()
            turns.append(name)
            return {"wall_s": 1.0}

        return Way(name, measure)

    compare(a_comparison(way("A"), way("B"), way("C"), rounds=2))
    assert turns == ["A", "B", "C", "A", "B", "C"]


def test_a_way_that_fails_is_told_and_the_others_go_on() -> None:
    seconds = itertools.count(1)

    def fail(_: Path) -> Quantities:
        raise MeasurementFailed("exit code 3: it did\nTraceback")

    ways = (Way("A", lambda _: {"wall_s": next(seconds)}), Way("B", fail))
    compared = compare(a_comparison(*ways, rounds=3))
    assert [(row.way, row.median, row.n) for row in compared.rows] == [("A", 2, 3)]
    assert compared.failures == {"B": "exit code 3: it did\nTraceback"}
    assert "| not measured | B | exit code 3 | | | |" in to_markdown(this_machine(), [compared])


def test_a_table_names_way_median_least_number_and_ratio() -> None:
    compared = compare(a_comparison(Way("A", lambda _: {"wall_s": 2.0}), Way("B", lambda _: {"wall_s": 0.5})))
    table = to_markdown(this_machine(), [compared]).splitlines()[-4:]
    assert table == [
        "| | | median | least | n | ratio to A |",
        "|---|---|---|---|---|---|",
        "| time | A | 2.00 s | 2.00 s | 1 | 1.00 |",
        "|  | B | 500 ms | 500 ms | 1 | 0.25 |",
    ]


def test_json_holds_machine_and_rows() -> None:
    compared = compare(a_comparison(Way("A", lambda _: {"wall_s": 2.0})))
    document = json.loads(to_json("group", this_machine(), [compared]))
    assert document["comparisons"][0]["rows"] == [
        {"quantity": "wall_s", "way": "A", "median": 2.0, "least": 2.0, "n": 1, "ratio": 1.0}
    ]
    assert document["machine"]["cpus"] >= 1
    assert {"Python", "ray", "papermill"} <= document["machine"]["versions"].keys()


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        ("wall_s", 123.4, "123.4 s"),
        ("wall_s", 1.234, "1.23 s"),
        ("wall_s", 0.1234, "123 ms"),
        ("wall_s", 0.001234, "1.23 ms"),
        ("wall_s", 0.000001234, "1.23 µs"),
        ("peak_bytes", 1_234_567, "1.2 MB"),
        ("task_bytes", 1234, "1.23 KB"),
    ],
)
def test_values_are_shown_with_a_unit_that_suits_them(quantity: str, value: float, text: str) -> None:
    assert shown(quantity, value, value) == text


def test_the_spread_is_the_largest_over_the_smallest() -> None:
    rows = [a_row("task_s", "10", 4.0), a_row("task_s", "100", 2.0), a_row("task_s", "1000", 3.0)]
    assert spread(rows, "task_s", ["100", "1000"]) == 1.5
    assert spread(rows, "task_s", ["100", "10000"]) is None


def test_only_what_stands_between_a_groups_markers_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- benchmarks: x -->\nold\n<!-- end of benchmarks: x -->\nb\n")
    for _ in range(2):
        put_into(page, "x", "new \\1\n")
    text = "a\n<!-- benchmarks: x -->\n\nnew \\1\n\n<!-- end of benchmarks: x -->\nb\n"
    assert page.read_text() == text
    with pytest.raises(LookupError, match="has no <!-- benchmarks: y -->"):
        put_into(page, "y", "new")
