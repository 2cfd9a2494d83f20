from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from mlflow_bridge.limits import MAX_TAG_CHARACTERS
from mlflow_bridge.mapping.notes import (
    Places,
    attempt_note,
    defused,
    pipeline_index,
    pipeline_note,
    task_note,
)
from pynb_dag_runner.model.outcomes import Outcome, RunStatus
from pynb_dag_runner.run_folder import Run, read_run
from tests.bridge.run_folders import SKIPPED, VALUE_ERROR, Attempt, Task, make_run

FAILED = Task(name="train", attempts=(Attempt(outcome=Outcome.FAILED, error=VALUE_ERROR),))
MODE = "?workflowType=machine_learning"


def read(tmp_path: Path, *tasks: Task) -> Run:
    return read_run(make_run(tmp_path / "runs", *tasks, status=RunStatus.FAILED))


def places(run: Run) -> Places:
    return Places(experiment_id="7", run_id="parent", tasks={task.name: f"id-{task.name}" for task in run.tasks})


def test_the_note_of_the_parent_tells_how_it_went_and_links_the_report(tmp_path: Path) -> None:
    run = read(tmp_path, Task(name="ingest"), FAILED, SKIPPED)
    first = pipeline_note(run, places(run)).splitlines()[0]
    assert first.startswith("**FAILED** in 1 min · 1 of 3 tasks succeeded")
    assert f"see [train](#/experiments/7/runs/id-train{MODE})" in first
    assert f"[report](#/experiments/7/runs/parent/artifacts/report.html{MODE})" in first


def test_the_note_of_the_parent_lists_tasks_with_links_and_reasons(tmp_path: Path) -> None:
    run = read(tmp_path, FAILED, SKIPPED)
    train, report = pipeline_note(run, places(run)).splitlines()[-2:]
    assert f"[train](#/experiments/7/runs/id-train{MODE})" in train
    assert f"[notebook](#/experiments/7/runs/id-train/artifacts/notebook.html{MODE})" in train
    assert train.endswith(r"ValueError\: no \| rows |")
    assert "SKIPPED" in report
    assert report.endswith("train did not succeed |")


def test_a_note_for_many_tasks_fits_into_a_tag_and_says_how_many_are_missing(tmp_path: Path) -> None:
    run = read(tmp_path, *(Task(name=f"task-{n}", attempts=()) for n in range(200)))
    note = pipeline_note(run, places(run))
    listed = note.count("| [task")
    assert 20 < listed < 200
    assert len(note) <= MAX_TAG_CHARACTERS
    assert f"… and {200 - listed} more: see [the index](#/experiments/7/runs/parent/artifacts/index.md{MODE})" in note


def test_the_index_lists_all_tasks(tmp_path: Path) -> None:
    run = read(tmp_path, *(Task(name=f"task-{n}", attempts=()) for n in range(200)))
    assert pipeline_index(run, places(run)).count("| [task") == 200


def test_the_index_links_notebooks_logs_and_artifacts(tmp_path: Path) -> None:
    run = read(tmp_path, Task())
    row = pipeline_index(run, places(run)).splitlines()[-1]
    for name in ("notebook.html", "notebook.ipynb", "output.log"):
        assert f"(#/experiments/7/runs/id-train/artifacts/{name}{MODE})" in row
    assert f"[artifacts](#/experiments/7/runs/id-train/artifacts{MODE})" in row


def test_a_task_without_a_run_in_MLflow_is_listed_without_links(tmp_path: Path) -> None:
    run = read(tmp_path, Task())
    nowhere = Places(experiment_id="7", run_id="parent", tasks={})
    assert pipeline_note(run, nowhere).splitlines()[-1].startswith("| train")


def test_the_note_of_a_failed_task_shows_the_traceback(tmp_path: Path) -> None:
    run = read(tmp_path, FAILED)
    note = task_note(run, run.tasks[0], places(run), "id-train")
    assert note.startswith("**FAILED** · 10 s · [notebook]")
    assert r"**ValueError**: no \| rows" in note
    assert note.endswith("```\nFile train.py, line 3\nValueError: no | rows\n```")


def test_backticks_in_a_traceback_do_not_end_its_block(tmp_path: Path) -> None:
    error = VALUE_ERROR.model_copy(update={"traceback": "a\n```\n[x](javascript:y)"})
    run = read(tmp_path, Task(attempts=(Attempt(outcome=Outcome.FAILED, error=error),)))
    assert task_note(run, run.tasks[0], places(run), "id").endswith("````\na\n```\n[x](javascript:y)\n````")


