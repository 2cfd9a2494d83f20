"""From what a user types to a pipeline, and what is said when there is none."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pynb_dag_runner.api.loading import load
from pynb_dag_runner.errors import LoadingError

PIPELINE = """
from pynb_dag_runner import Pipeline, pipeline

def say() -> str:
    return "hello"

@pipeline
def sales(p: Pipeline, count: int = 1) -> None:
    p.function(say)
"""
TWO = PIPELINE + "\n@pipeline\ndef costs(p: Pipeline) -> None:\n    p.function(say)\n"
MARK = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"
"""Leaves a file when it is executed."""


@pytest.fixture(autouse=True)
def _imports_are_undone(tmp_path: Path) -> Iterator[None]:
    """Only of files that the test wrote: a library that is imported twice is not itself any more."""
    modules, path = dict(sys.modules), list(sys.path)
    yield
    for name in sys.modules.keys() - modules.keys():
        if not str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            continue
        del sys.modules[name]
    sys.path[:] = path


def write(directory: Path, **files: str) -> Path:
    """Files by their stem; the suffix is .py."""
    for stem, text in files.items():
        (directory / f"{stem}.py").write_text(text)
    return directory


def problem(target: str, cwd: Path) -> str:
    with pytest.raises(LoadingError) as caught:
        load(target, cwd)
    return str(caught.value)


@pytest.mark.parametrize("target", ["flow.py", "flow.py:sales", "flow:sales", "./flow.py", "{tmp}/flow.py:sales"])
def test_a_pipeline_is_found(tmp_path: Path, target: str) -> None:
    write(tmp_path, flow=PIPELINE)
    assert load(target.format(tmp=tmp_path), tmp_path).name == "sales"


def test_one_of_two_pipelines_is_found_by_its_name(tmp_path: Path) -> None:
    assert load("flow.py:costs", write(tmp_path, flow=TWO)).name == "costs"


def test_a_pipeline_object_is_found_too(tmp_path: Path) -> None:
    write(tmp_path, flow="from pynb_dag_runner import Pipeline\np = Pipeline('made by hand', base_dir='.')\n")
    assert load("flow.py", tmp_path).name == "made by hand"


def test_a_module_in_a_package_is_found_below_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "company").mkdir()
    write(tmp_path / "company", __init__="", flow=PIPELINE)
    assert load("company.flow:sales", tmp_path).name == "sales"


def test_a_file_imports_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, flow_neighbour="WORD = 'hi'\n", flow="import flow_neighbour\n" + PIPELINE)
    assert load("flow.py", tmp_path).name == "sales"


def test_a_file_never_takes_the_name_of_another_module(tmp_path: Path) -> None:
    write(tmp_path, json=PIPELINE)
    before = sys.modules["json"]
    load("json.py", tmp_path)
    assert sys.modules["json"] is before


def test_loading_again_sees_what_was_changed(tmp_path: Path) -> None:
    load("flow.py", write(tmp_path, flow=PIPELINE))
    assert load("flow.py", write(tmp_path, flow=PIPELINE.replace("sales", "renamed"))).name == "renamed"


def test_a_file_that_has_not_changed_is_one_module(tmp_path: Path) -> None:
    write(tmp_path, flow=PIPELINE)
    assert load("flow.py", tmp_path) is load("flow.py:sales", tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n.py", "# %%\n" + MARK),  # percent format
        ("n.py", "# %% [markdown]\n# Title\n"),
        ("n.py", "# +\n" + MARK),  # light format
        ("n.py", "# ---\n# jupyter:\n#   jupytext: {}\n# ---\n" + MARK),  # known by Jupytext's header
        ("n.py", "# %%\nfrom pynb_dag_runner import tracking\n" + MARK),  # uses the package, makes no pipeline
        ("n.md", "# Title\n\n```python\n1 + 1\n```\n"),
        ("n.Rmd", "# Title\n\n```{python}\n1 + 1\n```\n"),
        ("n.ipynb", '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'),
    ],
)
def test_a_notebook_becomes_a_pipeline_and_is_not_executed(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert load(name, tmp_path).name == "n"
    assert not (tmp_path / "n.ran").exists()


def test_cell_markers_do_not_make_a_notebook_of_a_pipeline(tmp_path: Path) -> None:
    assert load("flow.py", write(tmp_path, flow="# %%" + PIPELINE)).name == "sales"


@pytest.mark.parametrize(
    "start",
    [
        "import pynb_dag_runner\n\n@pynb_dag_runner.pipeline",
        "import pynb_dag_runner as runner\n\n@runner.pipeline",
        "from pynb_dag_runner import pipeline as flow\n\n@flow",
    ],
)
def test_a_decorator_is_known_by_any_name_it_was_imported_as(tmp_path: Path, start: str) -> None:
    write(tmp_path, flow=f"# %%\n{start}\ndef sales(p):\n    p.function(print)\n")
    assert load("flow.py", tmp_path).name == "sales"


def test_no_such_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, pipeline="")
    assert problem("pipelin.py", tmp_path) == "there is no file 'pipelin.py'; did you mean 'pipeline.py'?"
    assert problem("zzz.py", tmp_path) == "there is no file 'zzz.py'"


def test_no_such_directory(tmp_path: Path) -> None:
    assert problem("flows/a.py", tmp_path) == "there is no file 'flows/a.py': there is no directory 'flows'"


def test_a_directory(tmp_path: Path) -> None:
    write(tmp_path, a="", b="")
    assert problem(".", tmp_path) == "'.' is a directory, expected a file; there is 'a.py' and 'b.py'"


def test_no_pipeline(tmp_path: Path) -> None:
    assert problem("a.py", write(tmp_path, a="x = 1\n")).startswith("there is no pipeline in 'a.py': no function with")


def test_several_and_none_named(tmp_path: Path) -> None:
    message = "there are 2 pipelines in 'a.py'; name one of a.py:sales, a.py:costs"
    assert problem("a.py", write(tmp_path, a=TWO)) == message


def test_an_unknown_name_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, a=TWO)
    assert problem("a.py:sale", tmp_path) == "in 'a.py' there is no pipeline 'sale'; did you mean 'sales'?"


def test_a_name_of_something_else(tmp_path: Path) -> None:
    write(tmp_path, a=PIPELINE)
    assert problem("a.py:say", tmp_path) == "'say' in 'a.py' is no pipeline but a function; is it decorated?"


def test_a_name_in_a_notebook(tmp_path: Path) -> None:
    message = "there is no pipeline 'sales' in 'n.py': it is a notebook; leave out ':sales' to run it"
    assert problem("n.py:sales", write(tmp_path, n="# %%\n")) == message


def test_an_exception_on_import_is_shown_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, flow_bad="def f():\n    return 1 / 0\n\nf()\n", a="import sys\nimport flow_bad\n")
    assert problem("a.py", tmp_path).splitlines() == [
        "importing 'a.py' raised ZeroDivisionError: division by zero",
        "  a.py, line 2: import flow_bad",
        "  flow_bad.py, line 4: f()",
        "  flow_bad.py, line 2: return 1 / 0",
    ]


def test_a_missing_library_is_no_missing_module(tmp_path: Path) -> None:
    write(tmp_path, a="import pandsa\n")
    lines = ["  a.py, line 1: import pandsa"]
    said = "raised ModuleNotFoundError: No module named 'pandsa'"
    assert problem("a.py", tmp_path).splitlines() == [f"importing 'a.py' {said}", *lines]
    assert problem("a:x", tmp_path).splitlines() == [f"importing 'a' {said}", *lines]


def test_a_file_that_ends_the_process(tmp_path: Path) -> None:
    assert problem("a.py", write(tmp_path, a="raise SystemExit(3)\n")).startswith(
        "importing 'a.py' raised SystemExit: 3"
    )


def test_a_failed_import_leaves_nothing_behind(tmp_path: Path) -> None:
    path, modules = list(sys.path), set(sys.modules)
    problem("flow.py", write(tmp_path, flow="1 / 0\n"))
    problem("no_such_module:x", tmp_path)
    assert (sys.path, set(sys.modules)) == (path, modules)


@pytest.mark.parametrize(
    "text",
    [
        "x = 1\ndef f(:\n    pass\n",
        "# %%\nfrom pynb_dag_runner import Pipeline, pipeline\ndef f(:\n",  # a pipeline's file in spite of the marker
    ],
)
def test_a_syntax_error_is_shown_with_its_line(tmp_path: Path, text: str) -> None:
    line = text[: text.index("def f(:")].count("\n") + 1
    message = f"'a.py' is not valid Python: invalid syntax, line {line}\n  def f(:"
    assert problem("a.py", write(tmp_path, a=text)) == message


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"\x00\x01\xff")
    assert problem("a.py", tmp_path).startswith("'a.py' is not valid Python: ")


def test_neither_python_nor_notebook(tmp_path: Path) -> None:
    (tmp_path / "data.csv").touch()
    message = "'data.csv' is neither a Python file nor a notebook: no notebook format has the suffix '.csv'"
    assert problem("data.csv", tmp_path) == message


def test_no_such_module(tmp_path: Path) -> None:
    assert problem("no_such.module:x", tmp_path) == "there is no module 'no_such.module': there is no module 'no_such'"
    assert problem("no_such:x", tmp_path) == "there is no module 'no_such'"


@pytest.mark.parametrize("target", ["a.py:", ":x", "a.py:no-name"])
def test_a_target_of_no_known_form(tmp_path: Path, target: str) -> None:
    assert problem(target, write(tmp_path, a=PIPELINE)) == (
        f"got {target!r}, expected a file, file.py:name or package.module:name"
    )


def test_a_colon_may_be_part_of_a_files_name(tmp_path: Path) -> None:
    (tmp_path / "a:b.py").write_text(PIPELINE)
    assert load("a:b.py", tmp_path).name == "sales"
