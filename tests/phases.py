"""Which tests share the machine with others: `make test` runs most side by side, then those marked `alone`."""

import pytest
from xdist.scheduler import LoadFileScheduling

_PHASES = ("together", "alone")
_ONE_WORKER = ("ui-dev/",)
"""Directories whose files share what took long to make: they go to one worker, all other files to any."""


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


class _ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out files in the order of the collection; those of some directories together."""

    def _split_scope(self, nodeid: str) -> str:
        for directory in _ONE_WORKER:
            if nodeid.startswith(directory):
                return directory
        return str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)  # without xdist (`-p no:xdist`) there is no such hook
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _ByFile:
    """Replace the schedulers of `--dist`."""
    config.option.loadscopereorder = False  # else by the number of tests, which says nothing of the time they take
    return _ByFile(config, log)
