"""For the browser tests: sample runs, MLflow's UI on them, a page. Runs and UI are made once, for all tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

sys.path.insert(0, str(Path(__file__).parent))  # as for the scripts here, which import each other by their bare names

from browser import chromium, chromium_program, context_for_mlflow
from sample_runs import SampleRuns, make_sample_runs
from sample_store import SampleUi, fill_store, running_ui, upload_runs

_FIRST_PORT = 25000


@pytest.fixture(scope="session", autouse=True)
def _chromium_is_there() -> None:
    """Fail at once, and not after a minute of sample runs. Skipping would let a build pass that has seen nothing."""
    chromium_program()


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SampleRuns:
    return make_sample_runs(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="session")
def ui(samples: SampleRuns, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleUi]:
    store = tmp_path_factory.mktemp("store")
    runs = fill_store(store, samples.by_name)
    with running_ui(store, _FIRST_PORT) as (address, _):
        yield SampleUi(address=address, runs=runs)


@pytest.fixture(scope="session")
def served(samples: SampleRuns, ui: SampleUi) -> SampleUi:
    """Two of the runs as a team's server has them: sent to it, files included, and not written to its store."""
    folders = {name: samples.by_name[name] for name in ("succeeded", "failed")}
    runs = upload_runs(ui.address, folders, "--experiment", "through the server")
    return SampleUi(address=ui.address, runs=runs)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with context_for_mlflow(browser) as context:
        yield context.new_page()
