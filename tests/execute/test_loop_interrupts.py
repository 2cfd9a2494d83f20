"""What the loop does when it is interrupted, case by case; as in :mod:`tests.execute.test_loop_cases`."""

from pathlib import Path

import pytest

from pynb_dag_runner.model.outcomes import Outcome, RunStatus
from tests.execute.fakes import (
    ended,
    fails,
    finished,
    hangs,
    started,
    succeeds,
)
from tests.execute.loop_case import Case, check

INTERRUPTS: dict[str, Case] = {
    "Ctrl-C lets an attempt end in order": Case(
        ctrl_c=(2,),
        status=RunStatus.CANCELLED,
        tasks={"a": {"retries": 1}, "b": {"after": "a"}, "c": {}},
        scripts={"a#1": hangs(), "c#1": succeeds(after=1)},
        when_cancelled={"a#1": [(0.5, finished(Outcome.CANCELLED, "stopped")), (0.5, ended(cancelled=True))]},
        expected="""
                0 submit a#1
                0 submit c#1
                0 a#1 starts
                0 c#1 starts
                1 c#1 SUCCEEDED
                1 c is SUCCEEDED
                2 b is CANCELLED
                2 cancel a#1
                2.5 a#1 CANCELLED: stopped
                2.5 a is CANCELLED""",
    ),
    "what does not end after Ctrl-C is ended": Case(
        ctrl_c=(2,),
        status=RunStatus.CANCELLED,
        scripts={"a#1": hangs()},
        expected="""
                0 submit a#1
                0 a#1 starts
                2 cancel a#1
                4 force a#1
                4 a#1 CANCELLED: the run was cancelled
                4 a is CANCELLED""",
    ),
    "what has not begun and does not end after Ctrl-C is ended": Case(
        ctrl_c=(2,),
        status=RunStatus.CANCELLED,
        scripts={"a#1": [(0, started)]},
        expected="""
            0 submit a#1
            2 cancel a#1
            4 force a#1
            4 a#1 CANCELLED: the run was cancelled
            4 a is CANCELLED""",
    ),
    "a second Ctrl-C waits for nothing": Case(
        ctrl_c=(2, 2.5),
        status=RunStatus.CANCELLED,
        tasks={"a": {}, "b": {}},
        scripts={"a#1": hangs(), "b#1": []},
        expected="""
                0 submit a#1
                0 submit b#1
                0 a#1 starts
                2 cancel a#1
                2 cancel b#1
                2.5 a#1 CANCELLED: the run was cancelled
                2.5 a is CANCELLED
                2.5 b#1 CANCELLED: the run was cancelled
                2.5 b is CANCELLED""",
    ),
    "a second Ctrl-C does not wait for finishing work": Case(
        ctrl_c=(2, 2.5),
        scripts={"a#1": [*hangs(), (1, finished()), (60, ended())]},
        expected="""
            0 submit a#1
            0 a#1 starts
            1 a#1 SUCCEEDED
            1 a is SUCCEEDED""",
    ),
    "two at once": Case(
        ctrl_c=(2, 2),
        status=RunStatus.CANCELLED,
        scripts={"a#1": hangs()},
        expected="""
                0 submit a#1
                0 a#1 starts
                2 cancel a#1
                2 a#1 CANCELLED: the run was cancelled
                2 a is CANCELLED""",
    ),
    "after Ctrl-C finishing work has little time": Case(
        ctrl_c=(2,),
        scripts={"a#1": [*hangs(), (1, finished()), (60, ended())]},
        expected="""
                0 submit a#1
                0 a#1 starts
                1 a#1 SUCCEEDED
                1 a is SUCCEEDED
                4 force a#1""",
    ),
    "work that succeeds after Ctrl-C has succeeded": Case(
        ctrl_c=(2,),
        status=RunStatus.CANCELLED,
        tasks={"a": {}, "b": {"after": "a"}},
        scripts={"a#1": hangs()},
        when_cancelled={"a#1": [(1, finished()), (1, ended())]},
        expected="""
                0 submit a#1
                0 a#1 starts
                2 b is CANCELLED
                2 cancel a#1
                3 a#1 SUCCEEDED
                3 a is SUCCEEDED""",
    ),
    "a retry that waits is given up at Ctrl-C": Case(
        ctrl_c=(2,),
        status=RunStatus.CANCELLED,
        tasks={"a": {"retries": 1, "retry_delay_s": 10}, "b": {}},
        scripts={"a#1": fails(), "b#1": succeeds(after=2.5)},
        expected="""
                0 submit a#1
                0 submit b#1
                0 a#1 starts
                0 b#1 starts
                1 a#1 FAILED: no, again in 10 s
                2 a is CANCELLED
                2 cancel b#1
                2.5 b#1 SUCCEEDED
                2.5 b is SUCCEEDED""",
    ),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in INTERRUPTS.items()])
def test_what_happens_when(tmp_path: Path, case: Case) -> None:
    check(case, tmp_path)
