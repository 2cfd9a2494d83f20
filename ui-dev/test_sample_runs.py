"""The sample runs are what they say they are: else the pages made of them would prove nothing."""

import pytest
from sample_runs import SampleRuns, read_sample_runs

from pynb_dag_runner import RunStatus, TaskStatus, read_run

# Chromium is not needed, but the sample runs are, which take most of the browser tests' time.
pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("name", "status", "of_clean", "attempts"),
    [
        ("succeeded", RunStatus.SUCCEEDED, TaskStatus.SUCCEEDED, 1),
        ("less noise", RunStatus.SUCCEEDED, TaskStatus.SUCCEEDED, 1),
        ("more noise", RunStatus.SUCCEEDED, TaskStatus.SUCCEEDED, 1),
        ("failed", RunStatus.FAILED, TaskStatus.FAILED, 2),
        ("timed out", RunStatus.FAILED, TaskStatus.TIMED_OUT, 1),
        ("interrupted", RunStatus.INTERRUPTED, TaskStatus.PENDING, 1),
    ],
)
def test_a_sample_ended_as_its_name_says(
    samples: SampleRuns, name: str, status: RunStatus, of_clean: TaskStatus, attempts: int
) -> None:
    run = read_run(samples.by_name[name])
    clean = run.by_name["clean"]
    assert (run.status, clean.status, len(clean.attempts)) == (status, of_clean, attempts)


def test_tasks_behind_one_that_did_not_succeed_are_skipped(samples: SampleRuns) -> None:
    run = read_run(samples.failed)
    assert {task.name for task in run.tasks if task.status is TaskStatus.SKIPPED} == {
        task.name for task in run.tasks
    } - {"measure", "clean"}


def test_samples_made_before_are_found_again(samples: SampleRuns) -> None:
    assert read_sample_runs(samples.interrupted.parents[2]) == samples
