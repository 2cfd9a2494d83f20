"""``report.html``: what it says of a run, and that nothing in a run folder gets more than text out of it."""

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.reports import render_html, write_reports
from pynb_dag_runner.reports.html import MAX_PROBLEMS, MAX_TRACEBACK, MAX_TRACEBACKS
from pynb_dag_runner.run_folder import Run, read_run
from pynb_dag_runner.run_folder.records import (
    AttemptRecord,
    AttemptVerdict,
    GitRecord,
    PlannedTask,
    RunRecord,
    TaskRecord,
)
from pynb_dag_runner.run_folder.writer import AttemptWriter, RunWriter
from tests.reports.reported_runs import (
    FAILURE,
    HOSTILE,
    START,
    Element,
    after,
    make_attempt,
    make_run,
    make_task,
    parse_page,
    skipped_task,
)


def page_of(*tasks: Any, **options: Any) -> Element:
    return parse_page(render_html(make_run(*tasks, **options)))


def section(page: Element, title: str) -> Element:
    return next(part for part in page.all("section") if part.all("h2")[0].text == title)


def titles(page: Element) -> list[str]:
    return [part.all("h2")[0].text for part in page.all("section")]


def rows(page: Element) -> list[Element]:
    return page.all("table", id="tasks")[0].all("tbody")


def hostile_run() -> Run:
    """Every text that a run folder holds is an attempt to break out of it."""
    bad = " ".join(HOSTILE)
    failure = Failure(kind=bad, message=bad, traceback=bad)
    failed = [
        make_task(
            name,
            status=TaskStatus.FAILED,
            attempts=[
                make_attempt(f"t{number}", 1, outcome=Outcome.FAILED, failure=failure),
                make_attempt(f"t{number}", 2, outcome=Outcome.FAILED, failure=failure, parameters={bad: bad}),
            ],
        )
        for number, name in enumerate(HOSTILE)
    ]
    skipped = [skipped_task(f"after {name}", name) for name in HOSTILE]
    git = GitRecord(commit=bad, branch=bad, remote_url=bad)
    texts: dict[str, Any] = {
        "pipeline": bad,
        "description": bad,
        "run_id": bad,
        "parameters": {bad: bad},
        "ci": {bad: bad},
    }
    return make_run(*failed, *skipped, warnings=(bad,), git=git, versions={bad: bad}, **texts)


def folder_with_attempt(top: Path, task: str) -> Path:
    """A run folder with one task that succeeded in one attempt, written by the writers."""
    planned = PlannedTask(name=task, kind="notebook", source="nb.py")
    record = make_run().record.model_copy(update={"tasks": (planned,)})
    (top / "tasks").mkdir(parents=True)
    driver = RunWriter(top, record)
    worker = AttemptWriter(top / make_attempt(task).folder)
    worker.record(AttemptRecord(task=task, number=1, queued=START, start=START, end=after(1), host="here", pid=1))
    worker.notebook(b"{}")
    (worker.folder / "notebook.html").write_text("<p>")
    verdict = AttemptVerdict(number=1, outcome=Outcome.SUCCEEDED, start=START, end=after(1))
    driver.task(
        TaskRecord(name=task, kind="notebook", source="nb.py", status=TaskStatus.SUCCEEDED, attempts=(verdict,))
    )
    driver.end(RunRecord(**{**record.model_dump(), "end": after(2)}))
    driver.close()
    return top


def test_hostile_texts_add_no_element_and_no_attribute() -> None:
    page = parse_page(render_html(hostile_run()))
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    used = {name for element in page.all() for name in element.attributes}
    assert not {name for name in used if name.startswith("on")}
    assert "src" not in used


def test_hostile_texts_stand_in_the_page_as_they_are() -> None:
    page = parse_page(render_html(hostile_run()))
    assert [row.all("b")[0].text for row in rows(page)][: len(HOSTILE)] == list(HOSTILE)


def test_a_page_of_everything_links_only_into_itself_and_its_folder() -> None:
    page = parse_page(render_html(hostile_run()))
    ids = {element.attributes["id"] for element in page.all() if "id" in element.attributes}
    targets = [element.attributes["href"] for element in page.all() if "href" in element.attributes]
    assert len(targets) > 100
    assert {href for href in targets if href.startswith("#") and href[1:] not in ids} == set()
    assert {href for href in targets if not href.startswith(("#", "tasks/")) or ".." in href} == set()


