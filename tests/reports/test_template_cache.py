"""Compiled templates are kept for the next run, and nothing bad comes of what is in their place."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
compiled = []
sys.addaudithook(lambda event, values: compiled.append(str(values[1])) if event == "compile" else None)
from nbformat.v4 import new_code_cell, new_notebook
from pynb_dag_runner.model.outcomes import Outcome
from pynb_dag_runner.reports.pages.page import to_html
page = to_html(new_notebook(cells=[new_code_cell("x", id="one")]), "title", Outcome.SUCCEEDED, None)
print(json.dumps([page.decode(), sum(name.endswith(".j2") for name in compiled)]))
"""


def page(cache: Path) -> tuple[str, int]:
    """A page, and how many templates were compiled for it."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=240, check=True
    )
    text, compiled = json.loads(done.stdout)
    return text, compiled


def kept_in(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_the_next_process_compiles_nothing(tmp_path: Path) -> None:
    first, compiled = page(tmp_path)
    assert compiled > 5
    assert len(kept_in(tmp_path)) == compiled
    (directory,) = {path.parent for path in kept_in(tmp_path)}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert page(tmp_path) == (first, 0)


def damage(cache: Path) -> None:
    for number, path in enumerate(kept_in(cache)):
        path.write_bytes([b"", b"j2", b"\x00" * 100, path.read_bytes()[:-50]][number % 4])


def open_to_others(cache: Path) -> None:
    (directory,) = {path.parent for path in kept_in(cache)}
    directory.chmod(0o777)


def let_others_exchange_it(cache: Path) -> None:
    """As with a cache in /tmp that somebody else had made there."""
    (cache / "pynb-dag-runner").chmod(0o777)


def put_directories_there(cache: Path) -> None:
    for path in kept_in(cache):
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("harm", [damage, open_to_others, let_others_exchange_it, put_directories_there])
def test_what_can_not_be_used_is_compiled(harm: Callable[[Path], None], tmp_path: Path) -> None:
    first, compiled = page(tmp_path)
    harm(tmp_path)
    assert page(tmp_path) == (first, compiled)


def test_without_a_place_each_process_compiles(tmp_path: Path) -> None:
    first, compiled = page(tmp_path / "there")
    (tmp_path / "file").touch()
    assert page(tmp_path / "file") == (first, compiled)
    assert page(tmp_path / "file") == (first, compiled)
