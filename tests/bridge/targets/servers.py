"""MLflow servers with settings of their own, started lean."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_START_S = 240.0
_LEAN = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
    # SQLAlchemy and Flask have news for MLflow that no test is about.
    "PYTHONWARNINGS": "ignore",
}


@contextmanager
def running_mlflow(
    backend: str,
    directory: Path,
    port: int,
    *,
    options: Sequence[str] = (),
    environment: Mapping[str, str] = {},
    python: Path | str = sys.executable,
) -> Iterator[str]:
    """A server that answers; its address. When this ends, it and its children are gone.

    Args:
        backend: address of its database.
        directory: gets artifacts and the log.
        python: of the environment with its MLflow.
    """
    directory.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "mlflow", "server", "--backend-store-uri", backend, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--artifacts-destination", str(directory / "artifacts")]
    with (directory / "log").open("ab") as log:
        server = subprocess.Popen(
            # It ends when we do, also if we are killed.
            ["setpriv", "--pdeathsig", "TERM", "--", *command, *options],
            env={**os.environ, **_LEAN, **environment},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    uri = f"http://127.0.0.1:{port}"
    try:
        _wait(server, uri, directory / "log")
        yield uri
    finally:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait(server: "subprocess.Popen[bytes]", uri: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        with contextlib.suppress(OSError), opener.open(f"{uri}/health", timeout=5) as answer:
            if answer.status == 200:
                return
        assert server.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.1)