def test_a_path_that_leads_out_of_the_folder_gets_no_link() -> None:
    attempt = make_attempt(html=Path("../secret.html"), log=Path("/etc/passwd"), notebook=Path("tasks/a/n.ipynb"))
    page = page_of(make_task(attempts=[attempt]))
    assert [link.text for link in rows(page)[0].all("a")] == ["ipynb", "folder"]


def test_the_policy_allows_this_script_and_nothing_from_elsewhere() -> None:
    page = page_of(make_task())
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0].attributes["content"]
    digest = base64.b64encode(hashlib.sha256(page.all("script")[0].text.encode()).digest()).decode()
    assert policy.split("; ")[:3] == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
    ]


def test_control_characters_and_reversed_text_are_made_visible() -> None:
    page = page_of(make_task(attempts=[make_attempt(failure=Failure(kind="E", message="a\x1b[31m\u202eb\x00"))]))
    assert "a\\u202eb\\x00" in rows(page)[0].text


def test_links_open_the_files_of_a_folder_on_disk(tmp_path: Path) -> None:
    folder = folder_with_attempt(tmp_path / "run", "50% of ?x#y <b>/z")
    write_reports(read_run(folder, datetime.now(UTC)))
    page = parse_page((folder / "report.html").read_text())
    links = {link.text: folder / unquote(link.attributes["href"]) for link in rows(page)[0].all("a")}
    assert {label: path.exists() for label, path in links.items()} == {"html": True, "ipynb": True, "folder": True}


