"""Known bugs and habits of Ray, all in one run of the real command: none of them reaches the user."""

from pathlib import Path
from textwrap import dedent

import pytest

from pynb_dag_runner import Outcome, Run, find_runs, read_run
from tests.end_to_end.cli_process import pynb

PIPELINE = """
    import os, signal
    from pathlib import Path
    from pynb_dag_runner import Pipeline, pipeline

    HERE = Path(__file__).parent

    class Awkward(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    def note(name):
        with open(HERE / "ran.txt", "a") as file:
            file.write(name + "\\n")

    def raise_what_does_not_unpickle():
        raise Awkward(1, 2)

    def die():
        note("die")
        os.kill(os.getpid(), signal.SIGKILL)

    def kill_the_worker():
        note("kill_the_worker")
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()

    def look_around():
        note("look_around")
        return {"usage": os.environ["RAY_USAGE_STATS_ENABLED"], "threads": os.environ["OMP_NUM_THREADS"]}

    @pipeline
    def around(p: Pipeline):
        for function in (raise_what_does_not_unpickle, die, kill_the_worker, look_around):
            p.function(function)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, home: Path) -> tuple[Run, str, str]:
    """The run, and what the command said on stdout and stderr."""
    project = tmp_path_factory.mktemp("project")
    (project / "pipeline.py").write_text(dedent(PIPELINE))
    temporary = project / ("long-" * 20)  # longer than the 107 bytes of a socket's path
    temporary.mkdir()
    surroundings = {"RAY_ADDRESS": "127.0.0.1:1", "TMPDIR": str(temporary), "HOME": str(home), "OMP_NUM_THREADS": "1"}
    # So that a task's parent is its Ray worker; a fork server that a task kills takes what else it forked along.
    surroundings["PYNB_DAG_RUNNER_FORK"] = "off"
    done = pynb("run", "pipeline.py", "--num-cpus", "2", cwd=project, env=surroundings)
    assert done.returncode == 1, done.stderr
    (folder,) = find_runs(project / "runs")
    return read_run(folder), done.stdout, done.stderr


def test_it_joins_no_cluster_that_happens_to_be_named(result: tuple[Run, str, str]) -> None:
    assert result[0].by_name["look_around"].outputs["return"] == {"usage": "0", "threads": "1"}


def test_an_exception_that_does_not_unpickle_is_told_as_it_is(result: tuple[Run, str, str]) -> None:
    failure = result[0].by_name["raise_what_does_not_unpickle"].failure
    assert failure is not None
    assert (failure.kind, failure.message) == ("Awkward", "1 and 2")


def test_nothing_runs_a_second_time_unseen(result: tuple[Run, str, str]) -> None:
    run = result[0]
    ran = (run.folder.parents[2] / "ran.txt").read_text().split()
    assert sorted(ran) == ["die", "kill_the_worker", "look_around"]
    for name in ("die", "kill_the_worker"):
        (attempt,) = run.by_name[name].attempts
        assert attempt.outcome is Outcome.CRASHED


def test_ray_says_nothing_on_the_terminal(result: tuple[Run, str, str]) -> None:
    _, out, err = result
    assert out == f"{result[0].folder}\n"
    for ours in ("starting Ray", "the Ray worker that it ran under died"):
        err = err.replace(ours, "")
    assert "ray" not in err.lower()


def test_nothing_of_rays_is_left_in_the_home_directory(result: tuple[Run, str, str], home: Path) -> None:
    left = {path for path in home.rglob("*") if path.is_file()}
    assert left
    assert {path.relative_to(home).parts[:2] for path in left} == {(".cache", "pynb-dag-runner")}
    assert all(path.parent.name.startswith("templates-") for path in left)


def test_a_ray_that_can_not_start_is_told_with_what_else_there_is(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text(dedent(PIPELINE))
    (tmp_path / "broken/ray").mkdir(parents=True)
    (tmp_path / "broken/ray/__init__.py").write_text(
        "def is_initialized(): return False\n"
        "def init(**options): raise RuntimeError('the raylet did not answer')\n"
        "def shutdown(): pass\n"
    )
    done = pynb("run", "pipeline.py", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "broken")})
    assert done.returncode == 2
    assert "error: Ray can't start: RuntimeError: the raylet did not answer; try --executor process" in done.stderr
    assert "Traceback" not in done.stderr
    assert find_runs(tmp_path / "runs") == []
