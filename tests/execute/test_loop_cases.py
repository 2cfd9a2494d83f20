"""What the loop does, case by case, with an engine that follows a script and a clock that runs as fast as it is let.

Each line of what is expected begins with the second at which it happens.
"""

from pathlib import Path

import pytest

from pynb_dag_runner.executors.base import LimitsOver
from pynb_dag_runner.model.outcomes import Outcome, RunStatus
from tests.execute.fakes import (
    dies,
    ended,
    fails,
    finished,
    hangs,
    says,
)
from tests.execute.loop_case import Case, check

RETRIES: dict[str, Case] = {
    "one after another": Case(
        tasks={"a": {}, "b": {"after": "a"}},
        expected="""
            0 submit a#1
            0 a#1 starts
            1 a#1 SUCCEEDED
            1 a is SUCCEEDED
            1 submit b#1
            1 b#1 starts
            2 b#1 SUCCEEDED
            2 b is SUCCEEDED""",
    ),
    "a failure skips what is below": Case(
        tasks={"a": {}, "b": {"after": "a"}, "c": {"after": "b"}},
        scripts={"a#1": fails()},
        status=RunStatus.FAILED,
        expected="""
            0 submit a#1
            0 a#1 starts
            1 a#1 FAILED: no
            1 a is FAILED
            1 b is SKIPPED by a
            1 c is SKIPPED by a""",
    ),
    "a retry waits": Case(
        tasks={"a": {"retries": 1, "retry_delay_s": 10.1}},
        scripts={"a#1": fails()},
        expected="""
            0 submit a#1
            0 a#1 starts
            1 a#1 FAILED: no, again in 10.1 s
            11.1 submit a#2
            11.1 a#2 starts
            12.1 a#2 SUCCEEDED
            12.1 a is SUCCEEDED""",
    ),
    "retries wait longer, to a limit": Case(
        tasks={"a": {"retries": 3, "retry_delay_s": 10, "retry_backoff": 2, "retry_max_delay_s": 25}},
        scripts={f"a#{number}": fails(after=0) for number in (1, 2, 3, 4)},
        status=RunStatus.FAILED,
        expected="""
            0 submit a#1
            0 a#1 starts
            0 a#1 FAILED: no, again in 10 s
            10 submit a#2
            10 a#2 starts
            10 a#2 FAILED: no, again in 20 s
            30 submit a#3
            30 a#3 starts
            30 a#3 FAILED: no, again in 25 s
            55 submit a#4
            55 a#4 starts
            55 a#4 FAILED: no
            55 a is FAILED""",
    ),
    "chance adds to a delay": Case(
        tasks={"a": {"retries": 1, "retry_delay_s": 10, "retry_jitter": 0.3}},
        scripts={"a#1": fails(after=0)},
        chance=1.0,
        expected="""
            0 submit a#1
            0 a#1 starts
            0 a#1 FAILED: no, again in 13 s
            13 submit a#2
            13 a#2 starts
            14 a#2 SUCCEEDED
            14 a is SUCCEEDED""",
    ),
    "a job's death is retried": Case(
        tasks={"a": {"retries": 1}},
        scripts={"a#1": dies(after=2)},
        expected="""
            0 submit a#1
            0 a#1 starts
            2 a#1 CRASHED: killed by SIGKILL, again in 0 s
            2 submit a#2
            2 a#2 starts
            3 a#2 SUCCEEDED
            3 a is SUCCEEDED""",
    ),
    "a job dies before it starts": Case(
        scripts={"a#1": [(1, ended(death="the node was lost"))]},
        status=RunStatus.FAILED,
        expected="""
            0 submit a#1
            1 a#1 CRASHED: the node was lost
            1 a is CRASHED""",
    ),
    "a job ends without a word": Case(
        scripts={"a#1": [*hangs(), (1, ended())]},
        status=RunStatus.FAILED,
        expected="""
            0 submit a#1
            0 a#1 starts
            1 a#1 CRASHED: its process ended without a word
            1 a is CRASHED""",
    ),
    "the first failure ends all": Case(
        tasks={"a": {}, "b": {}, "c": {"after": "b"}},
        scripts={"a#1": fails(), "b#1": hangs()},
        when_cancelled={"b#1": [(0.5, finished(Outcome.CANCELLED, "stopped")), (0.5, ended(cancelled=True))]},
        settings={"fail_fast": True},
        status=RunStatus.FAILED,
        expected="""
            0 submit a#1
            0 submit b#1
            0 a#1 starts
            0 b#1 starts
            1 a#1 FAILED: no
            1 a is FAILED
            1 c is CANCELLED
            1 cancel b#1
            1.5 b#1 CANCELLED: stopped
            1.5 b is CANCELLED""",
    ),
}

