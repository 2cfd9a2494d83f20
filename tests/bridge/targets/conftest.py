"""The targets that the tests upload to, each started once."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlflow_bridge.store.local_ui import free_port
from tests.bridge.targets.postgresql import programs, running_postgresql
from tests.bridge.targets.servers import running_mlflow


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server, and where it keeps what it is sent: tests look there, which is much faster than asking it."""

    uri: str
    database: str
    artifacts: Path


USER, PASSWORD = "admin", "correct horse battery staple"


@pytest.fixture(autouse=True)
def _patience_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an upload sets for its process ends with the test."""
    for name in ("MAX_RETRIES", "TIMEOUT", "BACKOFF_FACTOR", "BACKOFF_JITTER"):
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_{name}", raising=False)
    for name in ("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "MLFLOW_TRACKING_SERVER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_INSECURE_TLS", raising=False)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose database is a PostgreSQL."""
    binaries = programs()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    directory = tmp_path_factory.mktemp("postgresql")
    with (
        running_postgresql(binaries) as backend,
        running_mlflow(backend, directory, free_port("127.0.0.1", 15100)) as uri,
    ):
        yield Served(uri=uri, database=backend, artifacts=directory / "artifacts")


@pytest.fixture(scope="session")
def protected(new_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that asks for USER and PASSWORD."""
    directory = tmp_path_factory.mktemp("protected")
    shutil.copy(new_store, directory / "mlflow.db")
    config = directory / "auth.ini"
    config.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{directory}/users.db\nadmin_username = {USER}\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environment = {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "for tests only"}
    options = ("--app-name", "basic-auth")
    backend, port = f"sqlite:///{directory}/mlflow.db", free_port("127.0.0.1", 15200)
    with running_mlflow(backend, directory, port, options=options, environment=environment) as uri:
        _make_passwords_cheap(directory / "users.db")
        yield Served(uri=uri, database=backend, artifacts=directory / "artifacts")


def _make_passwords_cheap(users: Path) -> None:
    """MLflow checks a password twice for each request, 100 ms of scrypt each time: the tests would take minutes."""
    from werkzeug.security import generate_password_hash

    with closing(sqlite3.connect(users)) as connection, connection:
        cheap = generate_password_hash(PASSWORD, "pbkdf2:sha256:1")
        changed = connection.execute("UPDATE users SET password_hash = ? WHERE username = ?", (cheap, USER))
        assert changed.rowcount == 1
