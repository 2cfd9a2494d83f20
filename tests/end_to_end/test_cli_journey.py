"""The way of a new user, with real Ray and real kernels: init, check, run, look at it, run one notebook alone."""

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from pynb_dag_runner.model.outcomes import RunStatus, TaskStatus
from pynb_dag_runner.run_folder import read_run
from tests.end_to_end.cli_process import PATIENCE_S, PROGRAM, environment, pynb, write

pytestmark = pytest.mark.slow

SLEEPER = """
import time
from pynb_dag_runner import Pipeline, pipeline

def sleep() -> None:
    time.sleep(600)

@pipeline
def sleeper(p: Pipeline) -> None:
    p.function(sleep)
    p.function(sleep, name="later", after=["sleep"])
"""

NEIGHBOUR = """
class Word:
    pass

def make() -> Word:
    return Word()
"""
FLOW = """
import neighbour
from pynb_dag_runner import Pipeline, pipeline

def check(word: object) -> None:
    assert isinstance(word, neighbour.Word)

@pipeline
def flow(p: Pipeline) -> None:
    p.function(check, parameters={"word": p.function(neighbour.make).output()})
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``init`` makes."""
    directory = tmp_path_factory.mktemp("new") / "my project"
    made = pynb("init", directory, cwd=directory.parent)
    assert made.returncode == 0, made.stderr
    assert "  cd '" in made.stdout
    return directory


@pytest.fixture(scope="module")
def folder(project: Path) -> Path:
    """The run folder that ``run`` leaves."""
    done = pynb("run", "pipeline.py", "-p", "sample_size=50", cwd=project)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_the_new_project_is_without_problems(project: Path) -> None:
    assert pynb("check", "pipeline.py", cwd=project).stdout == "ok: pipeline 'measurements', 5 tasks\n"


def test_init_never_overwrites(project: Path) -> None:
    (project / "README.md").write_text("mine")
    (project / ".gitignore").unlink()
    done = pynb("init", ".", cwd=project)
    assert done.returncode == 2
    assert done.stderr.startswith("error: nothing is written, since pipeline.py, ")
    assert ((project / "README.md").read_text(), (project / ".gitignore").exists()) == ("mine", False)


def test_init_into_a_file(tmp_path: Path) -> None:
    write(tmp_path, {"file": ""})
    done = pynb("init", "file", cwd=tmp_path)
    assert (done.returncode, "can't be written" in done.stderr) == (2, True)


def test_the_run_has_succeeded_with_its_parameters(folder: Path) -> None:
    run = read_run(folder)
    assert run.status is RunStatus.SUCCEEDED
    assert [task.status for task in run.tasks] == [TaskStatus.SUCCEEDED] * 5
    assert run.by_name["measure-0.5"].attempts[0].parameters == {"sample_size": 50, "noise": 0.5}


def test_show_tells_of_every_task(folder: Path, project: Path) -> None:
    shown = pynb("show", folder, cwd=project).stdout
    assert re.search(r"^status +SUCCEEDED$", shown, re.MULTILINE)
    assert re.search(r"^compare +SUCCEEDED +\+[\d.]+ m?s +[\d.]+ m?s +1 of 1$", shown, re.MULTILINE)
    assert re.search(r"^report +runs/measurements/.+/report.html$", shown, re.MULTILINE)


def test_show_as_json(folder: Path, project: Path) -> None:
    document = json.loads(pynb("show", folder, "--json", cwd=project).stdout)
    assert (document["status"], document["parameters"]["sample_size"]) == ("SUCCEEDED", 50)
    assert [task["attempts"] for task in document["tasks"]] == [1] * 5


def test_list_shows_the_run(folder: Path, project: Path) -> None:
    pattern = rf"^runs/measurements/{folder.name} +SUCCEEDED .* 5 of 5$"
    assert re.search(pattern, pynb("list", cwd=project).stdout, re.MULTILINE)


def test_report_is_written_again(folder: Path, project: Path) -> None:
    (folder / "report.html").unlink()
    done = pynb("report", folder.relative_to(project), cwd=project)
    assert done.stdout == f"{folder / 'report.html'}\n"
    assert "compare" in (folder / "report.html").read_text("utf-8")


def test_graph_of_the_run(folder: Path, project: Path) -> None:
    assert "fit-5.0" in pynb("graph", folder, cwd=project).stdout


def test_a_single_notebook_leaves_the_same_kind_of_folder(project: Path) -> None:
    done = pynb("run", "notebooks/fit_line.py", "-p", "ys=[1, 2, 3, 4]", cwd=project)
    assert done.returncode == 0, done.stderr
    (task,) = read_run(Path(done.stdout.strip())).tasks
    assert (task.name, task.attempts[0].outputs) == ("fit_line", {"slope": 1.0})
    assert task.attempts[0].html is not None


def test_workers_find_the_modules_beside_a_pipelines_file(tmp_path: Path) -> None:
    write(tmp_path, {"below/neighbour.py": NEIGHBOUR, "below/flow.py": FLOW})
    done = pynb("run", "below/flow.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_finishes_the_folder_and_exits_with_130(tmp_path: Path) -> None:
    write(tmp_path, {"sleeper.py": SLEEPER})
    process = subprocess.Popen(
        [PROGRAM, "run", "sleeper.py"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.endswith("sleep: started\n"):
                break
        process.send_signal(signal.SIGINT)
        folder, said = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert (process.returncode, "Traceback" in said) == (130, False), said
    assert read_run(Path(folder.strip())).status is RunStatus.CANCELLED
