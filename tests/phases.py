"""Which tests share the machine with others: `make test` runs most side by side, then those marked `alone`."""

import pytest

_PHASES = ("together", "alone")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--phase`; without it, all tests run."""
    words = "run only the tests that may run side by side, or only those marked `alone`"
    parser.addoption("--phase", choices=_PHASES, help=words)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of the other phase.

    An option beside `-m`, so that whoever chooses tests with `-m` chooses among those of both phases.
    """
    phase = config.getoption("--phase")
    if phase is None:
        return
    others = [item for item in items if (item.get_closest_marker("alone") is not None) != (phase == "alone")]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in set(others)]
