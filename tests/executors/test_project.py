"""What of a project travels to other machines, and where it lands there."""

import json
from pathlib import Path

import pytest

from pynb_dag_runner import Pipeline
from pynb_dag_runner.errors import UsageError
from pynb_dag_runner.execute.project_files import project_of
from pynb_dag_runner.executors import project as project_module
from pynb_dag_runner.executors.project import ROOTS_VARIABLE, here, pack, unpack
from tests.end_to_end.cli_process import write

FILES = {
    "pipeline.py": "",
    "notebooks/train.py": "# %%\n",
    "notebooks/data.csv": "1,2",
    ".env": "TOKEN=1",
    ".git/config": "",
    "__pycache__/x.pyc": "",
    "venv/pyvenv.cfg": "",
    "venv/lib/x.py": "",
    "runs/digits/1/run.json": "{}",
    "runs/digits/1/report.html": "",
    "ignored.txt": "in .gitignore, and yet it travels",
    ".gitignore": "ignored.txt",
}


def unpacked(packed: project_module.PackedProject, target: Path) -> list[str]:
    unpack(packed.archive, packed.roots, target)
    return sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())


def test_a_project_s_files_travel_and_nothing_else(tmp_path: Path) -> None:
    base = write(tmp_path / "project", FILES)
    (base / "link").symlink_to("/etc/passwd")
    packed = pack(base, [base / "notebooks"], [str(base)])
    assert packed.roots == (base,)
    assert unpacked(packed, tmp_path / "there") == [
        "0/ignored.txt",
        "0/notebooks/data.csv",
        "0/notebooks/train.py",
        "0/pipeline.py",
    ]


def test_of_other_directories_on_the_search_path_only_python_files_travel(tmp_path: Path) -> None:
    base = write(tmp_path / "project", {"pipeline.py": ""})
    modules = write(tmp_path / "modules", {"tool.py": "", "large.csv": ""})
    packed = pack(base, [], [str(modules), str(Path(json.__file__).parents[1]), "relative"])
    assert packed.roots == (base, modules)
    assert unpacked(packed, tmp_path / "there") == ["0/pipeline.py", "1/tool.py"]


def test_notebooks_elsewhere_bring_what_is_beside_them(tmp_path: Path) -> None:
    base = write(tmp_path / "project", {"pipeline.py": ""})
    beside = write(tmp_path / "shared", {"clean.py": "# %%\n", "names.json": "[]"})
    p = Pipeline("p", base_dir=base)
    p.notebook(beside / "clean.py")
    packed = project_of(p.build(), base)
    assert {"0/pipeline.py", "1/clean.py", "1/names.json"} <= set(unpacked(packed, tmp_path / "there"))


def test_a_file_that_is_too_large_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_module, "MAX_FILE_BYTES", 10)
    base = write(tmp_path / "project", {"pipeline.py": "", "data.bin": "x" * 11})
    packed = pack(base, [], [])
    assert unpacked(packed, tmp_path / "there") == ["0/pipeline.py"]
    (note,) = packed.notes
    assert note.startswith(f"{base / 'data.bin'} is not sent to the cluster")


def test_too_many_files_are_refused_and_the_largest_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_module, "MAX_TOTAL_BYTES", 10)
    base = write(tmp_path / "project", {"a.txt": "x" * 6, "b.txt": "x" * 5})
    with pytest.raises(UsageError, match=r"the largest are .*a\.txt"):
        pack(base, [], [])


def test_a_path_of_the_drivers_is_found_where_it_was_unpacked(tmp_path: Path) -> None:
    base = write(tmp_path / "project", {"notebooks/a.py": ""})
    packed = pack(base, [], [])
    places = unpack(packed.archive, packed.roots, tmp_path / "there")
    environment = {ROOTS_VARIABLE: json.dumps(places)}
    assert here(base / "notebooks", environment) == tmp_path / "there/0/notebooks"
    assert here(Path("/elsewhere"), environment) == Path("/elsewhere")
    assert here(base, {}) == base
