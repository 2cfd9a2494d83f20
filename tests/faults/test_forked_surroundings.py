"""A forked kernel finds what a started one would have found: the same cell in both, compared fact by fact."""

import asyncio
import contextlib
import json
import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner.processes.fork_server.client import ServerPlace
from tests.faults.kernel_facts import CELL, SAME
from tests.faults.kernels import MARK, fork_server, kernel, printed

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """Surroundings of a kernel.

    Attributes:
        driver: variables that are there when the server is started.
        own: variables of the kernel alone.
        preload: imported before, and by the notebook.
    """

    driver: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    preload: tuple[str, ...] = ()


CASES = {
    "nothing special": Case(),
    # Variables of the attempt, and those that a process may read at any time.
    "a time zone of its own": Case(own={"TZ": "Asia/Tokyo", "OWN_SETTING": "x" * 1000}),
    # They are read when the interpreter starts, relative to where it does.
    "relative search path": Case(driver={"PYTHONPATH": f"lib{os.pathsep}{os.pathsep}../beside"}),
    "no unsafe search path": Case(driver={"PYTHONSAFEPATH": "1"}),
    # The preloaded server has imported them before there was a shell.
    "preload": Case(preload=("numpy", "pandas", "matplotlib.pyplot", "sets_a_variable")),
}
SETS_A_VARIABLE = """
import os
os.environ["SET_BY_AN_IMPORT"] = "1"  # as scikit-learn does for OpenMP
"""


@pytest.fixture(scope="module", params=CASES)
def facts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Facts, Facts]]:
    """Of a started and of a forked kernel."""
    case, base = CASES[request.param], tmp_path_factory.mktemp("surroundings")
    (base / "modules").mkdir()
    (base / "modules" / "sets_a_variable.py").write_text(SETS_A_VARIABLE)
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("OMP_NUM_THREADS", "1")
        if case.preload:
            patch.setenv("PYTHONPATH", str(base / "modules"))
        for name, value in case.driver.items():
            patch.setenv(name, value)
        cell = "".join(f"import {name}\n" for name in case.preload) + CELL
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))  # so that a server has something to raise
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with fork_server(*case.preload) as place:
            yield tuple(asyncio.run(_facts(base, where, cell, case.own)) for where in (None, place))  # type: ignore[misc]


async def _facts(base: Path, place: ServerPlace | None, cell: str, own: Mapping[str, str]) -> Facts:
    async with kernel(base, place, environment=own) as one:
        assert one.how is not None
        assert one.how.how == ("started" if place is None else "forked"), one.how
        assert one.how.preloaded == (place.preload if place else ()), one.how
        found = json.loads(await printed(one, f"{cell}\nprint(json.dumps(facts))"))
    return {**found, "folder": str(base)}


@pytest.mark.parametrize("fact", SAME)
def test_a_forked_kernel_finds_what_a_started_one_finds(facts: tuple[Facts, Facts], fact: str) -> None:
    started, forked = facts
    assert forked[fact] == started[fact]


def test_all_modules_of_a_started_kernel_are_there(facts: tuple[Facts, Facts]) -> None:
    started, forked = facts
    assert set(started["modules"]) - set(forked["modules"]) == set()


def test_no_more_sockets_than_a_started_kernel_has(facts: tuple[Facts, Facts]) -> None:
    started, forked = facts
    assert forked["sockets"] <= started["sockets"]
    assert forked["number of threads"] <= started["number of threads"]


def test_what_they_draw_differs(facts: tuple[Facts, Facts]) -> None:
    started, forked = facts
    assert len({*started["drawn"], *forked["drawn"]}) == 2 * len(started["drawn"])


def test_its_mark_is_seen_from_outside(facts: tuple[Facts, Facts]) -> None:
    started, forked = facts
    assert f"{MARK}={forked['folder']}" in forked["mark"]
    more = {entry for entry in forked["mark"] if not entry.startswith("PYNB_DAG_RUNNER_SCRATCH=")}  # one for each run
    assert more - set(started["mark"]) == {"PYNB_DAG_RUNNER_ROOM="}
