"""``run --timeout``: the whole run's time limit, with the real command."""

import json
from pathlib import Path
from textwrap import dedent

import pytest

from pynb_dag_runner import Run, RunStatus, TaskStatus, read_run
from tests.end_to_end.cli_process import pynb, write

PIPELINE = """
    import time
    from pynb_dag_runner import Pipeline, pipeline

    def stuck():
        print("before", flush=True)
        while True:
            try:
                time.sleep(600)
            except Exception:
                pass

    def quick() -> int:
        return 1

    @pipeline
    def slow(p: Pipeline):
        done = p.function(quick)
        first = p.function(stuck, after=done, retries=3)
        p.notebook("stuck.py", name="book", after=done)
        p.function(quick, name="queued", after=done, num_cpus=2)
        p.function(quick, name="below", after=first)
"""
NOTEBOOK = """
    # %%
    print("one")
    # %%
    import time
    print("two", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path, {"pipeline.py": dedent(PIPELINE), "stuck.py": dedent(NOTEBOOK).lstrip()})


ENDED = {
    "quick": TaskStatus.SUCCEEDED,
    "stuck": TaskStatus.TIMED_OUT,
    "book": TaskStatus.TIMED_OUT,
    "below": TaskStatus.CANCELLED,
}


def limited(project: Path, executor: str, limit_s: int, *options: str) -> Run:
    """A run that its limit ended."""
    command = ["run", "pipeline.py", "--executor", executor, "--num-cpus", "2", "--timeout", str(limit_s), *options]
    done = pynb(*command, cwd=project)
    assert done.returncode == 1, done.stderr
    run = read_run(Path(done.stdout.strip()))
    assert run.status is RunStatus.FAILED
    assert run.duration_s is not None
    assert run.duration_s < limit_s + 10  # a generous bound for a loaded machine
    assert run.warnings == (f"the run's time limit of {limit_s} s was over: what runs is ended, nothing more starts",)
    assert run.warnings[0] in done.stderr
    return run


def test_what_runs_is_ended_and_nothing_more_starts(project: Path) -> None:
    run = limited(project, "process", 6)
    assert {task.name: task.status for task in run.tasks} == ENDED | {"queued": TaskStatus.CANCELLED}
    assert len(run.by_name["stuck"].attempts) == 1
    for name in ("stuck", "book"):
        failure = run.by_name[name].failure
        assert failure is not None
        assert failure.kind == "Timeout"
        assert failure.message.endswith("; the run's time limit of 6 s was over")
    book = run.by_name["book"].attempts[0]
    assert book.failure is not None
    assert "in cell 2 after" in book.failure.message
    assert book.notebook is not None
    assert "two" in json.dumps(json.loads((run.folder / book.notebook).read_text()))
    queued = run.by_name["queued"].failure
    assert queued is not None
    assert queued.message == "the run's time limit of 6 s was over before it started"


def test_on_ray_too(project: Path) -> None:
    # Longer, since Ray's workers start slowly on a loaded machine.
    run = limited(project, "ray", 15, "--task", "below", "--task", "book", "--upstream")
    assert {task.name: task.status for task in run.tasks} == ENDED


def test_in_one_process_too(project: Path) -> None:
    command = ["run", "pipeline.py", "--executor", "inline", "--timeout", "3", "--task", "stuck", "--upstream"]
    done = pynb(*command, cwd=project)
    assert done.returncode == 1, done.stderr
    assert read_run(Path(done.stdout.strip())).by_name["stuck"].status is TaskStatus.TIMED_OUT


def test_a_run_that_is_faster_does_not_notice(project: Path) -> None:
    done = pynb("run", "pipeline.py", "--executor", "inline", "--timeout", "100", "--task", "quick", cwd=project)
    assert done.returncode == 0, done.stderr


def test_a_task_that_is_slower_than_its_own_limit_says_so(project: Path) -> None:
    path = project / "pipeline.py"
    path.write_text(path.read_text().replace("retries=3", "timeout_s=0.5"))
    command = ["run", "pipeline.py", "--executor", "inline", "--timeout", "60", "--task", "stuck", "--upstream"]
    done = pynb(*command, cwd=project)
    failure = read_run(Path(done.stdout.strip())).by_name["stuck"].failure
    assert failure is not None
    assert failure.message == "timed out after 0.5 s"


def test_the_time_is_counted_anew_when_the_run_goes_on(project: Path) -> None:
    done = pynb("run", "pipeline.py", "--executor", "process", "--num-cpus", "2", "--timeout", "2", cwd=project)
    assert done.returncode == 1, done.stderr
    path = project / "pipeline.py"
    text = path.read_text()
    path.write_text(text[: text.index("    while True:")] + "\n" + text[text.index("def quick") :])
    (project / "stuck.py").write_text("# %%\nprint(1)\n")
    folder = done.stdout.strip()
    again = pynb("resume", folder, "--timeout", "100", cwd=project)
    assert again.returncode == 0, again.stderr
    run = read_run(Path(folder))
    assert run.status is RunStatus.SUCCEEDED
    assert run.record.settings.timeout_s == 100


@pytest.mark.parametrize("value", ["0", "-1", "soon", "inf", "nan"])
def test_a_limit_that_is_none_is_refused(project: Path, value: str) -> None:
    done = pynb("run", "pipeline.py", "--timeout", value, cwd=project)
    assert done.returncode == 2
    assert "--timeout" in done.stderr
