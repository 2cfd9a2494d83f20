"""The system's Chromium, driven by Playwright: for the tests and for the screenshots."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, sync_playwright

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--no-sandbox",  # root, as in most containers, can't have one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Chromium's own look-ups of its maker's hosts.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_MLFLOW_SETTINGS = {
    # Without these a side panel and hints cover the page at the first visit.
    "mlflow.assistant.panelOpen_v1": "false",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "mlflow.detectIssues.guidanceShown_v1": "true",
    "mlflow.workflowType_v1": '"machine_learning"',
}


class NoChromium(Exception):
    """There is no program that could show a page."""


def chromium_program() -> str:
    """The path of the system's Chromium or Chrome.

    Raises:
        NoChromium: neither is installed.
    """
    for path in map(shutil.which, _PROGRAMS):
        if path:
            return path
    raise NoChromium(f"none of {', '.join(_PROGRAMS)} is on PATH; .ci/need-chromium installs Chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser of its own, without any past.

    Raises:
        NoChromium: it is not installed.
    """
    program = chromium_program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def context_for_mlflow(browser: Browser, width: int = 1280, height: int = 800) -> Iterator[BrowserContext]:
    """A context in which MLflow's UI shows its pages only; sizes in CSS pixels."""
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        stored = "".join(f"localStorage.setItem({key!r}, {value!r});" for key, value in _MLFLOW_SETTINGS.items())
        # A notebook's frame is in a sandbox, where storage is refused.
        context.add_init_script(f"if (window.top === window) {{ {stored} }}")
        yield context
