"""The installed command, as users start it: in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "pynb-dag-runner"
PATIENCE_S = 240


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """That of the tests, without what would change the output."""
    noise = ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "PYTHONPATH", "GITHUB_ACTIONS")
    return {name: value for name, value in os.environ.items() if name not in noise} | dict(extra or {})


def pynb(*arguments: object, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; stdout and stderr apart, as text."""
    return subprocess.run(
        [str(PROGRAM), *map(str, arguments)],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def write(directory: Path, files: Mapping[str, str]) -> Path:
    """Text files by their relative path; returns ``directory``."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return directory
