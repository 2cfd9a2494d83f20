"""Pages of a run folder, opened from disk in a browser that has no network: as from a zip that CI has kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Browser, FrameLocator, Page, expect
from sample_runs import SampleRuns

from pynb_dag_runner.model.outcomes import Failure, Outcome
from pynb_dag_runner.reports.pages.page import to_html

pytestmark = pytest.mark.browser


_LOCAL = ("file:", "data:", "blob:", "about:")


@pytest.fixture
def offline(browser: Browser) -> Iterator[Page]:
    """A page without a network. It fails the test when it wanted something from there, or had an error."""
    complaints: list[str] = []
    with browser.new_context(offline=True, viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: complaints.append(r.url) if not r.url.startswith(_LOCAL) else None)
        yield page
    assert complaints == []


CONTRASTS = """() => {
    const parse = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
    const light = (rgb) => {
        const [r, g, b] = rgb.slice(0, 3).map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const color = parse(getComputedStyle(element).backgroundColor);
            if (color.length === 3 || color[3] > 0.5) return light(color);
        }
        return 1;
    };
    const texts = document.querySelectorAll(".highlight span, .jp-MarkdownOutput h1, .jp-MarkdownOutput code, nav a");
    return {
        background: behind(document.body),
        contrasts: Array.from(texts, (text) => {
            const pair = [light(parse(getComputedStyle(text).color)), behind(text)].sort();
            return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        }),
    };
}"""
"""How light the page is, from 0 to 1, and how well each text stands out from what is behind it."""


def report_of(folder: Path) -> str:
    return (folder / "report.html").as_uri()


FORMULAS = r"""Euler: $e^{i\pi}+1=0$

$$\begin{aligned} a &= b \\ &= c \end{aligned}$$

<!-- what is not understood is shown as it is -->
$\unknown{x}$
"""


def test_mathematics_is_drawn_without_a_network(offline: Page, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(to_html(new_notebook(cells=[new_markdown_cell(FORMULAS)]), "title", Outcome.SUCCEEDED, None))
    offline.goto(page.as_uri())
    sum_of_rows, euler = (offline.locator("math").nth(n).bounding_box() for n in (1, 0))
    assert sum_of_rows
    assert euler
    assert sum_of_rows["height"] > 1.5 * euler["height"] > 10
    expect(offline.get_by_text(r"$\unknown{x}$", exact=True)).to_be_visible()


def test_in_a_viewer_the_report_offers_no_links_that_lead_nowhere(offline: Page, samples: SampleRuns) -> None:
    """MLflow shows an artifact as a blob in a sandboxed frame."""
    html = samples.succeeded.joinpath("report.html").read_text()
    offline.goto(report_of(samples.succeeded))
    expect(offline.locator("#viewer")).to_be_hidden()
    report = in_a_viewer(offline, html)
    expect(report.locator("#viewer")).to_be_attached()
    expect(report.locator("#viewer[hidden]")).to_have_count(0)
    expect(report.locator("a[href]:not([href^='#'])")).to_have_count(0)


def in_a_viewer(page: Page, html: str) -> FrameLocator:
    """The page as MLflow shows an artifact: a blob in a sandboxed frame."""
    page.goto("about:blank")
    page.evaluate(
        """html => {
            const frame = document.createElement("iframe");
            frame.sandbox = "allow-scripts";
            frame.src = URL.createObjectURL(new Blob([html], {type: "text/html"}));
            document.body.append(frame);
        }""",
        html,
    )
    return page.frame_locator("iframe")


def test_in_a_viewer_a_notebook_offers_no_way_to_a_report(offline: Page, samples: SampleRuns) -> None:
    failed = next(samples.failed.glob("tasks/*/attempt-*/notebook.html")).read_text()
    notebook = in_a_viewer(offline, failed)
    expect(notebook.locator("#pdr-bar")).to_be_attached()
    expect(notebook.locator("#pdr-bar a[href^='..']")).to_have_count(0)


def test_a_reader_jumps_to_the_cell_that_failed(offline: Page, tmp_path: Path) -> None:
    error = new_output("error", ename="E", evalue="here", traceback=["E: here"])
    cells = [new_code_cell("x\n" * 60), new_code_cell("failing", metadata={"tags": ["hide-cell"]}, outputs=[error])]
    page = tmp_path / "page.html"
    page.write_bytes(to_html(new_notebook(cells=cells), "title", Outcome.FAILED, Failure(kind="E", message="here")))
    offline.goto(page.as_uri())
    expect(offline.get_by_text("E: here").last).not_to_be_in_viewport()
    offline.get_by_role("link", name="Cell that failed").click()
    expect(offline.get_by_text("E: here").last).to_be_in_viewport()


def test_a_page_is_dark_for_who_wants_that_and_light_on_paper(offline: Page, tmp_path: Path) -> None:
    cells = [
        new_code_cell("@wrapped\nclass C:  # a comment\n    def f(self) -> str:\n        return len('x' + f'{1.5}')"),
        new_markdown_cell("# Heading\n`code` and [link](https://example.org)"),
    ]
    page = tmp_path / "page.html"
    page.write_bytes(to_html(new_notebook(cells=cells), "title", Outcome.SUCCEEDED, None))
    seen = {}
    for name, scheme, medium in (("light", "light", "screen"), ("dark", "dark", "screen"), ("paper", "dark", "print")):
        offline.emulate_media(color_scheme=scheme, media=medium)  # type: ignore[arg-type]  # texts in a tuple
        offline.goto(page.as_uri())
        seen[name] = offline.evaluate(CONTRASTS)
    assert seen["dark"]["background"] < 0.05
    assert seen["light"]["background"] == seen["paper"]["background"] == 1
    assert min(seen["dark"]["contrasts"]) >= 4.5  # WCAG 2.1, 1.4.3


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
    offline.get_by_role("link", name="Report of the run").click()
    expect(offline.get_by_role("heading", name="Graph")).to_be_visible()


def test_the_notebook_that_timed_out_shows_how_far_it_came(offline: Page, samples: SampleRuns) -> None:
    offline.goto((samples.timed_out / "tasks" / "clean" / "attempt-1" / "notebook.html").as_uri())
    expect(offline.get_by_text("waiting for the weather station", exact=True)).to_be_visible()
