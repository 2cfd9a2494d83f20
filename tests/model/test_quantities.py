"""Durations and sizes in words."""

import pytest

from pynb_dag_runner.model.quantities import count, duration, more_memory_than_declared, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0 s"),
        (0.0854, "85 ms"),
        (0.9996, "1.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (65, "1 min 5 s"),
        (3_599.7, "1 h"),
        (7_380, "2 h 3 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_are_rounded_to_what_matters(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("amount", "words"), [(None, "–"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (138_412_032, "132 MiB")]
)
def test_sizes_are_rounded_to_what_matters(amount: int | None, words: str) -> None:
    assert size(amount) == words


def test_numbers_have_their_noun() -> None:
    assert [count(number, "task") for number in (0, 1, 12_000)] == ["0 tasks", "1 task", "12,000 tasks"]


def test_memory_is_said_in_the_unit_in_which_it_is_declared() -> None:
    words = "used 1,612 MB, more than the 500 MB that it declared (memory=...)"
    assert more_memory_than_declared(1_612_400_000, 500_000_000) == words
