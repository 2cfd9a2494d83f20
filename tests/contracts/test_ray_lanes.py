"""What lanes must not do to jobs: hold up those that ask for something else, mix them up, or take them along."""

import os
import time
from collections.abc import Generator, Iterator

import psutil
import pytest

from pynb_dag_runner.executors import executor_factory
from pynb_dag_runner.executors.base import (
    Executor,
    Handle,
    Job,
    JobEnded,
    JobEvent,
    JobKept,
    JobMessage,
    JobStarted,
    Keep,
    Resources,
)
from pynb_dag_runner.executors.hosts.supervisor import Host
from pynb_dag_runner.processes.private_directory import PrivateDirectory

SMALL = Resources(num_cpus=0.5)


@pytest.fixture(scope="module")
def ray(directory: PrivateDirectory) -> Iterator[Executor]:
    started = executor_factory("ray", num_cpus=2)(Host, directory)
    yield started
    started.close()


def collect(executor: Executor, keys: set[str]) -> list[JobEvent]:
    events: list[JobEvent] = []
    while {event.key for event in events if isinstance(event, JobEnded)} < keys:
        events += [event for event in executor.wait(1.0) if event.key in keys]
    return events


def where() -> Generator[object]:
    yield os.getpid()


def nap() -> Generator[object]:
    time.sleep(0.02)
    yield "slept"


def sleep_long() -> Generator[object]:
    yield "sleeping"
    time.sleep(600)


def keep_own_number(number: int) -> Generator[object]:
    yield Keep({number})
    yield "kept"


def check_number(values: set[int]) -> Generator[object]:
    yield values


class KeepOwn:
    """A picklable call with a number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self) -> Generator[object]:
        return keep_own_number(self.number)


def test_one_process_serves_many_jobs(ray: Executor) -> None:
    keys = {f"where-{number}" for number in range(40)}
    for key in keys:
        ray.submit(Job(key=key, call=where, shared=True))
    pids = {event.message for event in collect(ray, keys) if isinstance(event, JobMessage)}
    assert len(pids) <= 3


def test_jobs_that_ask_for_something_else_get_a_turn(ray: Executor) -> None:
    many = [f"many-{number}" for number in range(150)]
    for key in many:
        ray.submit(Job(key=key, call=nap))
    ray.submit(Job(key="other", call=nap, resources=SMALL))
    ends = [event.key for event in collect(ray, {*many, "other"}) if isinstance(event, JobEnded)]
    assert ends.index("other") < len(ends) - 20
    assert sorted(ends) == sorted([*many, "other"])


def test_lanes_that_do_nothing_make_room_for_what_needs_all(ray: Executor) -> None:
    collect_one = Job(key="one", call=where)
    ray.submit(collect_one)
    collect(ray, {"one"})
    ray.submit(Job(key="all", call=where, resources=Resources(num_cpus=2)))
    (end,) = [event for event in collect(ray, {"all"}) if isinstance(event, JobEnded)]
    assert end.death is None


def test_each_kept_value_is_that_of_its_job(ray: Executor) -> None:
    keys = {f"keep-{number}": number for number in range(30)}
    for key, number in keys.items():
        ray.submit(Job(key=key, call=KeepOwn(number)))
    handles: dict[str, Handle] = {
        event.key: event.handle for event in collect(ray, set(keys)) if isinstance(event, JobKept)
    }
    assert handles.keys() == keys.keys()
    again = {f"check-{key}": {number} for key, number in keys.items()}
    for key, handle in handles.items():
        ray.submit(Job(key=f"check-{key}", call=check_number, inputs=(handle,)))
    said = {event.key: event.message for event in collect(ray, set(again)) if isinstance(event, JobMessage)}
    assert said == again


def test_a_ray_worker_that_is_killed_takes_its_job_along_and_no_other(ray: Executor) -> None:
    ray.submit(Job(key="victim", call=sleep_long))
    events: list[JobEvent] = []
    while not any(isinstance(event, JobMessage) for event in events):
        events += ray.wait(1.0)
    (started,) = [event for event in events if isinstance(event, JobStarted)]
    keys = {f"next-{number}" for number in range(5)}
    for key in keys:
        ray.submit(Job(key=key, call=where))
    worker = psutil.Process(started.pid).parent()
    assert worker is not None
    worker.kill()
    ends = {event.key: event.death for event in collect(ray, {"victim", *keys}) if isinstance(event, JobEnded)}
    assert ends.pop("victim") == "the Ray worker that it ran under died"
    assert ends == dict.fromkeys(keys)