def test_writing_replaces_both_files_and_leaves_no_others(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old words")
    write_reports(make_run(make_task(), folder=tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "summary.md"}
    assert "old words" not in (tmp_path / "report.html").read_text()


def test_a_link_in_place_of_the_report_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.html").symlink_to(tmp_path / "outside")
    write_reports(make_run(folder=tmp_path / "run"))
    assert (tmp_path / "outside").read_text() == "kept"


@pytest.mark.parametrize("status", TaskStatus)
def test_each_status_is_a_word_and_a_symbol(status: TaskStatus) -> None:
    badge = rows(page_of(make_task(status=status)))[0].all("span", "badge")[0]
    assert badge.text == status.value.lower().replace("_", " ")
    assert badge.all("use")[0].attributes["href"] == f"#i-{status.value}"


@pytest.mark.parametrize("status", RunStatus)
def test_the_heading_says_the_runs_status(status: RunStatus) -> None:
    page = page_of(make_task(), status=status)
    assert page.all("header")[0].all("span", "badge")[0].text == status.value.lower()


def test_a_failed_task_shows_its_error_and_on_demand_its_traceback() -> None:
    page = page_of(make_task(status=TaskStatus.FAILED), status=RunStatus.FAILED)
    assert rows(page)[0].all("p", "error")[0].text == "ValueError: no rows"
    assert rows(page)[0].all("details")[0].all("pre")[0].text == FAILURE.traceback.strip()


def test_problems_come_first_with_what_they_blocked_directly_or_not() -> None:
    tasks = [make_task("a", status=TaskStatus.CRASHED), skipped_task("b", "a"), skipped_task("c", "b")]
    page = page_of(*tasks, status=RunStatus.FAILED)
    assert titles(page)[0] == "What went wrong"
    problem = page.all("div", "problem")[0]
    assert problem.all("a")[0].attributes["href"] == "#t0"
    assert problem.all("p", "quiet")[0].text == "Skipped for this: b, c"


def test_tasks_that_block_each_other_in_a_forged_folder_are_no_trap() -> None:
    page = page_of(skipped_task("a", "b"), skipped_task("b", "a"))
    assert len(rows(page)) == 2


def test_many_problems_are_counted_and_left_to_the_table() -> None:
    tasks = [make_task(f"t{number}", status=TaskStatus.FAILED) for number in range(MAX_PROBLEMS + 5)]
    wrong = section(page_of(*tasks), "What went wrong")
    assert len(wrong.all("div", "problem")) == MAX_PROBLEMS
    assert "And 5 more tasks, in the table below." in wrong.text


def test_a_run_without_a_problem_has_no_such_section() -> None:
    assert titles(page_of(make_task())) == ["Graph", "Time", "Tasks", "Where it ran"]


def test_earlier_attempts_are_listed_with_their_errors() -> None:
    attempts = [make_attempt("a", 1, 0, 1, Outcome.FAILED, failure=FAILURE), make_attempt("a", 2, 2, 4)]
    row = rows(page_of(make_task(attempts=attempts)))[0]
    assert [item.all("span", "badge")[0].text for item in row.all("li")] == ["failed"]
    assert "Attempt 1 failed started after 0 s, took 1.0 s" in row.all("li")[0].text


def test_numbers_are_readable_and_sortable() -> None:
    attempt = make_attempt(start=65, end=3725.5, queue_s=0.25, cpu_time_s=12.0, peak_memory_bytes=3 << 28)
    cells = rows(page_of(make_task(attempts=[attempt])))[0].all("td", "n")
    assert [cell.text for cell in cells] == ["1", "1 min 5 s", "1 h 1 min", "250 ms", "12 s", "768 MiB"]
    assert [cell.attributes["data-v"] for cell in cells] == ["1", "65.0", "3660.5", "0.25", "12.0", "805306368"]


def test_parameters_outputs_and_surroundings_are_shown() -> None:
    attempt = make_attempt(parameters={"size": 400}, outputs={"auc": [0.5, None]})
    page = page_of(make_task(attempts=[attempt]), parameters={"seed": 7}, ci={"GITHUB_RUN_ID": "71"})
    assert "size400" in rows(page)[0].text
    assert "auc[0.5, null]" in rows(page)[0].text
    assert "seed7" in page.all("header")[0].text
    assert "GITHUB_RUN_ID71" in section(page, "Where it ran").text


def test_of_the_description_the_first_paragraph_is_shown() -> None:
    page = page_of(description="Train digits\nand compare.\n\nArgs:\n    p: the pipeline")
    assert page.all("p", "about")[0].text == "Train digits\nand compare."


def test_warnings_are_listed() -> None:
    assert section(page_of(warnings=("no HTML",)), "Warnings").all("li")[0].text == "no HTML"


def test_an_interrupted_run_says_so_and_names_the_task_that_was_running() -> None:
    running = make_task("a", status=TaskStatus.PENDING, attempts=[make_attempt("a", 1, 2, None, None)])
    page = page_of(running, make_task("b", ["a"], TaskStatus.PENDING), status=RunStatus.INTERRUPTED)
    assert "ended without a last word" in page.all("p", "state")[0].text
    assert [row.attributes["data-state"] for row in rows(page)] == ["INTERRUPTED", "PENDING"]


def test_a_run_without_tasks_has_a_page() -> None:
    page = page_of(end=None, status=RunStatus.RUNNING)
    assert page.all("table") == []
    assert "still going on" in page.all("p", "state")[0].text


def test_a_long_traceback_keeps_both_ends() -> None:
    failure = Failure(kind="E", message="", traceback="first\n" + "x" * MAX_TRACEBACK + "\nlast")
    text = rows(page_of(make_task(attempts=[make_attempt(failure=failure)])))[0].all("pre")[0].text
    assert text.startswith("first")
    assert text.endswith("last")
    assert "11 characters left out" in text


def test_tracebacks_share_a_budget_and_the_page_says_what_is_missing() -> None:
    failure = Failure(kind="E", message="", traceback="x" * MAX_TRACEBACK)
    fitting = MAX_TRACEBACKS // MAX_TRACEBACK
    tasks = [make_task(f"t{n}", attempts=[make_attempt(failure=failure)]) for n in range(fitting + 3)]
    page = page_of(*tasks)
    assert len(page.all("pre")) == fitting
    assert "those of 3 further attempts are only in their attempt.json" in section(page, "Tasks").text


def test_a_page_for_ten_thousand_tasks_stays_openable() -> None:
    tasks = []
    for number in range(10_000):
        folder = make_attempt(f"task-{number}").folder
        files: dict[str, Any] = {
            "html": folder / "notebook.html",
            "notebook": folder / "notebook.ipynb",
            "log": folder / "output.log",
        }
        attempt = make_attempt(f"task-{number}", 1, number / 10, number / 10 + 3, queue_s=0.5, **files)
        tasks.append(make_task(f"task-{number}", [f"task-{number - 100}"] if number >= 100 else [], attempts=[attempt]))
    text = render_html(make_run(*tasks))
    assert text.count("<tbody id=") == 10_000
    assert len(text.encode()) < 15_000_000
