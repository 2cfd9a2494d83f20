"""Environment variables that are set for a while."""

import os

import pytest

from pynb_dag_runner.processes.environment import environment_with, set_variables


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDR_SET", "before")
    monkeypatch.setenv("PDR_REMOVED", "before")
    monkeypatch.delenv("PDR_NEW", raising=False)


def shown() -> list[str | None]:
    return [os.environ.get(name) for name in ("PDR_SET", "PDR_REMOVED", "PDR_NEW")]


def test_variables_are_back_after_whatever_happened() -> None:
    with pytest.raises(KeyError), environment_with({"PDR_SET": "now", "PDR_REMOVED": None, "PDR_NEW": "now"}):
        assert shown() == ["now", None, "now"]
        raise KeyError
    assert shown() == ["before", "before", None]


def test_what_was_before_can_be_set_back() -> None:
    before = set_variables({"PDR_NEW": "now", "PDR_REMOVED": None})
    set_variables(before)
    assert shown() == ["before", "before", None]
