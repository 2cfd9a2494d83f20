"""Pages of a run folder, opened from disk in a browser that has no network: as from a zip that CI has kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sample_runs import SampleRuns

pytestmark = pytest.mark.browser


@pytest.fixture
def offline(browser: Browser) -> Iterator[Page]:
    """A page without a network. It fails the test when it wanted something from there, or had an error."""
    complaints: list[str] = []
    with browser.new_context(offline=True, viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: complaints.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        yield page
    assert complaints == []


def report_of(folder: Path) -> str:
    return (folder / "report.html").as_uri()


@pytest.mark.parametrize("name", ["succeeded", "failed", "timed out"])
def test_the_report_shows_graph_and_times(offline: Page, samples: SampleRuns, name: str) -> None:
    offline.goto(report_of(samples.by_name[name]))
    expect(offline.get_by_role("heading", name="Graph")).to_be_visible()
    expect(offline.locator(".dag").get_by_text("clean", exact=True)).to_be_visible()
    offline.get_by_role("heading", name="Time").scroll_into_view_if_needed()
    expect(offline.get_by_role("img", name="Attempts on the time axis")).to_be_visible()
    expect(offline.locator(".gantt .bar").first).to_be_visible()


def test_the_report_draws_a_bar_for_each_attempt(offline: Page, samples: SampleRuns) -> None:
    offline.goto(report_of(samples.failed))
    expect(offline.locator(".gantt .bar")).to_have_count(3)  # measure, and clean twice


def test_the_report_says_what_went_wrong(offline: Page, samples: SampleRuns) -> None:
    offline.goto(report_of(samples.failed))
    expect(offline.get_by_role("heading", name="What went wrong")).to_be_visible()
    expect(offline.get_by_text("reading 7 is 451.0 °C, expected -40 to 50").first).to_be_visible()
    expect(offline.get_by_text("Skipped for this: explore")).to_be_visible()


def test_from_the_report_to_a_notebook_with_its_figure(offline: Page, samples: SampleRuns) -> None:
    offline.goto(report_of(samples.succeeded))
    row = offline.get_by_role("row").filter(has_text="notebooks/explore.py")
    row.get_by_role("link", name="html").click()
    expect(offline.get_by_role("heading", name="Explore")).to_be_visible()
    figure = offline.locator("img").first
    expect(figure).to_be_visible()
    assert figure.evaluate("image => image.naturalWidth > 100")


def test_the_notebook_that_timed_out_shows_how_far_it_came(offline: Page, samples: SampleRuns) -> None:
    offline.goto((samples.timed_out / "tasks" / "clean" / "attempt-1" / "notebook.html").as_uri())
    expect(offline.get_by_text("waiting for the weather station", exact=True)).to_be_visible()
