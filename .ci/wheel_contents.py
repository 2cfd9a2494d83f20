"""Compares a wheel with the work tree: every module and every data file of the packages must be in it.

Usage: python .ci/wheel_contents.py WHEEL, from the project's root. Exit code 1 and a list where files are missing.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGES = ("pynb_dag_runner", "mlflow_bridge")


def tracked_files() -> set[str]:
    """Files of the packages that git knows or would add, as paths relative to the project's root."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *PACKAGES],
        check=True,
        capture_output=True,
        text=True,
    )
    return {name for name in listing.stdout.split("\0") if name and Path(name).is_file()}


def main(wheel: Path) -> int:
    """Returns the exit code: 0 where nothing is missing."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith(PACKAGES)}
    missing = sorted(tracked_files() - packed)
    for name in missing:
        print(f"{wheel.name} lacks {name}: add it to package_data in setup.cfg", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
