"""How much memory an upload takes, in a process of its own: that of a test has grown already."""

import os
import subprocess
import sys
from pathlib import Path

from tests.bridge.run_folders import Attempt, Task, make_run

_SCRIPT = """
import sys
from pathlib import Path
from mlflow_bridge import upload
upload(sys.argv[1], sys.argv[2], sys.argv[3])
# Not getrusage: what that says of a new process begins with the peak of the one that started it.
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
print(int(peak.split()[1]) * 1024)
"""


def run_with_artifact(directory: Path, size_bytes: int) -> Path:
    """A run folder with one file of this size; it has no data on the disk before it is read."""
    folder = make_run(directory, Task(attempts=(Attempt(artifacts={"large.bin": b""}),)))
    os.truncate(folder / "tasks/train/attempt-1/artifacts/large.bin", size_bytes)
    return folder


def peak_bytes(folder: Path, uri: str, experiment: str) -> int:
    """The most that an upload of a run folder had in memory at any time."""
    command = [sys.executable, "-W", "ignore", "-c", _SCRIPT, str(folder), uri, experiment]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)
