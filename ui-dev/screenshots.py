"""Takes the pictures of the README: runs the digits example, uploads it, and photographs its report and MLflow's pages.

`python ui-dev/screenshots.py` writes docs/images/*.png.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from browser import chromium, context_for_mlflow
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from sample_runs import PROGRAM
from sample_store import UploadedRun, fill_store, running_ui

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
EXAMPLE = ROOT / "examples" / "digits" / "pipeline.py"

_COLOURS = 128
_MAX_BYTES = 200_000
_FIRST_PORT = 26000
_PLACE = "/var/tmp"
"""Paths appear in the pictures: one that says nothing about the machine they are taken on."""


def main() -> None:
    """Make all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="digits-", dir=_PLACE) as temporary:
        directory = Path(temporary)
        folders = {"small": _run(directory, train_sizes=[50, 100]), "whole": _run(directory)}
        with chromium() as browser:
            _report(browser, folders["whole"])
            uploads = fill_store(directory / "store", folders)
            with running_ui(directory / "store", _FIRST_PORT) as (address, _):
                _mlflow(browser, address, uploads)
    for picture in sorted(IMAGES.glob("*.png")):
        print(f"{picture.relative_to(ROOT)}  {picture.stat().st_size / 1000:.0f} kB")


def _run(directory: Path, **parameters: object) -> Path:
    """Run the example; its run folder."""
    command = [str(PROGRAM), "run", str(EXAMPLE), "--output-dir", str(directory / "runs")]
    for name, value in ({"work_dir": directory / "work"} | parameters).items():
        command += ["-p", f"{name}={value}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: the digits example ended with exit code {done.returncode}")
    return Path(done.stdout.strip())


def _report(browser: Browser, folder: Path) -> None:
    """The graph and the Gantt chart."""
    with browser.new_context(viewport={"width": 1280, "height": 1400}) as context:
        page = context.new_page()
        page.goto((folder / "report.html").as_uri())
        end = page.locator("section").filter(has=page.get_by_role("heading", name="Time")).bounding_box()
        assert end
        height = round(end["y"] + end["height"]) + 20
        page.screenshot(path=IMAGES / "report.png", clip={"x": 0, "y": 0, "width": 1280, "height": height})
    _shrink(IMAGES / "report.png")


def _mlflow(browser: Browser, address: str, uploads: Mapping[str, UploadedRun]) -> None:
    whole = uploads["whole"]
    with context_for_mlflow(browser, height=900) as context:
        page = context.new_page()
        page.goto(address + whole.experiment_page)
        for unfolded in (whole.run_id, "ingest"):
            row = page.get_by_role("row").filter(has=page.get_by_role("link", name=unfolded, exact=True))
            row.get_by_role("button").click()
        expect(page.get_by_role("link", name="ingest (attempt 1)")).to_be_visible()
        _take(page, "mlflow.png")

    with context_for_mlflow(browser) as context:
        page = context.new_page()
        page.goto(address + whole.page)
        page.locator("xpath=//*[text()='Child runs']/following::a[.='summary'][1]").click()
        page.get_by_role("tab", name="Artifacts").click()
        page.get_by_text("notebook.html", exact=True).first.click()
        figure = page.frame_locator("iframe").locator("img").first
        figure.scroll_into_view_if_needed()
        expect(figure).to_be_in_viewport(ratio=0.9)
        _take(page, "mlflow-notebook.png")
    _timeline_and_comparison(browser, address, uploads)


def _timeline_and_comparison(browser: Browser, address: str, uploads: Mapping[str, UploadedRun]) -> None:
    whole = uploads["whole"]
    with context_for_mlflow(browser) as context:
        page = context.new_page()
        page.goto(address + whole.view_page)
        expect(page.get_by_role("columnheader", name="roc_auc", exact=False).first).to_be_visible()
        _take(page, "mlflow-view.png")

        page.goto(address + whole.page)
        with context.expect_page() as opened:
            page.get_by_role("link", name="timeline").first.click()
        timeline = opened.value
        timeline.locator("[data-component-id='shared.model-trace-explorer.toggle-show-timeline']").first.click()
        expect(timeline.get_by_text("summary", exact=True).last).to_be_visible()
        timeline.screenshot(path=IMAGES / "mlflow-timeline.png", animations="disabled")
        _shrink(IMAGES / "mlflow-timeline.png")

        page.goto(address + whole.experiment_page + "&compareRunsMode=CHART")
        expect(page.get_by_role("heading", name="roc_auc/", exact=False).first).to_be_visible()
        _take(page, "mlflow-charts.png")
    _failed(browser, address, uploads["small"])


def _failed(browser: Browser, address: str, small: UploadedRun) -> None:
    """The traceback in a notebook. MLflow lists ten child runs, the latest: the smaller run has no more."""
    with context_for_mlflow(browser) as context:
        page = context.new_page()
        page.goto(address + small.page)
        page.locator("xpath=//*[text()='Child runs']/following::a[.='ingest'][1]").click()
        page.get_by_role("link", name="ingest (attempt 1)").first.click()
        expect(page.get_by_role("heading", name="ingest (attempt 1)")).to_be_visible()
        page.get_by_role("tab", name="Artifacts").click()
        page.get_by_text("notebook.html", exact=True).first.click()
        traceback = page.frame_locator("iframe").get_by_text("Traceback (most recent call last)").first
        traceback.evaluate("element => element.scrollIntoView({block: 'center'})")
        expect(traceback).to_be_in_viewport()
        _take(page, "mlflow-failed.png")


def _take(page: Page, name: str) -> None:
    # Neither a row under the mouse nor a cell with the focus shall be highlighted.
    page.get_by_role("heading", level=2).first.click()
    page.screenshot(path=IMAGES / name, animations="disabled")
    _shrink(IMAGES / name)


def _shrink(picture: Path) -> None:
    """Reduce the colours: a third of the size, and no eye sees it on pages of text and lines."""
    with Image.open(picture) as image:
        reduced = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    reduced.save(picture, optimize=True)
    if picture.stat().st_size > _MAX_BYTES:
        sys.exit(f"error: {picture} has {picture.stat().st_size} bytes, expected at most {_MAX_BYTES}")


if __name__ == "__main__":
    main()
