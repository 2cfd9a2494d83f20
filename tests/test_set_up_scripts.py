"""The scripts behind `make venv` on machines where something is missing: one sentence, and nothing half made."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_script(name: str, *arguments: str | Path, path: Path | str = "/usr/bin:/bin") -> tuple[int, str]:
    """Exit code and what was said on stderr."""
    ended = subprocess.run(
        [ROOT / ".ci" / name, *arguments],
        env={"PATH": str(path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return ended.returncode, ended.stderr


def program(directory: Path, name: str, body: str) -> Path:
    file = directory / name
    file.write_text(f"#!/bin/bash\n{body}\n")
    file.chmod(0o755)
    return file


def test_python_that_is_not_there(tmp_path: Path) -> None:
    code, said = run_script("make-venv", "no-such-python", tmp_path / "venv")
    assert code == 1
    assert said == (
        "There is no program 'no-such-python': install Python 3.11 or newer, or name one: "
        "make PYTHON=/path/to/python3\n"
    )


def test_python_that_is_too_old(tmp_path: Path) -> None:
    old = program(tmp_path, "python3", 'case "$2" in *version_info\\ \\<*|*exit*) exit 1;; *) echo 3.9;; esac')
    code, said = run_script("make-venv", old, tmp_path / "venv")
    assert (code, (tmp_path / "venv").exists()) == (1, False)
    assert said.startswith(f"'{old}' is Python 3.9, 3.11 or newer is needed")


def test_package_where_nobody_may_install_one(tmp_path: Path) -> None:
    program(tmp_path, "id", "echo 1000")
    program(tmp_path, "apt-get", "exit 1")
    program(tmp_path, "sudo", "exit 1")
    code, said = run_script("debian-package", "chromium", "The tests need it", path=f"{tmp_path}:/usr/bin:/bin")
    assert code == 1
    assert said == (
        "The tests need it, but installing chromium needs root, and sudo is missing or would ask for a password. "
        "Install it and start again: apt-get install chromium\n"
    )


@pytest.mark.parametrize(
    ("together", "alone", "expected", "phases"),
    [
        (0, 0, 0, ["together", "alone"]),
        (1, 0, 1, ["together", "alone"]),
        (0, 1, 1, ["together", "alone"]),
        (0, 5, 0, ["together", "alone"]),  # pytest's 5: no test was chosen
        (5, 0, 0, ["together", "alone"]),
        (5, 5, 5, ["together", "alone"]),
        (5, 1, 1, ["together", "alone"]),
        (2, 0, 2, ["together"]),  # interrupted
    ],
)
def test_the_tests_fail_when_one_of_their_phases_does(
    tmp_path: Path, together: int, alone: int, expected: int, phases: list[str]
) -> None:
    (tmp_path / "bin").mkdir()
    told = tmp_path / "told"
    program(
        tmp_path / "bin", "python",
        f'echo "$4 ${{@: -2}}" >> {told}; case $4 in together) exit {together};; alone) exit {alone};; esac',
    )  # fmt: skip
    script = [str(ROOT / ".ci/test"), "-k", "plan or dag"]
    ended = subprocess.run(script, env={"PATH": "/usr/bin:/bin", "VENV": str(tmp_path)}, check=False)
    assert ended.returncode == expected
    assert told.read_text().splitlines() == [f"{phase} -k plan or dag" for phase in phases]
