"""A Ray cluster of one node on this machine, started as people type it: ``ray start --head``."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pynb_dag_runner.processes.process_table import end_marked, with_mark

TOKEN = "0f" * 32


@dataclass(frozen=True)
class RayHead:
    """The cluster's head.

    Attributes:
        port: of its control service, on this machine.
        home: the user's home that it was started in, with the token; Ray's files are there, too.
    """

    port: int
    home: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def ray_head(num_cpus: int = 1) -> Iterator[RayHead]:
    """Start one that asks for a token; end it and all that it started."""
    with tempfile.TemporaryDirectory(prefix="pdr-t-", dir="/tmp") as short:
        home = Path(short)
        (home / ".ray").mkdir()
        (home / ".ray/auth_token").write_text(TOKEN)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        mine = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}"]
        # Beside what people type: what keeps it small and apart from a Ray that is here already.
        command += [f"--temp-dir={home}", f"--num-cpus={num_cpus}", "--include-dashboard=false"]
        command += [f"--object-store-memory={100 * 1024 * 1024}", "--min-worker-port=0", "--max-worker-port=0"]
        command += ["--dashboard-agent-listen-port=0", "--disable-usage-stats"]
        # Its agents take other names, and hide their environment if nobody asks them not to.
        mine |= {"HOME": str(home), "TEST_CLUSTER": str(home), "SPT_NOENV": "1", "RAY_AUTH_MODE": "token"}
        done = subprocess.run(command, env=mine, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        try:
            yield RayHead(port, home)
        finally:
            end_marked(f"TEST_CLUSTER={home}")
        assert with_mark(f"TEST_CLUSTER={home}") == []
