"""Uploads that are killed at random points: the next one completes what is there, and nothing is there twice.

A few points each time, since each takes seconds with a server; `make soak` tries 25 with each store.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_bridge import UploadOutcome
from mlflow_bridge.store import open_store
from mlflow_bridge.store.target import resolve_target
from mlflow_bridge.uploads.one_run import upload_folder
from tests.bridge.mlflow_contents import Contents
from tests.bridge.uploads.test_repeated import assert_one_complete_set, small_run
from tests.soak import repetitions

POINTS = {"sqlite": repetitions(few=8, many=25), "server": repetitions(few=4, many=25)}
SEED = 20260102


@pytest.mark.soak
@pytest.mark.parametrize("target", ["sqlite", "server"])
def test_uploads_killed_at_random_points_are_completed(
    target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    uri = str(request.getfixturevalue(f"{target}_uri"))
    folder = small_run(tmp_path / "runs")
    script = Path(__file__).with_name("killed_uploads.py")
    points = POINTS[target]
    command = [sys.executable, str(script), str(folder), uri, str(points), str(SEED)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    killed = done.stdout.splitlines()
    store = open_store(resolve_target(uri))
    assert len(killed) >= points // 2
    for experiment in killed:
        upload_folder(folder, store, experiment=experiment)
        assert_one_complete_set(Contents(uri, experiment))
    assert upload_folder(folder, store, experiment=killed[-1]).outcome is UploadOutcome.UNCHANGED
