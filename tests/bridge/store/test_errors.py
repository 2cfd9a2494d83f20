"""What is said when a store can't be used, against real files, servers and refused connections."""

import hashlib
import json
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mlflow_bridge import StoreError, TargetError
from mlflow_bridge.store import open_store
from mlflow_bridge.store.target import resolve_target


def opening(uri: str) -> str:
    """The sentence with which a store is refused."""
    with pytest.raises(StoreError) as caught:
        open_store(resolve_target(uri))
    return str(caught.value)


@contextmanager
def server_that_answers(status: int, body: bytes) -> Iterator[str]:
    """A server on a free port that gives the same answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_refused_connection_is_said_at_once() -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert opening(uri) == f"can't reach an MLflow server at {uri}: connection refused"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "asks who you are: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (403, "refuses this: no permission, or a host name that it was not told to accept (403)"),
        (404, "answers, but not as an MLflow server (404)"),
        (413, "refuses a request as too large (413)"),
    ],
)
def test_answers_of_servers_that_are_no_MLflow(status: int, message: str) -> None:
    with server_that_answers(status, b"<html>no</html>") as uri:
        said = opening(uri)
    assert said.startswith(uri)
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("code", "message"), [("PERMISSION_DENIED", "no permission"), ("UNAUTHENTICATED", "who you are")]
)
def test_errors_in_MLflows_own_form(code: str, message: str) -> None:
    body = json.dumps({"error_code": code, "message": "no"}).encode()
    with server_that_answers(403 if code == "PERMISSION_DENIED" else 401, body) as uri:
        assert message in opening(uri)


def test_a_page_that_is_no_answer_of_MLflow() -> None:
    with server_that_answers(200, b"<html>hello</html>") as uri:
        said = opening(uri)
    assert said.startswith(f"{uri} refuses this: API request to endpoint was successful but the response body was not")
    assert "\n" not in said


def test_a_sqlite_file_of_another_schema_is_refused_and_not_migrated(sqlite_uri: str) -> None:
    database = Path(sqlite_uri.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'abc123'")
    before = hashlib.sha256(database.read_bytes()).digest()
    said = opening(sqlite_uri)
    assert said.startswith(f"{database} was made by another version of MLflow (schema abc123; MLflow 3.")
    assert f"mlflow db upgrade {sqlite_uri}" in said
    assert hashlib.sha256(database.read_bytes()).digest() == before


def test_a_sqlite_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection, connection:
        connection.execute("CREATE TABLE cookies (name)")
    assert opening(f"sqlite:///{tmp_path}/x.db") == f"{tmp_path}/x.db is an sqlite file, but no MLflow store"


def test_a_file_that_is_no_sqlite_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("hello " * 1000)
    assert "x.db can't be read as an sqlite file: file is not a database" in opening(f"sqlite:///{tmp_path}/x.db")


def test_a_directory_that_can_not_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = opening(f"sqlite:///{tmp_path}/file/below/mlflow.db")
    assert said == f"can't write {tmp_path}/file/below/mlflow.db: Not a directory"


@pytest.mark.parametrize(
    ("missing", "message"),
    [("mlflow", "MLflow is not installed; install it with"), ("sqlalchemy", "sqlalchemy and alembic, which are not")],
)
def test_what_is_not_installed_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(TargetError) as caught:
        open_store(resolve_target(f"sqlite:///{tmp_path}/mlflow.db"))
    assert message in str(caught.value)
    assert "pip install 'pynb-dag-runner[upload]'" in str(caught.value)