LIMITS: dict[str, Case] = {
    "the worker ends an attempt at its timeout": Case(
        tasks={"a": {"timeout_s": 5}},
        scripts={"a#1": fails(after=5, outcome=Outcome.TIMED_OUT, why="timed out")},
        status=RunStatus.FAILED,
        expected="""
            0 submit a#1
            0 a#1 starts
            5 a#1 TIMED_OUT: timed out
            5 a is TIMED_OUT""",
    ),
    "a worker that does not end it is ended": Case(  # 0.8 s after its timeout it should have, or 1 s later the engine
        tasks={"a": {"timeout_s": 5, "retries": 1}},
        scripts={"a#1": hangs()},
        expected="""
            0 submit a#1
            0 a#1 starts
            6.8 force a#1
            6.8 a#1 TIMED_OUT: timed out after 5 s, again in 0 s
            6.8 submit a#2
            6.8 a#2 starts
            7.8 a#2 SUCCEEDED
            7.8 a is SUCCEEDED""",
    ),
    "the engine ends it at its timeout": Case(
        tasks={"a": {"timeout_s": 5}},
        scripts={"a#1": dies(after=5.8, exceeded="time")},
        status=RunStatus.FAILED,
        expected="""
            0 submit a#1
            0 a#1 starts
            5.8 a#1 TIMED_OUT: timed out after 5 s
            5.8 a is TIMED_OUT""",
    ),
    "the engine ends it for its memory": Case(
        scripts={"a#1": dies(death="it used 2 GB", exceeded="memory")},
        status=RunStatus.FAILED,
        expected="""
            0 submit a#1
            0 a#1 starts
            1 a#1 CRASHED: it used 2 GB
            1 a is CRASHED""",
    ),
    "finishing work has no limit": Case(
        tasks={"a": {"timeout_s": 5}},
        scripts={"a#1": [*hangs(), (4, says(LimitsOver())), (20, finished()), (30, ended())]},
        expected="""
            0 submit a#1
            0 a#1 starts
            20 a#1 SUCCEEDED
            20 a is SUCCEEDED""",
    ),
    "after the end of an attempt its process may take its time": Case(
        tasks={"a": {"timeout_s": 5}, "b": {"after": "a"}},
        scripts={"a#1": [*hangs(), (4, finished()), (9, ended())]},
        expected="""
            0 submit a#1
            0 a#1 starts
            4 a#1 SUCCEEDED
            4 a is SUCCEEDED
            4 submit b#1
            4 b#1 starts
            5 b#1 SUCCEEDED
            5 b is SUCCEEDED""",
    ),
    "a worker notices the run's limit": Case(
        tasks={"a": {"retries": 1}, "b": {"after": "a"}},
        scripts={"a#1": fails(after=3, outcome=Outcome.TIMED_OUT, why="timed out after 3 s")},
        settings={"timeout_s": 3},
        status=RunStatus.FAILED,
        expected="""
            0 submit a#1
            0 a#1 starts
            3 warning: the run's time limit of 3 s was over: what runs is ended, nothing more starts
            3 b is CANCELLED
            3 a#1 TIMED_OUT: timed out after 3 s; the run's time limit of 3 s was over
            3 a is TIMED_OUT""",
    ),
    "the run's limit ends what runs and what waits": Case(  # b is in the engine's queue
        tasks={"a": {}, "b": {}, "c": {"after": "b"}},
        scripts={"a#1": hangs(), "b#1": []},
        when_cancelled={"b#1": [(0, ended(cancelled=True))]},
        settings={"timeout_s": 3.1},
        status=RunStatus.FAILED,
        expected="""
            0 submit a#1
            0 submit b#1
            0 a#1 starts
            3.1 warning: the run's time limit of 3.1 s was over: what runs is ended, nothing more starts
            3.1 c is CANCELLED
            3.1 cancel b#1
            3.1 b#1 CANCELLED: the run's time limit of 3.1 s was over before it started
            3.1 b is CANCELLED
            4.9 force a#1
            4.9 a#1 TIMED_OUT: timed out after 3.1 s; the run's time limit of 3.1 s was over
            4.9 a is TIMED_OUT""",
    ),
    "the shorter limit counts": Case(
        tasks={"a": {"timeout_s": 2}},
        scripts={"a#1": hangs()},
        settings={"timeout_s": 3},
        status=RunStatus.FAILED,
        expected="""
            0 submit a#1
            0 a#1 starts
            3 warning: the run's time limit of 3 s was over: what runs is ended, nothing more starts
            3.8 force a#1
            3.8 a#1 TIMED_OUT: timed out after 2 s
            3.8 a is TIMED_OUT""",
    ),
    "no retry starts when the run's limit is over": Case(
        tasks={"a": {"retries": 1, "retry_delay_s": 10}},
        scripts={"a#1": fails()},
        settings={"timeout_s": 3},
        status=RunStatus.FAILED,
        expected="""
            0 submit a#1
            0 a#1 starts
            1 a#1 FAILED: no, again in 10 s
            3 warning: the run's time limit of 3 s was over: what runs is ended, nothing more starts
            3 a is CANCELLED""",
    ),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in (RETRIES | LIMITS).items()])
def test_what_happens_when(tmp_path: Path, case: Case) -> None:
    check(case, tmp_path)
