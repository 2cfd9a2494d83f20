"""The scripts behind `make venv` on machines where something is missing: one sentence, and nothing half made."""

import subprocess
from pathlib import Path

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
    file.write_text(f"#!/bin/sh\n{body}\n")
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
