"""Servers that go away and come back, that ask who one is, and whose certificate nobody knows."""

import datetime
import ipaddress
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from mlflow_bridge import StoreError, UploadOutcome, upload
from mlflow_bridge.store import open_store
from mlflow_bridge.store.local_ui import free_port
from mlflow_bridge.store.target import resolve_target
from mlflow_bridge.uploads.listener import Listener
from mlflow_bridge.uploads.one_run import upload_folder
from tests.bridge.mlflow_contents import Contents
from tests.bridge.run_folders import Task, make_run
from tests.bridge.targets.conftest import PASSWORD, USER, Served
from tests.bridge.targets.faulty_proxy import faulty_proxy
from tests.bridge.targets.servers import running_mlflow

TASKS = tuple(Task(name=f"t{number}") for number in range(8))
KEYS = {"", *(task.name for task in TASKS)}


def after_task(number: int, act: object) -> Listener:
    """Does something when so many tasks are there."""
    assert callable(act)
    return Listener(task_done=lambda done, total: act() if done == number else None)


def refused_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(folder: Path, uri: str) -> "subprocess.CompletedProcess[str]":
    """The upload as people start it."""
    program = Path(sys.executable).with_name("pynb-dag-runner")
    line = [str(program), "upload", str(folder), "--tracking-uri", uri]
    return subprocess.run(line, capture_output=True, text=True, timeout=240)


def test_an_upload_goes_on_when_its_server_is_started_again(
    new_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More patience than ours: under load a server takes longer than half a minute to start.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "8")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    backend, port = f"sqlite:///{tmp_path}/mlflow.db", free_port("127.0.0.1", 15300)
    shutil.copy(new_store, tmp_path / "mlflow.db")
    folder = make_run(tmp_path / "runs", *TASKS)
    with ExitStack() as first, ExitStack() as second:
        uri = first.enter_context(running_mlflow(backend, tmp_path / "server", port))

        def restart() -> None:
            first.close()
            second.enter_context(running_mlflow(backend, tmp_path / "server", port))

        store = open_store(resolve_target(uri))
        assert upload_folder(folder, store, listener=after_task(3, restart)).outcome is UploadOutcome.UPLOADED
    contents = Contents(backend, "digits")
    assert contents.statuses() == dict.fromkeys(KEYS, ("FINISHED", "complete"))


def test_a_server_that_stays_away_is_said_and_the_next_upload_completes(
    server_uri: str, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    folder = make_run(tmp_path / "runs", *TASKS)
    port = refused_port()
    with ExitStack() as running:
        proxy = running.enter_context(faulty_proxy(server_uri, port=port))
        store = open_store(resolve_target(proxy.uri))
        with pytest.raises(StoreError) as caught:
            upload_folder(folder, store, experiment=experiment, listener=after_task(3, running.close))
    assert str(caught.value).startswith(f"can't reach an MLflow server at {proxy.uri}: ")
    with faulty_proxy(server_uri, port=port) as again:
        assert upload(folder, again.uri, experiment).outcome is UploadOutcome.COMPLETED
    assert Contents(server_uri, experiment).statuses() == dict.fromkeys(KEYS, ("FINISHED", "complete"))


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "asks who you are: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"),
        ({"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": "wrong"}, "does not accept the user name and"),
        ({"MLFLOW_TRACKING_TOKEN": "wrong"}, "does not accept the user name and password, or token"),
    ],
)
def test_who_is_not_known_is_told_so(
    protected: Served, environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError) as caught:
        open_store(resolve_target(protected.uri))
    assert str(caught.value).startswith(f"{protected.uri} {words}")
    assert PASSWORD not in str(caught.value)


def test_a_token_is_sent(server_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    with faulty_proxy(server_uri) as proxy:
        open_store(resolve_target(proxy.uri))
    assert {seen.authorization for seen in proxy.seen} == {"Bearer t0ken"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1, signed by nobody else."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=1)
    )
    made = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()) + made.public_bytes(pem)
    )
    return path


@pytest.fixture
def tls_uri(server_uri: str, certificate: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with faulty_proxy(server_uri, tls=context) as proxy:
        yield proxy.uri


def test_a_certificate_that_nobody_knows_is_refused(tls_uri: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(resolve_target(tls_uri))
    said = str(caught.value)
    assert said.startswith(f"the certificate of {tls_uri} was not accepted (self-signed certificate)")
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in said
    assert "MLFLOW_TRACKING_INSECURE_TLS" in said


def test_a_certificate_that_the_user_names_is_accepted(
    tls_uri: str, certificate: Path, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
    folder = make_run(tmp_path / "runs", Task())
    assert upload(folder, tls_uri, experiment).outcome is UploadOutcome.UPLOADED
    assert upload(folder, tls_uri, experiment).outcome is UploadOutcome.UNCHANGED


def test_a_file_of_certificates_that_is_not_there_is_named(tls_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/no/such.pem")
    with pytest.raises(StoreError) as caught:
        open_store(resolve_target(tls_uri))
    assert str(caught.value) == (
        "MLFLOW_TRACKING_SERVER_CERT_PATH: got '/no/such.pem', expected a file with certificates"
    )


def test_https_to_a_server_without_it(server_uri: str) -> None:
    uri = server_uri.replace("http:", "https:")
    with pytest.raises(StoreError) as caught:
        open_store(resolve_target(uri))
    assert str(caught.value) == f"{uri} answers, but not with TLS: is it an http:// address?"


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{refused_port()}")
    with pytest.raises(StoreError, match=r"can't reach http://mlflow\.invalid through the proxy that HTTP_PROXY"):
        open_store(resolve_target("http://mlflow.invalid"))


def test_a_host_that_is_not_there() -> None:
    with pytest.raises(StoreError) as caught:
        open_store(resolve_target("http://mlflow.invalid"))
    assert str(caught.value) == (
        "can't reach an MLflow server at http://mlflow.invalid: nobody knows a host of this name"
    )


def test_exit_codes_and_one_sentence_each(protected: Served, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", Task())
    refused = f"http://127.0.0.1:{refused_port()}"
    for uri, code, words in (
        ("ftp://server/x", 2, "Error: the tracking URI 'ftp://server/x' can't be uploaded to; expected sqlite:///FILE"),
        (refused, 1, f"Error: can't reach an MLflow server at {refused}: connection refused"),
        (protected.uri, 1, f"Error: {protected.uri} asks who you are"),
    ):
        done = command(folder, uri)
        assert (done.returncode, done.stdout) == (code, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(words)
