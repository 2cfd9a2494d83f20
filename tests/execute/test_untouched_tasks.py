"""A resume writes and reads anew what runs again or changes, and nothing of a task of which all stays as it was."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pynb_dag_runner import Pipeline, RunFolderError, RunStatus, TaskStatus, read_run
from pynb_dag_runner.execute.reopening import prepare, reopened
from pynb_dag_runner.execute.runner import RunResult
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.run_folder import Run, paths
from tests.factories import edit_json, make_driver


def load() -> int:
    return 1


def fit(number: int, broken: Path) -> int:
    """Fail while there is a file ``broken``; damage the record of ``load`` if that says so."""
    if not broken.exists():
        return number + 1
    if broken.read_text():
        Path(broken.read_text()).write_text("[]")
        return number + 1
    raise RuntimeError("broken")


def fit_otherwise(number: int, broken: Path) -> int:
    return number + 2


def pipeline(tmp_path: Path, retries: int = 0) -> Pipeline:
    """``load``, ``fit`` which needs it, and ``other``, which nobody needs."""
    made = Pipeline("p", base_dir=tmp_path)
    loaded = made.function(load, name="load", retries=retries)
    made.function(fit, name="fit", parameters={"number": loaded.output("return"), "broken": tmp_path / "broken"})
    made.function(load, name="other")
    return made


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    (tmp_path / "broken").touch()
    result = pipeline(tmp_path).run(output_dir=tmp_path / "runs", executor="inline", progress=False)
    assert result.status is RunStatus.FAILED
    (tmp_path / "broken").unlink()
    return result.folder


def resume(made: Pipeline, folder: Path) -> RunResult:
    return made.resume(folder, executor="inline", progress=False)


def task_file(folder: Path, task: str) -> Path:
    return paths.task_folder(folder, task) / paths.TASK


def statuses(run: Run | RunResult) -> dict[str, str]:
    tasks = run.tasks.values() if isinstance(run, RunResult) else run.tasks
    return {task.name: task.status.value for task in tasks}


def test_the_result_is_what_a_reader_finds(tmp_path: Path, failed: Path) -> None:
    result = resume(pipeline(tmp_path), failed)
    assert statuses(result) == {"load": "REUSED", "fit": "SUCCEEDED", "other": "REUSED"}
    assert result.tasks == read_run(failed).by_name
    assert [attempt.number for attempt in result.tasks["fit"].attempts] == [1, 2]
    assert result.tasks["fit"].outputs == {"return": 2}


def test_files_of_a_task_of_which_nothing_changes_are_not_written(tmp_path: Path, failed: Path) -> None:
    before = {task: task_file(failed, task).stat() for task in ("load", "fit", "other")}
    resume(pipeline(tmp_path), failed)
    after = {task: task_file(failed, task).stat() for task in before}
    assert {task for task in before if before[task].st_ino != after[task].st_ino} == {"fit"}


def test_a_task_that_is_planned_otherwise_is_written_and_read_anew(tmp_path: Path, failed: Path) -> None:
    result = resume(pipeline(tmp_path, retries=3), failed)
    written = json.loads(task_file(failed, "load").read_bytes())
    assert (written["status"], written["options"]["retries"]) == ("REUSED", 3)
    assert result.tasks == read_run(failed).by_name
    assert result.tasks["load"].options.retries == 3


def test_what_a_dead_driver_had_not_written_is_written(tmp_path: Path, failed: Path) -> None:
    edit_json(failed / paths.RUN, status="RUNNING", end=None, driver=make_driver().model_dump())
    os.utime(failed / paths.EVENTS, (0, 0))
    task_file(failed, "load").unlink()
    with reopened(failed, to_write=False) as run:
        assert not run.by_name["load"].is_settled
    result = resume(pipeline(tmp_path), failed)
    assert json.loads(task_file(failed, "load").read_bytes())["status"] == "REUSED"
    assert result.tasks == read_run(failed).by_name


def test_a_resume_that_died_at_once_has_taken_over_what_it_said(tmp_path: Path, failed: Path) -> None:
    made = pipeline(tmp_path)
    with reopened(failed) as run:
        record = prepare(run, made.build(), tmp_path).record(
            now=datetime.now(UTC),
            settings=RunSettings(executor="inline"),
            target=None,
            driver=make_driver(),
            git=None,
            ci={},
            versions={},
        )
    (failed / paths.RUN).write_bytes(record.to_json())
    assert statuses(read_run(failed)) == {"load": "REUSED", "fit": "PENDING", "other": "REUSED"}


def test_what_was_taken_over_once_and_then_runs_again_is_no_longer_taken_over(tmp_path: Path, failed: Path) -> None:
    resume(pipeline(tmp_path), failed)
    changed = Pipeline("p", base_dir=tmp_path)
    loaded = changed.function(load, name="load")
    parameters = {"number": loaded.output("return"), "broken": tmp_path / "broken"}
    changed.function(fit_otherwise, name="fit", parameters=parameters)
    changed.function(fit_otherwise, name="other", parameters=parameters)
    result = resume(changed, failed)
    assert statuses(result) == {"load": "REUSED", "fit": "SUCCEEDED", "other": "SUCCEEDED"}
    assert result.tasks == read_run(failed).by_name
    assert [attempt.number for attempt in result.tasks["other"].counted] == [2]


def test_damage_is_found_before_anything_runs(tmp_path: Path, failed: Path) -> None:
    task_file(failed, "load").write_text("[]")
    with pytest.raises(RunFolderError, match=r"load/task\.json: got a list"):
        resume(pipeline(tmp_path), failed)
    assert not paths.attempt_folder(failed, "fit", 2).exists()


def test_damage_done_meanwhile_to_what_is_taken_over_is_left_to_the_next_reader(tmp_path: Path, failed: Path) -> None:
    (tmp_path / "broken").write_text(str(task_file(failed, "load")))
    result = resume(pipeline(tmp_path), failed)
    assert result.status is RunStatus.SUCCEEDED
    assert result.tasks["load"].status is TaskStatus.REUSED
    with pytest.raises(RunFolderError, match=r"load/task\.json: "):
        read_run(failed)
