"""Every executor keeps the same contract: these cases run on each."""

import os
import time
from collections.abc import Generator, Iterator

import pytest

from pynb_dag_runner.errors import ExecutorError
from pynb_dag_runner.executors import EXECUTOR_NAMES, executor_factory
from pynb_dag_runner.executors.base import (
    Executor,
    Handle,
    Job,
    JobCancelled,
    JobEnded,
    JobEvent,
    JobKept,
    JobMessage,
    JobStarted,
    Keep,
    Resources,
)


@pytest.fixture(scope="module", params=EXECUTOR_NAMES)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    started = executor_factory(request.param, num_cpus=2 if request.param == "ray" else None)()
    yield started
    started.close()


@pytest.fixture(scope="module")
def ray_executor() -> Iterator[Executor]:
    started = executor_factory("ray", num_cpus=2)()
    yield started
    started.close()


def finish(executor: Executor, *jobs: Job) -> list[JobEvent]:
    """Submit jobs and collect their events until each has ended; what is left of earlier jobs does not count."""
    for job in jobs:
        executor.submit(job)
    return collect(executor, *(job.key for job in jobs))


def collect(executor: Executor, *keys: str) -> list[JobEvent]:
    """The events of these jobs, until each has ended."""
    events: list[JobEvent] = []
    while {event.key for event in events if isinstance(event, JobEnded)} < set(keys):
        events += [event for event in executor.wait(1.0) if event.key in keys]
    return events


def until(executor: Executor, message: object) -> None:
    while not any(isinstance(event, JobMessage) and event.message == message for event in executor.wait(1.0)):
        pass


def say(*messages: object) -> Generator[object]:
    yield from messages


def say_hello() -> Generator[object]:
    yield from say("hello", {"nested": [1, 2.5, None]})


def keep_a_set() -> Generator[object]:
    yield Keep({1, 2, 3})


def total(values: set[int]) -> Generator[object]:
    yield sum(values)


def raise_an_error() -> Generator[object]:
    yield "before"
    raise ValueError("broke its contract")


def sleep_long() -> Generator[object]:
    try:
        yield "sleeping"
        time.sleep(600)
    except JobCancelled:
        yield "cancelled"


def exit_at_once() -> Generator[object]:
    yield "before"
    os._exit(3)


def test_a_job_starts_says_its_messages_in_order_and_ends(executor: Executor) -> None:
    events = finish(executor, Job(key="one", call=say_hello))
    assert isinstance(events[0], JobStarted)
    assert events[1:] == [
        JobMessage(key="one", message="hello"),
        JobMessage(key="one", message={"nested": [1, 2.5, None]}),
        JobEnded(key="one"),
    ]


def test_a_kept_value_is_an_input_of_a_later_job(executor: Executor) -> None:
    kept = finish(executor, Job(key="keep", call=keep_a_set))
    handles: list[Handle] = [event.handle for event in kept if isinstance(event, JobKept)]
    events = finish(executor, Job(key="use", call=total, inputs=tuple(handles)))
    assert JobMessage(key="use", message=6) in events


def test_an_exception_ends_the_job_as_a_death_that_says_what_it_was(executor: Executor) -> None:
    *_, ended = finish(executor, Job(key="bad", call=raise_an_error))
    assert isinstance(ended, JobEnded)
    assert "ValueError: broke its contract" in str(ended.death)


def test_every_submitted_job_ends_exactly_once(executor: Executor) -> None:
    jobs = [Job(key=f"many-{number}", call=say_hello) for number in range(100)]
    ended = [event.key for event in finish(executor, *jobs) if isinstance(event, JobEnded)]
    assert sorted(ended) == sorted(job.key for job in jobs)


def test_a_queued_job_that_is_cancelled_ends_without_running(executor: Executor) -> None:
    executor.submit(Job(key="first", call=say_hello, resources=Resources(num_cpus=2)))
    executor.submit(Job(key="queued", call=say_hello, resources=Resources(num_cpus=2)))
    executor.cancel("queued", force=True)
    events = collect(executor, "first", "queued")
    assert [event for event in events if isinstance(event, JobMessage) and event.key == "queued"] == []
    (ended,) = [event for event in events if isinstance(event, JobEnded) and event.key == "queued"]
    assert ended.cancelled


def test_cancelling_what_is_over_changes_nothing(executor: Executor) -> None:
    finish(executor, Job(key="over", call=say_hello))
    executor.cancel("over")
    executor.cancel("over", force=True)
    assert len(finish(executor, Job(key="next", call=say_hello))) == 4


def test_waiting_with_nothing_to_do_returns_nothing(executor: Executor) -> None:
    assert executor.wait(0.01) == []


def test_a_sleeping_job_wakes_up_to_its_cancellation(ray_executor: Executor) -> None:
    ray_executor.submit(Job(key="sleep", call=sleep_long))
    until(ray_executor, "sleeping")
    ray_executor.cancel("sleep")
    until(ray_executor, "cancelled")
    assert finish(ray_executor, Job(key="after", call=say_hello))  # its worker serves on


def test_a_forced_cancellation_ends_the_process(ray_executor: Executor) -> None:
    ray_executor.submit(Job(key="stuck", call=sleep_long))
    until(ray_executor, "sleeping")
    ray_executor.cancel("stuck", force=True)
    (ended,) = collect(ray_executor, "stuck")
    assert isinstance(ended, JobEnded)
    assert ended.cancelled
    assert ended.death == "its worker process died"


def test_a_process_that_dies_ends_its_job_and_no_other(ray_executor: Executor) -> None:
    events = finish(ray_executor, Job(key="dies", call=exit_at_once), Job(key="lives", call=say_hello))
    deaths = {event.key: event.death for event in events if isinstance(event, JobEnded)}
    assert deaths == {"dies": "its worker process died", "lives": None}


def test_a_second_ray_in_one_process_is_refused_in_words(ray_executor: Executor) -> None:
    with pytest.raises(ExecutorError, match="already running in this process"):
        executor_factory("ray")()


def test_resources_name_what_is_lacking() -> None:
    there = Resources(num_cpus=2, memory=100, custom={"disk": 1})
    needed = Resources(num_cpus=3, num_gpus=1, memory=50, custom={"disk": 1, "fpga": 2})
    assert there.lacking(needed) == [
        "num_cpus=3 (there are 2)",
        "num_gpus=1 (there are 0)",
        "resource 'fpga'=2 (there are 0)",
    ]
