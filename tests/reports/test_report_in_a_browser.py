"""``report.html`` in a real browser: it opens from disk, asks for nothing, and its table can be searched and sorted."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from pynb_dag_runner.model.outcomes import TaskStatus
from pynb_dag_runner.reports import write_reports
from pynb_dag_runner.run_folder import read_run
from tests.faults.hostile_texts import hostile_folder
from tests.reports.reported_runs import HOSTILE, make_attempt, make_run, make_task, skipped_task

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    programs = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    program = next((path for path in programs if path), None)
    assert program, "there is no Chromium; .ci/need-chromium installs one"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


@pytest.fixture
def opened(browser_page: Page, tmp_path: Path) -> Page:
    tasks = [
        make_task("slow", attempts=[make_attempt("slow", end=70)]),
        make_task("quick", attempts=[make_attempt("quick", end=0.5)]),
        make_task("bad", status=TaskStatus.FAILED),
        skipped_task("after", "bad"),
    ]
    write_reports(make_run(*tasks, folder=tmp_path))
    browser_page.goto((tmp_path / "report.html").as_uri())
    return browser_page


def names(page: Page) -> list[str]:
    return page.locator("#tasks tbody:visible .task b").all_text_contents()


def test_searching_shows_only_what_fits(opened: Page) -> None:
    opened.get_by_label("Find a task").fill("QUI")
    assert names(opened) == ["quick"]
    assert opened.get_by_role("status").text_content() == "1 of 4 shown"


def test_a_status_can_be_picked(opened: Page) -> None:
    opened.get_by_role("button", name="1 failed").click()
    assert names(opened) == ["bad"]


def test_a_column_sorts_by_what_it_means(opened: Page) -> None:
    opened.get_by_role("button", name="Duration").click()
    assert names(opened) == ["after", "quick", "bad", "slow"]
    opened.get_by_role("button", name="Duration").click()
    assert names(opened) == ["slow", "bad", "quick", "after"]


def test_a_task_in_the_graph_leads_to_its_row_even_if_filtered_away(opened: Page) -> None:
    opened.get_by_label("Find a task").fill("slow")
    opened.locator('.dag a[href="#t1"]').click()
    expect(opened.locator("#t1")).to_be_visible()  # the browser tells the page some time after the click


def test_a_hostile_run_runs_nothing_and_asks_for_nothing(browser_page: Page, tmp_path: Path) -> None:
    said: list[str] = []
    asked: list[str] = []
    browser_page.on("console", lambda message: said.append(message.text))
    browser_page.on("pageerror", lambda error: said.append(str(error)))
    browser_page.on("dialog", lambda dialog: said.append(dialog.message))
    browser_page.on("request", lambda request: asked.append(request.url))
    write_reports(make_run(*(make_task(name) for name in HOSTILE), folder=tmp_path))
    browser_page.goto((tmp_path / "report.html").as_uri())
    assert names(browser_page) == list(HOSTILE)
    assert (said, asked) == ([], [(tmp_path / "report.html").as_uri()])


def test_no_text_of_a_hostile_folder_on_disk_runs_anything(browser_page: Page, tmp_path: Path) -> None:
    happened: list[str] = []
    browser_page.on("console", lambda message: happened.append(message.text))
    browser_page.on("pageerror", lambda error: happened.append(str(error)))
    browser_page.on("dialog", lambda dialog: happened.append(dialog.message))
    assert hostile_folder(tmp_path / "run")
    run = read_run(tmp_path / "run")
    write_reports(run)
    address = (tmp_path / "run" / "report.html").as_uri()
    browser_page.on("request", lambda request: happened.append(request.url) if request.url != address else None)
    browser_page.goto(address)
    assert names(browser_page) == [task.name for task in run.tasks]
    assert happened == []


def test_of_a_long_table_only_what_is_seen_is_laid_out(browser_page: Page, tmp_path: Path) -> None:
    tasks = [make_task(f"task-{number}", attempts=[make_attempt(f"task-{number}")]) for number in range(1_100)]
    write_reports(make_run(*tasks, folder=tmp_path))
    browser_page.goto((tmp_path / "report.html").as_uri())
    last = browser_page.locator("#t1099 .task b")
    is_laid_out = "item => item.checkVisibility({contentVisibilityAuto: true})"
    assert not last.evaluate(is_laid_out)
    browser_page.goto((tmp_path / "report.html").as_uri() + "#t1099")
    expect(last).to_be_in_viewport()
    assert last.evaluate(is_laid_out)
    browser_page.get_by_label("Find a task").fill("task-77")
    assert names(browser_page) == ["task-77", *(f"task-77{digit}" for digit in range(10))]
