"""Kills uploads at random points. A process of its own: MLflow is imported once, each upload is a fork of it."""

import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from mlflow_bridge.store import open_store
from mlflow_bridge.store.target import resolve_target
from mlflow_bridge.uploads.one_run import upload_folder

_MOST_TRIES = 10
_FASTER = 0.8


def whole_upload_s(folder: Path, uri: str) -> float:
    """Seconds from the fork to the end of an upload that nothing disturbs."""
    start = time.monotonic()
    child = _upload_in_a_child(folder, uri, "undisturbed")
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return time.monotonic() - start


def kill(folder: Path, uri: str, experiment: str, after_s: float) -> bool:
    """Kill an upload after a time; whether that was before its end."""
    child = _upload_in_a_child(folder, uri, experiment)
    threading.Timer(after_s, os.kill, (child, signal.SIGKILL)).run()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def _upload_in_a_child(folder: Path, uri: str, experiment: str) -> int:
    child = os.fork()
    if child == 0:
        upload_folder(folder, open_store(resolve_target(uri)), experiment=experiment)
        os._exit(0)
    return child


def main(folder: str, uri: str, points: int, seed: int) -> None:
    """Print the experiments whose upload was killed."""
    import mlflow.store.tracking.rest_store  # noqa: F401

    with tempfile.TemporaryDirectory() as scratch:
        # What MLflow imports late is imported once, before the forks.
        upload_folder(Path(folder), open_store(resolve_target(f"sqlite:///{scratch}/mlflow.db")))
    whole_s = whole_upload_s(Path(folder), uri)
    generator = random.Random(seed)
    killed = 0
    for point in range(_MOST_TRIES * points):
        if point >= points and killed >= points // 2:
            break
        experiment = f"killed {seed} {point}"
        if kill(Path(folder), uri, experiment, generator.uniform(0.0, whole_s)):
            killed += 1
            print(experiment, flush=True)
        else:
            whole_s *= _FASTER  # the machine was busier when an upload was timed than it is now


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
