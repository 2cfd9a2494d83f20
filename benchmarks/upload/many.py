"""A thousand small run folders, uploaded to an sqlite file and to a server, with several numbers of jobs; then again.

Run from the repository::

    python -m benchmarks.upload.many [--runs 1000] [--ways sqlite,two-processes,server] [--jobs 1,2,4,8]

Each line: what, seconds, runs per second, peak memory of the uploading process (MiB). All times are of the command as
a user starts it, the import of MLflow included.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mlflow_bridge.store import open_store
from mlflow_bridge.store.local_ui import free_port, running_server
from mlflow_bridge.store.target import resolve_target
from tests.bridge.run_folders import Attempt, Task, make_run

_COMMAND = """
import resource, sys
from mlflow_bridge.cli.commands import upload
try:
    upload(sys.argv[1:], standalone_mode=False)
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""


def make_folders(directory: Path, number: int) -> list[Path]:
    """Small runs: two tasks, three parameters and metrics each."""
    attempt = Attempt(
        params={f"param_{n}": str(n) for n in range(3)}, metrics=[(f"metric_{n}", float(n), 0) for n in range(3)]
    )
    tasks = (Task(name="ingest", attempts=(attempt,)), Task(name="train", attempts=(attempt,)))
    return [make_run(directory / f"{n % 2}", *tasks, run_id=f"run-{n:06d}") for n in range(number)]


def start(uri: str, paths: Sequence[Path], *options: str) -> "subprocess.Popen[str]":
    """Start the command."""
    command = [sys.executable, "-W", "ignore", "-c", _COMMAND, "--json", "--tracking-uri", uri, *options]
    return subprocess.Popen([*command, *map(str, paths)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def measure(what: str, uri: str, paths: Sequence[Sequence[Path]], *options: str) -> None:
    """One process for each part of ``paths``, all at once."""
    begin = time.monotonic()
    processes = [start(uri, part, *options) for part in paths]
    counts, memory = [], []
    for process in processes:
        out, err = process.communicate()
        if process.returncode:
            raise SystemExit(f"{what}: exit code {process.returncode}\n{err[-2000:]}")
        summary = json.loads(out)["summary"]
        counts.append({word: count for word, count in summary.items() if count})
        memory.append(err.split()[-1])
    seconds = time.monotonic() - begin
    total = sum(sum(count.values()) for count in counts)
    print(f"{what:34} {seconds:8.1f} s {total / seconds:8.1f} /s {'+'.join(memory):>9} MiB  {counts}", flush=True)


def new_store(directory: Path) -> str:
    """An empty sqlite store."""
    directory.mkdir()
    uri = f"sqlite:///{directory}/mlflow.db"
    open_store(resolve_target(uri))
    return uri


def on_sqlite(directory: Path, runs: Path) -> None:
    """One process, first and again."""
    uri = new_store(directory / "one")
    measure("sqlite, first", uri, [[runs]])
    for _ in range(2):
        measure("sqlite, unchanged", uri, [[runs]])


def on_sqlite_twice(directory: Path, runs: Path) -> None:
    """Two processes, each with half of the folders."""
    measure("sqlite, first, 2 processes", new_store(directory / "two"), [[runs / "0"], [runs / "1"]])


def on_server(directory: Path, runs: Path, jobs: int) -> None:
    """A lean server with one worker, on a new store."""
    uri = new_store(directory / f"server-{jobs}")
    port = free_port("127.0.0.1", 17000)
    with running_server(resolve_target(uri), "127.0.0.1", port):
        server = f"http://127.0.0.1:{port}"
        measure(f"server, first, {jobs} jobs", server, [[runs]], "--jobs", str(jobs))
        measure(f"server, unchanged, {jobs} jobs", server, [[runs]], "--jobs", str(jobs))


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--ways", default="sqlite,two-processes,server")
    parser.add_argument("--jobs", default="1,2,4,8")
    arguments = parser.parse_args()
    ways = arguments.ways.split(",")
    # Its default of 1,024 open files is enough; said here, since a leak would show as an error.
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        runs = directory / "runs"
        make_folders(runs, arguments.runs)
        if "sqlite" in ways:
            on_sqlite(directory, runs)
        if "two-processes" in ways:
            on_sqlite_twice(directory, runs)
        for jobs in map(int, arguments.jobs.split(",")) if "server" in ways else ():
            on_server(directory, runs, jobs)


if __name__ == "__main__":
    main()
