"""Every executor keeps the same contract: these cases run on each."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import psutil
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
    Limits,
    LimitsOver,
    Resources,
)
from pynb_dag_runner.executors.hosts.supervisor import Host, HostServer
from pynb_dag_runner.model.run_settings import ExecutorName
from pynb_dag_runner.processes.private_directory import PrivateDirectory
from tests.ray_head import TOKEN, RayHead, ray_head

CLUSTER = "ray cluster"


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    """Two processors of it are for jobs."""
    with ray_head(num_cpus=2) as started:
        yield started


@contextmanager
def started(
    name: str, request: pytest.FixtureRequest, new_host: Callable[[], Host], directory: PrivateDirectory
) -> Iterator[Executor]:
    if name == CLUSTER:
        head: RayHead = request.getfixturevalue("head")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_AUTH_TOKEN", TOKEN)
            executor = executor_factory("ray", ray_address=head.address)(new_host, directory)
            yield executor
            executor.close()
        return
    executor = executor_factory(cast(ExecutorName, name), num_cpus=None if name == "inline" else 2)(new_host, directory)
    yield executor
    executor.close()


@pytest.fixture(scope="module", params=[CLUSTER, *EXECUTOR_NAMES])  # one Ray after the other
def executor(request: pytest.FixtureRequest, directory: PrivateDirectory) -> Iterator[Executor]:
    with started(request.param, request, Host, directory) as found:
        yield found


@pytest.fixture(scope="module", params=[CLUSTER, "ray", "process", "ray, forked", "process, forked"])
def hosted(request: pytest.FixtureRequest, directory: PrivateDirectory) -> Iterator[Executor]:
    """The executors whose jobs have a process of their own: a program, or a copy of one that has imported modules."""
    name, _, forked = request.param.partition(", ")
    server = HostServer(("pynb_dag_runner.worker.attempt",) if forked else (), directory.path)
    with started(name, request, server.new_host, directory) as found:
        yield found
    server.close()


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


def end_of(events: list[JobEvent]) -> JobEnded:
    (ended,) = [event for event in events if isinstance(event, JobEnded)]
    return ended


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


def rename_and_sleep_long() -> Generator[object]:
    """What ``ps`` shows of it is gone, as with setproctitle."""
    stat = Path("/proc/self/stat").read_bytes()
    first, end = (int(field) for field in stat[stat.rindex(b")") :].split()[46:48])  # arg_start and arg_end of proc(5)
    ctypes.memset(first, 0, end - first)
    yield from sleep_long()


def exit_at_once() -> Generator[object]:
    yield "before"
    os._exit(3)


def segmentation_fault() -> Generator[object]:
    yield "before"
    ctypes.string_at(0)


def killed() -> Generator[object]:
    yield "before"
    os.kill(os.getpid(), signal.SIGKILL)


def hold_the_lock() -> Generator[object]:
    """PyDLL does not release the interpreter's lock: no signal handler and no other thread runs meanwhile."""
    yield "holding"
    ctypes.PyDLL(None).sleep(600)


def finish_late() -> Generator[object]:
    """Its own work takes no time; what it does afterwards takes longer than its limit."""
    yield "before"
    yield LimitsOver()
    time.sleep(1.0)
    yield "after"


def fill_memory(begin: Path) -> Generator[object]:
    """A child's memory counts as well. It fills when ``begin`` is there: what was there before is not counted."""
    yield "before"
    while not begin.exists():
        time.sleep(0.01)
    subprocess.run([sys.executable, "-c", "kept = b'x' * 300_000_000; import time; time.sleep(600)"], check=True)


