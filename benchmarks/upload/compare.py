"""Compare ways of uploading one run to MLflow: seconds and ratios, alternating in one process.

    python -m benchmarks.upload.compare --tasks 200 --repeats 3
    python -m benchmarks.upload.compare --tasks 5000 --repeats 1 --ways ours "client loop"

Each figure is the least of all rounds. Read the ratios: machines differ, and on a busy one wall-clock time moves by
half. On an sqlite file the CPU time of this process moves little; of a server it is not known here. ``memory.py``
beside this measures memory.
"""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.upload.pipeline_of_tasks import make_run_folder
from benchmarks.upload.ways import ON_SERVER, ON_SQLITE, Way, Work, read_work, silent
from mlflow_bridge.store import open_store
from mlflow_bridge.store.local_ui import free_port, running_server
from mlflow_bridge.store.target import resolve_target


@dataclass(frozen=True)
class Seconds:
    """What one upload took: by the clock on the wall, and of this process's CPU time."""

    wall: float
    cpu: float


def seconds(way: Way, work: Work, uri: str, experiment: str) -> Seconds:
    """Time one upload."""
    wall, cpu = time.perf_counter(), time.process_time()
    with silent():
        way(work, uri, experiment)
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def measure(ways: dict[str, Way], work: Work, uri: str, repeats: int) -> dict[str, Seconds]:
    """The least seconds of each way; each round makes every way once."""
    found: dict[str, list[Seconds]] = {name: [] for name in ways}
    for round_number in range(repeats):
        for name, way in ways.items():
            found[name].append(seconds(way, work, uri, f"{name} {round_number}"))
    return {name: Seconds(min(one.wall for one in all_), min(one.cpu for one in all_)) for name, all_ in found.items()}


@contextlib.contextmanager
def server(directory: Path) -> Iterator[str]:
    """A lean MLflow server on a new sqlite file."""
    target = resolve_target(f"sqlite:///{directory}/server/mlflow.db")
    open_store(target)
    port = free_port("127.0.0.1", 16000)
    with running_server(target, "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}"


def show(where: str, found: dict[str, Seconds], tasks: int) -> None:
    """A table with the ratios to ours."""
    print(f"\n{where}, {tasks} tasks | seconds | ms per task | ratio to ours | CPU seconds | ratio")
    print("---|---|---|---|---|---")
    ours = found["ours"]
    for name, value in found.items():
        wall = f"{value.wall:.2f} | {1000 * value.wall / tasks:.1f} | {value.wall / ours.wall:.2f}"
        print(f"{name} | {wall} | {value.cpu:.2f} | {value.cpu / ours.cpu:.2f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare ways of uploading one run to MLflow.")
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=sorted(ON_SERVER), default=sorted(ON_SERVER))
    parser.add_argument("--targets", nargs="+", choices=["sqlite", "server"], default=["sqlite", "server"])
    options = parser.parse_args()
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
    wanted = {"ours", *options.ways}
    with tempfile.TemporaryDirectory(prefix="benchmark-upload-") as name:
        directory = Path(name)
        os.chdir(directory)  # MLflow puts artifacts of sqlite experiments below it
        work = read_work(make_run_folder(directory, options.tasks))
        if "sqlite" in options.targets:
            uri = f"sqlite:///{directory}/direct/mlflow.db"
            open_store(resolve_target(uri))
            ways = {key: way for key, way in ON_SQLITE.items() if key in wanted}
            show("sqlite", measure(ways, work, uri, options.repeats), options.tasks)
        if "server" in options.targets:
            with server(directory) as uri:
                ways = {key: way for key, way in ON_SERVER.items() if key in wanted}
                show("server", measure(ways, work, uri, options.repeats), options.tasks)


if __name__ == "__main__":
    main()