def test_the_note_of_a_skipped_task_names_what_blocked_it(tmp_path: Path) -> None:
    run = read(tmp_path, FAILED, SKIPPED)
    note = task_note(run, run.tasks[1], places(run), "id-report")
    assert f"**SKIPPED** · because [train](#/experiments/7/runs/id-train{MODE}) did not succeed" in note


def test_the_note_of_an_attempt_links_its_own_notebook(tmp_path: Path) -> None:
    run = read(tmp_path, FAILED)
    note = attempt_note(run.tasks[0].attempts[0], places(run), "id-attempt")
    assert f"[notebook](#/experiments/7/runs/id-attempt/artifacts/notebook.html{MODE})" in note


def test_a_note_of_the_task_itself_stands_first_and_leaves_room_for_ours(tmp_path: Path) -> None:
    run = read(tmp_path, FAILED)
    note = task_note(run, run.tasks[0], places(run), "id-train", "mine " * 3000)
    assert note.startswith("mine mine")
    assert note.endswith("ValueError: no | rows\n```")
    assert len(note) <= MAX_TAG_CHARACTERS


def test_names_can_not_bring_markdown_or_html_along(tmp_path: Path) -> None:
    run = read(tmp_path, Task(name="<b>[x](y)|`z`", attempts=()))
    row = pipeline_index(run, Places(experiment_id="7", run_id="p", tasks={})).splitlines()[-1]
    assert row.startswith(r"| \<b\>\[x\](y)\|\`z\` |")


def test_a_traceback_is_wrapped_and_has_no_rules(tmp_path: Path) -> None:
    error = VALUE_ERROR.model_copy(update={"traceback": "-" * 75 + "\n" + "x" * 100})
    run = read(tmp_path, Task(attempts=(Attempt(outcome=Outcome.FAILED, error=error),)))
    note = attempt_note(run.tasks[0].attempts[0], places(run), "id")
    assert "-" * 10 not in note
    assert f"\n{'x' * 72}\n{'x' * 28}\n" in note


@pytest.mark.parametrize(
    ("note", "shown"),
    [
        ("**Bold**, `df[0]` and\n\n- a list", None),
        ("see [the page](https://example.com/a?b=c) and [me](mailto:me@example.com)", None),
        ("[x](javascript:alert(1))", r"\[x\](javascript:alert(1))"),
        ("[x](JavaScript:alert`1`)", r"\[x\](JavaScript:alert`1`)"),
        ("![](https://example.com/pixel.png)", r"!\[\](https://example.com/pixel.png)"),
        ("[![a](https://e.com/b.png)](https://e.com)", r"\[!\[a\](https://e.com/b.png)\](https://e.com)"),
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("<javascript:alert(1)>", r"\<javascript:alert(1)\>"),
        ("[x]\n\n[x]: javascript:alert(1)", "\\[x\\]\n\n\\[x\\]: javascript:alert(1)"),
        (r"\[x\](javascript:alert(1))", r"\\\[x\\\](javascript:alert(1))"),
        (r"\\[x](data:text/html,1)", r"\\\\\[x\](data:text/html,1)"),
        (r"!\[x](https://example.com/a.png)", r"!\\\[x\](https://example.com/a.png)"),
        ('[a](https://e.com/x"onclick="y)', '\\[a\\](https://e.com/x"onclick="y)'),
    ],
)
def test_a_note_of_someone_else_does_nothing_by_itself(note: str, shown: str | None) -> None:
    assert defused(note) == (note if shown is None else shown)


def test_a_strangers_note_and_names_are_defused_where_they_are_shown(tmp_path: Path) -> None:
    evil = "![](https://example.com/pixel.png) <b>[x](javascript:alert(1))</b>"
    named = Task(name=evil, attempts=(Attempt(outcome=Outcome.FAILED, error=VALUE_ERROR),))
    run = read(tmp_path, named)
    where = places(run)
    texts = [pipeline_note(run, where), pipeline_index(run, where), task_note(run, run.tasks[0], where, "r", evil)]
    for text in texts:
        rendered = MarkdownIt("commonmark").enable("table").render(text)
        assert "<img" not in rendered
        assert "<b>" not in rendered
        assert 'href="javascript' not in rendered
        assert 'src="https' not in rendered
