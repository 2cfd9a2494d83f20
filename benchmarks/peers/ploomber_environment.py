"""Ploomber's virtual environment: its bounds and ours can't be met in one."""

import os
import subprocess
import sys
from pathlib import Path

VERSION = "0.23.3"
REQUIREMENTS = (f"ploomber=={VERSION}", "ipykernel")


def directory() -> Path:
    """Where it is: beside other caches of the user, since it is the same for every clone."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (
        cache
        / "pynb-dag-runner"
        / f"benchmark-ploomber-{VERSION}-python{sys.version_info.major}.{sys.version_info.minor}"
    )


def python() -> Path:
    """Its interpreter; the environment is made if it is not there.

    Raises:
        subprocess.CalledProcessError: it can't be made.
    """
    program = directory() / "bin" / "python"
    complete = directory() / "complete"
    if not complete.exists():
        print(f"making an environment with Ploomber {VERSION} in {directory()}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory()], check=True)
        pip = [str(program), "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--prefer-binary"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
        complete.touch()
    return program


if __name__ == "__main__":
    print(python())
