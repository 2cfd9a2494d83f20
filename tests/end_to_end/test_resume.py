"""``resume`` with the real command: what runs again after which change, what does not, and what is said of it."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from pynb_dag_runner import RunStatus, TaskStatus, read_run
from pynb_dag_runner.run_folder import paths
from tests.end_to_end.cli_process import PROGRAM, environment, pynb
from tests.end_to_end.resumable import edit, only_run, ran, resume, run_once, statuses, write_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path)


def tree(folder: Path) -> dict[str, str]:
    """Every file with its content's hash and its time of change."""
    return {
        str(path.relative_to(folder)): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_a_failed_run_goes_on_where_it_failed(project: Path, executor: str) -> None:
    (project / "broken").touch()
    folder = run_once(project, executor=executor)
    assert ran(project) == {"load": 1, "fit": 1, "other": 1, "mean": 1}
    (project / "broken").unlink()
    done = resume(folder)
    assert (done.returncode, done.stdout) == (0, f"{folder}\n"), done.stderr
    assert ran(project) == {"fit": 1, "report": 1}
    assert "3 tasks are taken over, 2 tasks run again:\n  fit: it failed\n  report: it was skipped\n" in done.stderr
    run = read_run(folder)
    assert run.status is RunStatus.SUCCEEDED
    assert statuses(folder) == {
        "load": "REUSED",
        "fit": "SUCCEEDED",
        "other": "REUSED",
        "mean": "REUSED",
        "report": "SUCCEEDED",
    }
    assert [attempt.outcome for attempt in run.by_name["fit"].attempts] == ["FAILED", "SUCCEEDED"]
    assert run.by_name["report"].outputs == {"return": 6.0}
    assert run.record.settings.executor == executor
    assert [resumed.previous_status for resumed in run.record.resumes] == [RunStatus.FAILED]
    assert run.warnings == ()
    assert "reused" in (folder / paths.REPORT).read_text()


def test_a_run_that_succeeded_and_did_not_change_is_left_alone(project: Path) -> None:
    folder = run_once(project)
    ran(project)
    before = tree(folder)
    done = resume(folder)
    assert (done.returncode, done.stdout) == (0, f"{folder}\n")
    assert "there is nothing to do" in done.stderr
    assert ran(project) == {}
    assert {name: value for name, value in tree(folder).items() if name != paths.LOCK} == {
        name: value for name, value in before.items() if name != paths.LOCK
    }


def test_a_changed_parameter_runs_what_it_reaches(project: Path) -> None:
    folder = run_once(project, "-p", "rows=6")
    ran(project)
    done = resume(folder, "-p", "depth=2")
    assert done.returncode == 0, done.stderr
    assert ran(project) == {"fit": 1, "report": 1}  # and rows is still 6
    assert "  fit: its parameter 'depth' changed\n  report: fit runs again\n" in done.stderr
    assert "the pipeline's parameter 'depth' changed" in done.stderr
    run = read_run(folder)
    assert run.record.parameters == {"rows": 6, "depth": 2}
    assert run.record.resumes[0].parameters == ("depth",)
    assert run.by_name["report"].outputs == {"return": 3 + 3}
    assert [item.reason for item in run.record.resumes[0].again] == ["its parameter 'depth' changed", "fit runs again"]
    (event,) = (
        json.loads(line) for line in (folder / paths.EVENTS).read_text().splitlines() if '"run_resumed"' in line
    )
    assert event["again"] == [
        {"task": "fit", "reason": "its parameter 'depth' changed"},
        {"task": "report", "reason": "fit runs again"},
    ]


def test_a_changed_notebook_runs_again_with_what_needs_it(project: Path) -> None:
    folder = run_once(project)
    ran(project)
    edit(project / "mean.py", "rows / 2", "rows / 4")
    done = resume(folder)
    assert done.returncode == 0, done.stderr
    assert ran(project) == {"mean": 1, "report": 1}
    assert "  mean: its notebook changed\n  report: mean runs again\n" in done.stderr
    assert read_run(folder).by_name["report"].outputs == {"return": 4 + 1}


def test_a_changed_function_runs_again_and_one_that_only_moved_does_not(project: Path) -> None:
    folder = run_once(project)
    ran(project)
    edit(project / "pipeline.py", "HERE = ", "# A comment moves everything below it.\nHERE = ")
    edit(project / "pipeline.py", 'return "other"', 'return "another"')
    done = resume(folder)
    assert done.returncode == 0, done.stderr
    assert ran(project) == {"other": 1}
    assert "  other: its function changed\n" in done.stderr


def test_tasks_that_come_and_go(project: Path) -> None:
    folder = run_once(project)
    ran(project)
    edit(project / "pipeline.py", "    p.function(other)\n", '    p.function(other, name="brand new")\n')
    done = resume(folder)
    assert done.returncode == 0, done.stderr
    assert "  brand new: it is new\n" in done.stderr
    assert "the pipeline does not have 'other' any more" in done.stderr
    assert ran(project) == {"other": 1}
    assert "other" not in read_run(folder).by_name
    assert (folder / "tasks" / "other" / "attempt-1").is_dir()
    edit(project / "pipeline.py", '"brand new"', '"other"')
    assert resume(folder).returncode == 0  # its old folder is not written to again
    assert [attempt.number for attempt in read_run(folder).by_name["other"].attempts] == [1, 2]


def test_a_dry_run_says_it_and_changes_nothing(project: Path) -> None:
    (project / "broken").touch()
    folder = run_once(project)
    ran(project)
    before = tree(folder)
    done = resume(folder, "--dry-run", "-p", "rows=5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == [
        "  load: its parameter 'rows' changed",
        "  fit: it failed",
        "  mean: its parameter 'rows' changed",
        "  report: it was skipped",
        "the pipeline's parameter 'rows' changed",
    ]
    document = json.loads(resume(folder, "--dry-run", "--json").stdout)
    assert document["reused"] == ["load", "other", "mean"]
    assert document["again"] == [
        {"task": "fit", "reason": "it failed"},
        {"task": "report", "reason": "it was skipped"},
    ]
    assert tree(folder) == before
    assert ran(project) == {}


def test_a_pipeline_that_moved_is_named_with_target(project: Path) -> None:
    (project / "broken").touch()
    folder = run_once(project)
    moved = project / "moved"
    moved.mkdir()
    for name in ("pipeline.py", "mean.py"):
        (project / name).rename(moved / name)
    lost = resume(folder)
    assert lost.returncode == 2
    assert "can't be loaded; give it with --target" in lost.stderr
    assert str(project / "pipeline.py") in lost.stderr
    done = resume(folder, "--target", "../../moved/pipeline.py", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert read_run(folder).by_name["report"].status is TaskStatus.SUCCEEDED


def test_a_run_of_another_pipeline_is_refused(project: Path) -> None:
    folder = run_once(project)
    refused = resume(folder, "--target", project / "mean.py")
    assert refused.returncode == 2
    assert "is a run of pipeline 'sales'; it can't go on as one of 'mean'" in refused.stderr


def test_only_the_selected_tasks_go_on(project: Path) -> None:
    (project / "broken").touch()
    folder = run_once(project, "--task", "fit", "--upstream")
    (project / "broken").unlink()
    ran(project)
    assert resume(folder).returncode == 0
    assert ran(project) == {"fit": 1}


def test_a_single_notebook_goes_on(project: Path) -> None:
    done = pynb("run", "mean.py", "-p", "rows=null", "-p", f"here={project}", "--executor", "inline", cwd=project)
    assert done.returncode == 1
    folder = Path(done.stdout.strip())
    again = resume(folder, "-p", "rows=3")
    assert again.returncode == 0, again.stderr
    assert read_run(folder).by_name["mean"].outputs == {"mean": 1.5}


def test_a_run_started_from_python_goes_on_from_the_command_line_and_the_other_way(project: Path) -> None:
    script = "\nif __name__ == '__main__':\n    import sys\n    {call}\n"
    source = (project / "pipeline.py").read_text()
    (project / "broken").touch()
    call = "sales.run(parameters={'rows': 8}, executor='inline', progress=False)"
    (project / "pipeline.py").write_text(source + script.format(call=call))
    subprocess.run([PROGRAM.with_name("python"), "pipeline.py"], cwd=project, env=environment(), check=True)
    folder = only_run(project).folder
    ran(project)
    still = resume(folder)
    assert still.returncode == 1, still.stderr
    assert ran(project) == {"fit": 1}
    (project / "broken").unlink()
    call = "sales.resume(sys.argv[1], parameters={'depth': 4}, executor='inline')"
    (project / "pipeline.py").write_text(source + script.format(call=call))
    command: list[str | Path] = [PROGRAM.with_name("python"), "pipeline.py", folder]
    done = subprocess.run(command, cwd=project, env=environment(), check=True, capture_output=True, text=True)
    assert "  fit: it failed\n" in done.stderr
    assert ran(project) == {"fit": 1, "report": 1}
    run = read_run(folder)
    assert run.by_name["report"].outputs == {"return": 2 + 4}
    assert [attempt.number for attempt in run.by_name["fit"].attempts] == [1, 2, 3]
    assert len(run.record.resumes) == 2
