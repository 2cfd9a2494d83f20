"""What a user finds in MLflow's UI after uploading runs: a real server process, a real browser."""

import pytest
from playwright.sync_api import FrameLocator, Page, expect
from sample_store import SampleUi

# The first visit loads some megabytes of scripts; a busy machine takes its time over them.
expect.set_options(timeout=30_000)

pytestmark = pytest.mark.browser

TASKS = ["measure", "clean", "explore", "fit-1", "fit-2", "fit-5", "compare", "choose_best"]


def open_related_run(page: Page, title: str, name: str) -> None:
    """Follow a link of the box "About this run": its title, the linked run's name."""
    page.locator(f"xpath=//*[text()='{title}']/following::a[.='{name}'][1]").click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def open_notebook(page: Page) -> FrameLocator:
    """From a task's page to its evaluated notebook, among its artifacts."""
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("notebook.html", exact=True).first.click()
    return page.frame_locator("iframe")


def is_drawn(picture_in: FrameLocator) -> bool:
    """Whether the first picture has come, and is no broken link."""
    return bool(picture_in.locator("img").first.evaluate("image => image.complete && image.naturalWidth > 100"))


def test_the_experiment_lists_all_runs(page: Page, ui: SampleUi) -> None:
    page.goto(ui.experiment_page())
    for run in ui.runs.values():
        expect(page.get_by_role("link", name=run.run_id)).to_be_visible()


def test_a_run_in_the_table_unfolds_to_its_tasks(page: Page, ui: SampleUi) -> None:
    page.goto(ui.experiment_page())
    expect(page.get_by_role("link", name="compare", exact=True)).to_have_count(0)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=ui.runs["succeeded"].run_id))
    row.get_by_role("button").click()
    for task in TASKS:
        expect(page.get_by_role("link", name=task, exact=True)).to_be_visible()


def test_from_a_run_to_a_tasks_notebook_and_its_figure(page: Page, ui: SampleUi) -> None:
    page.goto(ui.run_page("succeeded"))
    open_related_run(page, "Child runs", "fit-2")
    notebook = open_notebook(page)
    expect(notebook.get_by_role("heading", name="Fit")).to_be_visible()
    expect(notebook.get_by_text("degree 2: mean squared error")).to_be_visible()
    expect(notebook.locator("img").first).to_be_visible()
    assert is_drawn(notebook)


def test_from_a_task_back_to_its_run(page: Page, ui: SampleUi) -> None:
    page.goto(ui.run_page("succeeded"))
    open_related_run(page, "Child runs", "fit-2")
    open_related_run(page, "Parent run", ui.runs["succeeded"].run_id)


def test_the_description_of_a_run_links_its_notebooks(page: Page, ui: SampleUi) -> None:
    page.goto(ui.run_page("succeeded"))
    page.get_by_text("Show more").first.click()
    with page.context.expect_page() as opened:
        page.get_by_role("row", name="measure").get_by_role("link", name="notebook").click()
    notebook = opened.value.frame_locator("iframe")
    expect(notebook.get_by_role("heading", name="Measure")).to_be_visible()


def test_the_report_is_among_the_artifacts_of_a_run(page: Page, ui: SampleUi) -> None:
    page.goto(ui.run_page("failed"))
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("report.html", exact=True).first.click()
    report = page.frame_locator("iframe")
    expect(report.get_by_role("heading", name="What went wrong")).to_be_visible()
    expect(report.get_by_role("heading", name="Time")).to_be_visible()
    # No file lies beside the page there.
    expect(report.get_by_text("in MLflow, open a task's own run for them")).to_be_visible()
    expect(report.locator("a[href]:not([href^='#'])")).to_have_count(0)


def test_a_figure_that_a_task_logged_is_shown(page: Page, ui: SampleUi) -> None:
    page.goto(ui.run_page("succeeded"))
    open_related_run(page, "Child runs", "explore")
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("artifacts", exact=True).click()
    page.get_by_text("temperatures.png").first.click()
    expect(page.locator("img[src^='blob:'], img[src^='data:']").first).to_be_visible()


def test_a_failed_task_shows_its_traceback(page: Page, ui: SampleUi) -> None:
    page.goto(ui.run_page("failed"))
    open_related_run(page, "Child runs", "clean")
    expect(page.get_by_text("ValueError: reading 7 is 451.0 °C").first).to_be_visible()
    notebook = open_notebook(page)
    expect(notebook.get_by_text("Traceback (most recent call last)").first).to_be_visible()
    expect(notebook.get_by_text("ValueError: reading 7 is 451.0 °C").first).to_be_visible()


