"""MLflow stores for the tests of the bridge: sqlite files and one server process, real ones."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_bridge.store import MlflowStore, open_store
from mlflow_bridge.store.local_ui import free_port, running_server
from mlflow_bridge.store.target import resolve_target

FOREIGN_WARNINGS = (
    # MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 deprecates.
    "ignore:The ``noload`` loader strategy:DeprecationWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for warning in FOREIGN_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sqlite file with MLflow's tables and nothing in it; making one takes a second, a copy nothing."""
    database = tmp_path_factory.mktemp("new-store") / "mlflow.db"
    open_store(resolve_target(f"sqlite:///{database}"))
    return database


@pytest.fixture
def sqlite_uri(new_store: Path, tmp_path: Path) -> str:
    """An empty store of one test."""
    database = tmp_path / "store" / "mlflow.db"
    database.parent.mkdir()
    shutil.copy(new_store, database)
    return f"sqlite:///{database}"


@pytest.fixture
def sqlite_store(sqlite_uri: str) -> MlflowStore:
    return open_store(resolve_target(sqlite_uri))


@pytest.fixture(scope="session")
def server_uri(new_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server process, shared by all tests: each needs an experiment of its own."""
    database = tmp_path_factory.mktemp("server") / "mlflow.db"
    shutil.copy(new_store, database)
    # Another test session must not find the same port free while this server starts.
    port = free_port("127.0.0.1", 15000 + os.getpid() % 500 * 20)
    with running_server(resolve_target(f"sqlite:///{database}"), "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(params=["sqlite", "server"])
def uri(request: pytest.FixtureRequest) -> str:
    """Each kind of store in turn."""
    found: str = request.getfixturevalue(f"{request.param}_uri")
    return found


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    return str(request.node.name)
