"""MLflow's UI on a local store: a lean `mlflow server` process, ended with everything that it has started."""

import contextlib
import importlib.metadata
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from types import FrameType
from typing import IO

from mlflow_bridge.errors import StoreError, TargetError
from mlflow_bridge.mapping.links import EXPERIMENTS
from mlflow_bridge.store import open_store
from mlflow_bridge.store.target import Target

_START_S = 120.0
"""A start takes 5 to 11 s on two idle cores."""
_POLL_S = 0.1
_GRACE_S = 5.0
_PORTS_TRIED = 50
_LEAN = {
    # By default MLflow starts 16 processes with 3.5 GB; with this and one worker, 2 with 0.5 GB.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}


def serve(target: Target, host: str, port: int, *, say: Callable[[str], None], answer: Callable[[str], None]) -> None:
    """Show a store until Ctrl-C or SIGTERM.

    Args:
        target: a sqlite file, which is made if it is not there. Of a server only the address is said: it has a UI.
        port: first choice; the next free one is taken.
        say: gets words for people.
        answer: gets the address, once.

    Raises:
        TargetError: the full MLflow package is not installed, or the address can't be listened on.
        StoreError: the store can't be opened, or the server does not start.
    """
    if target.database is None:
        say("This store is a server, which has its own UI:")
        answer(f"{target.shown}/{EXPERIMENTS}")
        return
    _need_full_mlflow()
    if not target.database.exists():
        say(f"There is no {target.database} yet; it is made now, and runs appear after `pynb-dag-runner upload`.")
    # Checks the schema, and makes a new file's tables under a lock: the server would do neither.
    open_store(target)
    chosen = free_port(host, port)
    if chosen != port:
        say(f"Port {port} is taken; {chosen} is used.")
    say(f"Starting the MLflow UI on {target.shown} …")
    with (
        _signals_as_interrupt(),
        contextlib.suppress(KeyboardInterrupt),
        running_server(target, host, chosen) as process,
    ):
        answer(f"http://{_for_browser(host)}:{chosen}/{EXPERIMENTS}")
        say("Ctrl-C ends it.")
        process.wait()
        raise StoreError(f"the MLflow server has ended by itself, with exit code {process.returncode}")


def _need_full_mlflow() -> None:
    try:
        importlib.metadata.version("mlflow")
    except importlib.metadata.PackageNotFoundError:
        raise TargetError(
            "the UI needs the full MLflow package, which is not installed; "
            "install it with: pip install 'pynb-dag-runner[mlflow]'"
        ) from None


def free_port(host: str, first: int) -> int:
    """The first port from ``first`` on that nothing listens on.

    Raises:
        TargetError: there is none near, or the address is not one of this host.
    """
    reason = ""
    for port in range(first, min(first + _PORTS_TRIED, 65536)):
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                # As servers do: a port whose last connections have just been closed is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
                return port
        except OSError as error:
            reason = error.strerror or str(error)
    raise TargetError(f"can't listen on {host}, ports {first} to {first + _PORTS_TRIED - 1}: {reason}")


def _for_browser(host: str) -> str:
    """0.0.0.0 and :: stand for all addresses of this host; a browser needs one."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def running_server(target: Target, host: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers; when this ends, it and its children are gone."""
    assert target.database is not None
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", target.uri, "--host", host]
    command += ["--port", str(port), "--workers", "1"]
    # For experiments that are made in the UI; those of uploads have a directory of their own.
    command += ["--artifacts-destination", str(target.database.parent / "mlartifacts")]
    if shutil.which("setpriv"):
        # It ends when we do, also if we are killed and can't end it.
        command = ["setpriv", "--pdeathsig", "TERM", "--", *command]
    with tempfile.TemporaryFile(prefix="mlflow-server-log-") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **_LEAN},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait_until_it_answers(process, f"http://{_for_browser(host)}:{port}", log)
            yield process
        finally:
            _end(process)


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StoreError(f"the MLflow server did not start (exit code {process.returncode}):\n{_tail(log)}")
        with contextlib.suppress(OSError):
            # No proxy: it could not reach this host.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{url}/health", timeout=5) as response:
                if response.status == 200:
                    return
        time.sleep(_POLL_S)
    raise StoreError(f"the MLflow server did not answer within {_START_S:.0f} s:\n{_tail(log)}")


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-2000:].decode(errors="replace").strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server's session: the server itself and its worker. A second Ctrl-C does so at once."""
    try:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(_GRACE_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end the UI as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
