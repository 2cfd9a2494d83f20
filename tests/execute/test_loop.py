"""The loop with engines that misbehave, and what it says of retries."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import Pipeline, PipelineError, RunStatus, read_run
from pynb_dag_runner.events import AttemptEnded, Event
from pynb_dag_runner.execute.request import RunRequest
from pynb_dag_runner.execute.runner import RunResult, execute_run
from pynb_dag_runner.executors.base import Job, JobEnded, JobEvent
from pynb_dag_runner.executors.inline import InlineExecutor
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.records import SettingsRecord


def make() -> set[int]:
    return {1, 2}


def use(values: set[int]) -> int:
    return len(values)


def fail() -> None:
    raise ValueError("no")


class Forgetful(InlineExecutor):
    """Loses what jobs are given, ``losses`` times."""

    losses = 0

    def __init__(self) -> None:
        super().__init__()
        self._lost: list[JobEvent] = []

    def submit(self, job: Job) -> None:
        if job.inputs and self.losses:
            type(self).losses -= 1
            self._lost.append(JobEnded(key=job.key, lost_input=True))
        else:
            super().submit(job)

    def wait(self, timeout_s: float) -> list[JobEvent]:
        events, self._lost = self._lost, []
        return events or super().wait(timeout_s)


def run_forgetfully(tmp_path: Path, losses: int, damage: Any = None) -> RunResult:
    pipeline = Pipeline("p", base_dir=tmp_path)
    pipeline.function(use, parameters={"values": pipeline.function(make).output()})
    Forgetful.losses = losses

    def listen(event: Event) -> None:
        if damage and isinstance(event, AttemptEnded) and event.task == "make":
            (pickle,) = tmp_path.glob(f"p/*/tasks/make/attempt-1/{paths.RETURN_PICKLE}")
            damage(pickle)

    return execute_run(
        RunRequest(
            dag=pipeline.build(),
            output_dir=tmp_path,
            executor=lambda *_: Forgetful(),
            settings=SettingsRecord(executor="inline"),
            base_dir=tmp_path,
            listeners=[listen],
        )
    )


def test_an_interruption_that_someone_swallowed_is_raised_again(tmp_path: Path) -> None:
    pipeline = Pipeline("p", base_dir=tmp_path)
    pipeline.function(fail)

    def start(*_: object) -> InlineExecutor:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:  # noqa: BLE001 - as modules do when they are imported
            return InlineExecutor()
        raise AssertionError

    request = RunRequest(
        dag=pipeline.build(),
        output_dir=tmp_path,
        executor=start,
        settings=SettingsRecord(executor="inline"),
        base_dir=tmp_path,
    )
    with pytest.raises(KeyboardInterrupt):
        execute_run(request)
    assert list((tmp_path / "p").iterdir()) == []


@pytest.mark.parametrize("losses", [1, 3])
def test_a_value_that_the_engine_lost_is_given_to_it_anew(tmp_path: Path, losses: int) -> None:
    result = run_forgetfully(tmp_path, losses)
    assert result.status is RunStatus.SUCCEEDED
    assert result.tasks["use"].outputs == {"return": 2}
    assert [len(task.attempts) for task in result.tasks.values()] == [1, 1]  # nothing was run twice for it


def test_a_value_that_is_always_lost_fails_the_task(tmp_path: Path) -> None:
    failure = run_forgetfully(tmp_path, 100).tasks["use"].failure
    assert failure is not None
    assert failure.message == "a value that another task returned was lost: it was lost 4 times on the way"


def test_a_value_that_is_lost_everywhere_fails_the_task(tmp_path: Path) -> None:
    failure = run_forgetfully(tmp_path, 1, Path.unlink).tasks["use"].failure
    assert failure is not None
    assert "its return value is not in the run folder any more" in failure.message


def test_retries_wait_longer_from_time_to_time(tmp_path: Path) -> None:
    heard: list[Event] = []
    pipeline = Pipeline("p", base_dir=tmp_path)
    pipeline.function(fail, retries=3, retry_delay_s=0.1, retry_backoff=2, retry_max_delay_s=0.3)
    result = pipeline.run(output_dir=tmp_path, executor="inline", progress=False, listeners=[heard.append])
    ends = [event for event in heard if isinstance(event, AttemptEnded)]
    waits = [(event.retry_at - event.time).total_seconds() for event in ends if event.retry_at]
    for wait, expected in zip(waits, [0.1, 0.2, 0.3], strict=True):
        assert expected - 0.01 <= wait < expected + 5  # the time of a loaded machine is in it
    attempts = result.tasks["fail"].attempts
    for wait, before, after in zip([0.1, 0.2, 0.3], attempts, attempts[1:], strict=False):
        assert after.start is not None
        assert before.end is not None
        assert (after.start - before.end).total_seconds() >= wait - 0.01
    options = read_run(result.folder).tasks[0].options
    assert (options.retry_backoff, options.retry_max_delay_s, options.retry_jitter) == (2, 0.3, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retry_backoff": 0.5}, "retry_backoff must be a number from 1, got 0.5"),
        ({"retry_jitter": 1.5}, "retry_jitter must be a number from 0 to 1, got 1.5"),
        ({"retry_jitter": -1}, "retry_jitter must be a number from 0 to 1, got -1"),
        ({"retry_max_delay_s": "x"}, "retry_max_delay_s must be a number from 0 or None, got 'x'"),
        (
            {"retries": 50, "retry_delay_s": 1, "retry_backoff": 10},
            "its last retry would wait more than 366 days; set retry_max_delay_s",
        ),
        (
            {"retries": 5000, "retry_delay_s": 1, "retry_backoff": 10},
            "its last retry would wait more than 366 days; set retry_max_delay_s",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    pipeline = Pipeline("p", base_dir=tmp_path)
    pipeline.function(fail, **options)
    with pytest.raises(PipelineError, match=f"task 'fail': {said}"):
        pipeline.build()
