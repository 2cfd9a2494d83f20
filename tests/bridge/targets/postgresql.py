"""A PostgreSQL of the tests: Debian's package, in a directory of its own, reached through a socket there."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_START_S = 200.0
_ACCOUNT = "nobody"
"""PostgreSQL refuses to run as root."""
_USER = "postgres"
_SAFE_ENOUGH = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=")


def programs() -> Path | None:
    """Where the server's programs are, of the newest version; None if it is not installed.

    Debian keeps them outside the search path.
    """
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


@contextmanager
def running_postgresql(binaries: Path) -> Iterator[str]:
    """A server with an empty database; its address is for SQLAlchemy. When this ends, it and its data are gone."""
    # Below pytest's own directory the server's user could not find it.
    directory = Path(tempfile.mkdtemp(prefix="pynb-dag-runner-pg-"))
    if os.getuid() == 0:
        account = pwd.getpwnam(_ACCOUNT)
        os.chown(directory, account.pw_uid, account.pw_gid)
    data = directory / "data"
    try:
        _call([str(binaries / "initdb"), "-D", str(data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync"])
        with (directory / "log").open("wb") as log:
            server = subprocess.Popen(_unprivileged(_server(binaries, directory, data)), stdout=log, stderr=log)
        try:
            _wait(server, binaries, directory)
            _call([str(binaries / "createdb"), "-h", str(directory), "-U", _USER, "mlflow"])
            yield f"postgresql+psycopg://{_USER}@/mlflow?host={directory}"
        finally:
            # Ends all of its processes at once; nothing that it wrote is wanted.
            server.send_signal(signal.SIGQUIT)
            server.wait(30)
    finally:
        shutil.rmtree(directory)


def _server(binaries: Path, directory: Path, data: Path) -> list[str]:
    settings = [part for setting in _SAFE_ENOUGH for part in ("-c", setting)]
    return [str(binaries / "postgres"), "-D", str(data), "-k", str(directory), *settings]


def _unprivileged(command: Sequence[str]) -> list[str]:
    """It ends when we do, also if we are killed."""
    account = pwd.getpwnam(_ACCOUNT)
    user = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"] if os.getuid() == 0 else []
    return ["setpriv", *user, "--pdeathsig", "QUIT", "--", *command]


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(_unprivileged(command), capture_output=True, text=True, timeout=_START_S, cwd="/")
    assert done.returncode == 0, done.stderr


def _wait(server: "subprocess.Popen[bytes]", binaries: Path, directory: Path) -> None:
    deadline = time.monotonic() + _START_S
    ready = [str(binaries / "pg_isready"), "-q", "-h", str(directory)]
    while subprocess.run(ready, timeout=_START_S).returncode != 0:
        log = (directory / "log").read_text()
        assert server.poll() is None, log
        assert time.monotonic() < deadline, log
        time.sleep(0.05)
