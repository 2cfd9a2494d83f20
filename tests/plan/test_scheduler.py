"""The plan decides alone: events in, decisions out."""

import pytest

from pynb_dag_runner.model.outcomes import Outcome, TaskStatus
from pynb_dag_runner.model.task_options import TaskOptions
from pynb_dag_runner.plan.scheduler import Plan, Retry, Settle, Start, Stop, retry_delay_s

DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def plan_of(
    upstream: dict[str, tuple[str, ...]], *, retries: int = 0, delay_s: float = 0.0, fail_fast: bool = False
) -> Plan:
    options = {name: TaskOptions(retries=retries, retry_delay_s=delay_s) for name in upstream}
    return Plan(upstream, options, fail_fast=fail_fast)


def start(*tasks: str) -> list[Start]:
    return [Start(task=task, number=1) for task in tasks]


def test_tasks_without_upstream_start_first_in_order_of_definition() -> None:
    assert plan_of({"z": (), "a": (), "m": ("z",)}).begin() == start("z", "a")


def test_a_task_starts_when_its_last_upstream_has_succeeded() -> None:
    plan = plan_of(DIAMOND)
    plan.begin()
    assert plan.ended("a", Outcome.SUCCEEDED, 0.0) == [Settle(task="a", status=TaskStatus.SUCCEEDED), *start("b", "c")]
    assert plan.ended("c", Outcome.SUCCEEDED, 1.0) == [Settle(task="c", status=TaskStatus.SUCCEEDED)]
    assert plan.ended("b", Outcome.SUCCEEDED, 2.0) == [Settle(task="b", status=TaskStatus.SUCCEEDED), *start("d")]


def test_the_run_is_done_when_every_task_is_settled() -> None:
    plan = plan_of({"a": ()})
    plan.begin()
    assert not plan.done
    plan.ended("a", Outcome.SUCCEEDED, 0.0)
    assert plan.done


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CRASHED])
def test_what_did_not_succeed_is_tried_again_after_the_delay(outcome: Outcome) -> None:
    plan = plan_of({"a": ()}, retries=1, delay_s=5.0)
    plan.begin()
    assert plan.ended("a", outcome, 10.0) == [Retry(task="a", number=1, at=15.0)]
    assert plan.next_retry_at == 15.0
    assert plan.due(14.9) == []
    assert plan.due(15.0) == [Start(task="a", number=2)]


def test_the_status_is_the_outcome_of_the_last_attempt() -> None:
    plan = plan_of({"a": ()}, retries=1)
    plan.begin()
    plan.ended("a", Outcome.FAILED, 0.0)
    plan.due(0.0)
    assert plan.ended("a", Outcome.TIMED_OUT, 1.0) == [Settle(task="a", status=TaskStatus.TIMED_OUT)]


def test_an_attempt_that_could_only_fail_again_is_not_repeated() -> None:
    plan = plan_of({"a": ()}, retries=3)
    plan.begin()
    assert plan.ended("a", Outcome.FAILED, 0.0, retry=False) == [Settle(task="a", status=TaskStatus.FAILED)]


def test_everything_below_a_failed_task_is_skipped_and_names_it() -> None:
    plan = plan_of({**DIAMOND, "other": ()})
    plan.begin()
    decisions = plan.ended("a", Outcome.FAILED, 0.0)
    assert decisions == [
        Settle(task="a", status=TaskStatus.FAILED),
        *(Settle(task=name, status=TaskStatus.SKIPPED, blocked_by="a") for name in ("b", "d", "c")),
    ]
    assert not plan.done  # the independent task goes on


def test_a_task_below_two_failed_ones_is_settled_once() -> None:
    plan = plan_of({"a": (), "b": (), "c": ("a", "b")})
    plan.begin()
    plan.ended("a", Outcome.FAILED, 0.0)
    assert plan.ended("b", Outcome.FAILED, 0.0) == [Settle(task="b", status=TaskStatus.FAILED)]
    assert plan.done


def test_fail_fast_stops_what_runs_and_cancels_what_waits() -> None:
    plan = plan_of({"a": (), "b": (), "c": ("b",)}, fail_fast=True)
    plan.begin()
    assert plan.ended("a", Outcome.FAILED, 0.0) == [
        Settle(task="a", status=TaskStatus.FAILED),
        Settle(task="c", status=TaskStatus.CANCELLED),
        Stop(task="b", number=1),
    ]