def test_the_earlier_attempt_of_a_retried_task_hangs_below_it(page: Page, ui: SampleUi) -> None:
    page.goto(ui.run_page("failed"))
    open_related_run(page, "Child runs", "clean")
    page.locator("xpath=//*[text()='Child runs']/following::a[1]").click()
    expect(page.get_by_role("heading", name="attempt 1")).to_be_visible()
    expect(open_notebook(page).get_by_text("ValueError: reading 7").first).to_be_visible()


def test_a_timed_out_notebook_shows_how_far_it_came(page: Page, ui: SampleUi) -> None:
    page.goto(ui.run_page("timed out"))
    open_related_run(page, "Child runs", "clean")
    expect(page.get_by_text("timed out in cell 5 after 8 s")).to_be_visible()
    expect(open_notebook(page).get_by_text("waiting for the weather station", exact=True)).to_be_visible()


def test_an_interrupted_run_says_so_and_has_its_log(page: Page, ui: SampleUi) -> None:
    page.goto(ui.run_page("interrupted"))
    expect(page.get_by_text("Killed").first).to_be_visible()
    expect(page.get_by_text("INTERRUPTED").first).to_be_visible()
    open_related_run(page, "Child runs", "clean")
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("output.log", exact=True).first.click()
    expect(page.get_by_text("waiting for the weather station")).to_be_visible()


def test_the_saved_view_shows_runs_without_tasks_and_what_they_are_compared_by(page: Page, ui: SampleUi) -> None:
    page.goto(ui.address + ui.runs["succeeded"].view_page)
    for run in ui.runs.values():
        expect(page.get_by_role("link", name=run.run_id)).to_be_visible()
    for column in ("error/fit-1", "error/fit-2", "tasks/failed", "degrees"):
        expect(page.get_by_role("columnheader", name=column).first).to_be_attached()


def test_the_timeline_shows_tasks_and_attempts_as_bars(page: Page, ui: SampleUi) -> None:
    page.goto(ui.run_page("failed"))
    page.get_by_role("tab", name="Traces").click()
    page.get_by_text('"fault": "raise"').first.click()
    page.locator("[data-component-id='shared.model-trace-explorer.toggle-show-timeline']").first.click()
    for bar in ("measure", "clean", "attempt 1", "attempt 2"):
        expect(page.get_by_text(bar, exact=True).last).to_be_visible()


def test_the_description_of_a_run_leads_to_its_timeline(page: Page, ui: SampleUi) -> None:
    page.goto(ui.run_page("failed"))
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="timeline").first.click()
    expect(opened.value.get_by_text("Spans", exact=True)).to_be_visible()
    expect(opened.value.get_by_text("measure", exact=True).last).to_be_visible()


def test_promoted_metrics_are_compared_across_runs(page: Page, ui: SampleUi) -> None:
    """Two runs side by side: their metrics in one table."""
    chosen = [ui.runs[name] for name in ("less noise", "more noise")]
    ids = ",".join(f'"{run.mlflow_run_id}"' for run in chosen)
    page.goto(f'{ui.address}/#/compare-runs?runs=[{ids}]&experiments=["{chosen[0].experiment_id}"]')
    expect(page.get_by_text("error/fit-1").first).to_be_visible()
    for run in chosen:
        expect(page.get_by_text(run.run_id).first).to_be_visible()


def test_durations_and_promoted_metrics_of_tasks_are_charts_across_runs(page: Page, ui: SampleUi) -> None:
    page.goto(ui.experiment_page() + "&compareRunsMode=CHART")
    for chart in ("error/fit-1", "error/fit-2", "task_duration_s/clean", "task_duration_s/compare"):
        expect(page.get_by_role("heading", name=chart)).to_be_visible()


def test_nothing_is_asked_of_other_servers(page: Page, ui: SampleUi) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(ui.run_page("succeeded"))
    open_related_run(page, "Child runs", "fit-2")
    expect(open_notebook(page).locator("img").first).to_be_visible()
    assert any("notebook.html" in url for url in asked)
    assert [url for url in asked if not url.startswith((f"{ui.address}/", "blob:", "data:"))] == []


def test_pages_that_went_through_a_server_are_the_same(page: Page, served: SampleUi) -> None:
    page.goto(served.run_page("succeeded"))
    open_related_run(page, "Child runs", "fit-2")
    notebook = open_notebook(page)
    expect(notebook.get_by_text("degree 2: mean squared error")).to_be_visible()
    expect(notebook.locator("img").first).to_be_visible()
    assert is_drawn(notebook)
    page.goto(served.run_page("failed"))
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("report.html", exact=True).first.click()
    expect(page.frame_locator("iframe").get_by_role("heading", name="What went wrong")).to_be_visible()
    page.goto(served.address + served.runs["succeeded"].view_page)
    expect(page.get_by_role("columnheader", name="error/fit-1").first).to_be_attached()