class OfTwo(Exception):
    """As any exception whose arguments are not those of its base: it can be pickled, and not unpickled."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def change_directory() -> Generator[object]:
    yield str(Path.cwd())
    os.chdir("/")


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


def test_a_value_of_the_drivers_is_an_input_of_a_job(executor: Executor) -> None:
    handle = executor.put({1, 2, 4})
    assert JobMessage(key="sum", message=7) in finish(executor, Job(key="sum", call=total, inputs=(handle,)))


def test_a_value_that_can_not_be_unpickled_is_named_in_a_sentence(executor: Executor) -> None:
    handle = executor.put(OfTwo(1, 2))
    *_, ended = finish(executor, Job(key="sum", call=total, inputs=(handle,)))
    assert isinstance(ended, JobEnded)
    words = str(ended.death)
    assert words.startswith("a value that it is given can't be read back from its pickle: TypeError: OfTwo.__init__()")
    assert "Traceback" not in words


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


@pytest.mark.parametrize("call", [sleep_long, rename_and_sleep_long])
def test_a_sleeping_job_wakes_up_to_its_cancellation(hosted: Executor, call: Callable[[], Generator[object]]) -> None:
    hosted.submit(Job(key="sleep", call=call))
    until(hosted, "sleeping")
    hosted.cancel("sleep")
    until(hosted, "cancelled")
    assert finish(hosted, Job(key="after", call=say_hello))  # its worker serves on


def test_a_forced_cancellation_ends_the_process(hosted: Executor) -> None:
    hosted.submit(Job(key="stuck", call=hold_the_lock))
    until(hosted, "holding")
    hosted.cancel("stuck", force=True)
    ended = end_of(collect(hosted, "stuck"))
    assert ended.cancelled
    assert "SIGKILL" in str(ended.death)


@pytest.mark.parametrize(
    ("call", "death"),
    [("exit_at_once", "exit code 3"), ("segmentation_fault", "signal SIGSEGV"), ("killed", "signal SIGKILL")],
)
def test_a_process_that_dies_says_how_and_no_other_job_ends(hosted: Executor, call: str, death: str) -> None:
    events = finish(hosted, Job(key="dies", call=globals()[call]), Job(key="lives", call=say_hello))
    deaths = {event.key: event.death for event in events if isinstance(event, JobEnded)}
    assert death in str(deaths["dies"])
    assert deaths["lives"] is None
    assert JobMessage(key="dies", message="before") in events


def test_a_job_past_its_time_is_ended_even_if_it_holds_the_interpreter_lock(hosted: Executor) -> None:
    events = finish(hosted, Job(key="late", call=hold_the_lock, limits=Limits(time_s=0.5)))
    assert end_of(events).exceeded == "time"
    assert JobMessage(key="late", message="holding") in events


def test_what_a_job_does_when_its_limits_are_over_may_take_longer(hosted: Executor) -> None:
    events = finish(hosted, Job(key="late", call=finish_late, limits=Limits(time_s=0.5)))
    assert JobMessage(key="late", message=LimitsOver()) in events
    assert JobMessage(key="late", message="after") in events
    assert end_of(events) == JobEnded(key="late")


def test_a_job_past_its_memory_is_ended_with_its_descendants_counted(hosted: Executor, tmp_path: Path) -> None:
    begin = tmp_path / "begin"
    hosted.submit(Job(key="large", call=partial(fill_memory, begin), limits=Limits(memory_bytes=100_000_000)))
    until(hosted, "before")
    begin.touch()
    ended = end_of(collect(hosted, "large"))
    assert ended.exceeded == "memory"
    assert not any(
        "kept = b'x'" in " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    )
    assert "more than the 100 MB that it declared" in str(ended.death)
    assert end_of(finish(hosted, Job(key="next", call=say_hello, limits=Limits(memory_bytes=100_000_000)))) == JobEnded(
        key="next"
    )


def test_a_job_starts_in_the_directory_of_the_one_before_it_and_not_where_that_went(hosted: Executor) -> None:
    here = [event for event in finish(hosted, Job(key="first", call=change_directory)) if isinstance(event, JobMessage)]
    there = [event for event in finish(hosted, Job(key="next", call=change_directory)) if isinstance(event, JobMessage)]
    assert [event.message for event in here] == [event.message for event in there]


@pytest.mark.parametrize("hosted", ["ray"], indirect=True)
def test_a_second_ray_in_one_process_is_refused_in_words(hosted: Executor, directory: PrivateDirectory) -> None:
    with pytest.raises(ExecutorError, match="already running in this process"):
        executor_factory("ray")(Host, directory)


def test_resources_name_what_is_lacking() -> None:
    there = Resources(num_cpus=2, memory=100, custom={"disk": 1})
    needed = Resources(num_cpus=3, num_gpus=1, memory=50, custom={"disk": 1, "fpga": 2})
    assert there.lacking(needed) == [
        "num_cpus=3 (there are 2)",
        "num_gpus=1 (there are 0)",
        "resource 'fpga'=2 (there are 0)",
    ]