def test_a_cancelled_run_starts_and_retries_nothing_more() -> None:
    plan = plan_of({"a": (), "b": ("a",)}, retries=5)
    plan.begin()
    assert plan.cancel() == [Settle(task="b", status=TaskStatus.CANCELLED), Stop(task="a", number=1)]
    assert plan.ended("a", Outcome.FAILED, 0.0) == [Settle(task="a", status=TaskStatus.FAILED)]
    assert plan.done


def test_cancelling_drops_a_retry_that_waits() -> None:
    plan = plan_of({"a": ()}, retries=1, delay_s=60.0)
    plan.begin()
    plan.ended("a", Outcome.FAILED, 0.0)
    assert plan.cancel() == [Settle(task="a", status=TaskStatus.CANCELLED)]
    assert plan.due(100.0) == []
    assert plan.done


def test_a_success_during_cancellation_starts_nothing_downstream() -> None:
    plan = plan_of({"a": (), "b": ("a",)})
    plan.begin()
    plan.cancel()
    assert plan.ended("a", Outcome.SUCCEEDED, 0.0) == [Settle(task="a", status=TaskStatus.SUCCEEDED)]
    assert plan.done


def test_the_delay_grows_by_the_factor_up_to_its_limit() -> None:
    options = TaskOptions(retries=9, retry_delay_s=2.0, retry_backoff=3.0, retry_max_delay_s=20.0)
    assert [retry_delay_s(options, number, 0.5) for number in (1, 2, 3, 4)] == [2.0, 6.0, 18.0, 20.0]


@pytest.mark.parametrize(("draw", "wait"), [(0.0, 5.0), (0.5, 10.0), (1.0, 15.0)])
def test_chance_adds_or_takes_away_a_share_of_the_delay(draw: float, wait: float) -> None:
    plan = Plan({"a": ()}, {"a": TaskOptions(retries=1, retry_delay_s=10.0, retry_jitter=0.5)})
    plan.begin()
    assert plan.ended("a", Outcome.FAILED, 100.0, draw=draw) == [Retry(task="a", number=1, at=100.0 + wait)]


def test_chance_does_not_pass_the_limit() -> None:
    options = TaskOptions(retry_delay_s=10.0, retry_max_delay_s=12.0, retry_jitter=1.0)
    assert retry_delay_s(options, 1, 1.0) == 12.0


def test_a_delay_beyond_all_numbers_is_the_limit() -> None:
    options = TaskOptions(retry_delay_s=1.0, retry_backoff=1e200, retry_max_delay_s=60.0)
    assert retry_delay_s(options, 9, 0.5) == 60.0


def test_tasks_that_are_taken_over_start_nothing_and_come_first() -> None:
    plan = Plan({"new": (), **DIAMOND}, {}, reused={"a", "b"})
    assert plan.begin() == [
        Settle(task="a", status=TaskStatus.REUSED),
        Settle(task="b", status=TaskStatus.REUSED),
        *start("new", "c"),
    ]
    assert plan.ended("c", Outcome.SUCCEEDED, 0.0) == [Settle(task="c", status=TaskStatus.SUCCEEDED), *start("d")]


def test_a_run_of_which_all_is_taken_over_is_done_at_once() -> None:
    plan = Plan(DIAMOND, {}, reused=set(DIAMOND))
    assert [decision.task for decision in plan.begin()] == list(DIAMOND)
    assert plan.done


def test_attempts_of_before_take_numbers_but_no_retries() -> None:
    options = TaskOptions(retries=1, retry_delay_s=2.0, retry_backoff=10.0)
    plan = Plan({"a": ()}, {"a": options}, attempts_before={"a": 3})
    assert plan.begin() == [Start(task="a", number=4)]
    assert plan.ended("a", Outcome.FAILED, 0.0) == [Retry(task="a", number=4, at=2.0)]
    assert plan.due(2.0) == [Start(task="a", number=5)]
    assert plan.ended("a", Outcome.FAILED, 3.0) == [Settle(task="a", status=TaskStatus.FAILED)]


def test_when_nothing_more_may_start_what_runs_goes_on_and_is_not_retried() -> None:
    plan = plan_of({"a": (), "b": ("a",)}, retries=2)
    plan.begin()
    assert plan.start_no_more() == [Settle(task="b", status=TaskStatus.CANCELLED)]
    assert plan.ended("a", Outcome.TIMED_OUT, 1.0) == [Settle(task="a", status=TaskStatus.TIMED_OUT)]
    assert plan.done
