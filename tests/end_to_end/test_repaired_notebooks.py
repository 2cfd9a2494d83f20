"""Notebook files that are not quite valid, as people have them: repaired in memory, or refused with the place."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest

from pynb_dag_runner import TaskStatus, read_run
from pynb_dag_runner.notebooks.source import UnreadableNotebook, read_notebook
from tests.end_to_end.cli_process import pynb
from tests.end_to_end.one_notebook import run_one

SPEC = {"name": "python3", "display_name": "P", "language": "python"}


def code(**changes: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None}
    return empty | {"source": "1"} | changes


def text(**changes: Any) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": "t", "metadata": {}, "source": "# A title"} | changes


def notebook(*cells: object, **changes: Any) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells) or [code()]} | changes


def without(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


def v3(**changes: Any) -> dict[str, Any]:
    first = {"cell_type": "code", "input": ["1 +\n", " 1"], "language": "python", "outputs": [], "metadata": {}}
    second = {"cell_type": "heading", "level": 2, "source": "x", "metadata": {}}
    sheets = [{"cells": [first | changes, second], "metadata": {}}]
    return {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": sheets}


def content_of(directory: Path, given: object) -> Path:
    path = directory / "a.ipynb"
    path.write_bytes(given if isinstance(given, bytes) else json.dumps(given).encode())
    return path


DISPLAY = {"output_type": "display_data", "data": {"text/plain": "x"}}
STREAM = {"output_type": "stream", "name": "stdout", "text": "x"}

REPAIRED = [
    (notebook(metadata={"kernelspec": without(SPEC, "display_name")}), "metadata.kernelspec"),
    (notebook(metadata={"kernelspec": without(SPEC, "name")}), "metadata.kernelspec"),
    (notebook(metadata={"kernelspec": {}}), "metadata.kernelspec"),
    (notebook(metadata={"kernelspec": None}), "metadata.kernelspec"),
    (notebook(metadata={"kernelspec": "python3"}), "metadata.kernelspec"),
    (notebook(metadata={"kernelspec": SPEC | {"name": 3}}), "metadata.kernelspec"),
    (notebook(metadata={"language_info": {"version": "3"}}), "metadata.language_info"),
    (notebook(metadata={"language_info": None}), "metadata.language_info"),
    (notebook(metadata={"language_info": {"name": "python", "mimetype": 1}}), "metadata.language_info"),
    (notebook(metadata={"jupytext": None}), "metadata.jupytext"),
    (notebook(metadata={"title": ["a"]}), "metadata.title"),
    (notebook(metadata={"authors": "me", "orig_nbformat": "3"}), "metadata.authors and metadata.orig_nbformat"),
    (notebook(metadata=None), "metadata"),
    (without(notebook(), "metadata"), "metadata"),
    (without(notebook(), "nbformat"), "nbformat"),
    (notebook(nbformat="4"), "nbformat"),
    (without(notebook(), "nbformat_minor"), "nbformat_minor"),
    (notebook(nbformat_minor="5"), "nbformat_minor"),
    (notebook(code(novel=1), nbformat_minor=6, novel=1), "nbformat_minor, novel and novel of cell 1"),
    (notebook(code(metadata={"tags": "parameters"})), "tags of cell 1"),
    (notebook(code(metadata={"tags": None})), "tags of cell 1"),
    (notebook(code(metadata={"tags": ["a", "a", 3]})), "tags of cell 1"),
    (notebook(code(metadata={"collapsed": "no", "name": ""})), "name of cell 1 and collapsed of cell 1"),
    (notebook(code(metadata={"scrolled": "yes", "execution": {"a": 1}})), "scrolled of cell 1 and execution of cell 1"),
    (notebook(code(), without(code(), "metadata")), "metadata of cell 2 and id of cell 2"),
    (notebook(code(id="a b")), "id of cell 1"),
    (notebook(code(), code()), "id of cell 2"),
    (notebook(text(id="cell-2"), without(code(), "id")), "id of cell 2"),
    (notebook(without(code(), "source")), "source of cell 1"),
    (notebook(code(source=None)), "source of cell 1"),
    (notebook(without(code(input="1"), "source")), "source of cell 1"),
    (notebook(text(attachments=None)), "attachments of cell 1"),
    (notebook(text(attachments={"a.png": {"image/png": 1}})), "attachments of cell 1"),
    (notebook(text(outputs=[])), "outputs of cell 1"),
    # What an earlier execution left is dropped, so nothing can be wrong with it.
    (notebook(without(code(), "outputs", "execution_count")), ""),
    (notebook(code(outputs=None, execution_count="3")), ""),
    (notebook(code(outputs=[DISPLAY, without(STREAM, "name"), DISPLAY | {"data": {"text/plain": 3}}])), ""),
    # Not as today's format wants it, but right.
    (notebook(code(source=["1 +\n", " 1"])), ""),
    (notebook(without(code(), "id"), nbformat_minor=2), ""),
    (v3(), ""),
    (without(v3(), "metadata"), ""),
    (v3(input="1") | {"nbformat": 2}, ""),
    (b"\xef\xbb\xbf" + json.dumps(notebook()).encode(), ""),
    (json.dumps(notebook(), indent=1).replace("\n", "\r\n").encode(), ""),
]


@pytest.mark.parametrize(("given", "places"), REPAIRED)
@pytest.mark.filterwarnings("error")
def test_what_does_not_matter_is_repaired_in_memory(
    tmp_path: Path, given: object, places: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = content_of(tmp_path, given)
    before = path.read_bytes()
    with caplog.at_level(logging.DEBUG):
        read = read_notebook(path)
    assert read.remark == (f"its file is not quite valid; repaired in memory: {places}" if places else "")
    repaired = nbformat.reads(read.content, as_version=4)
    nbformat.validate(repaired)
    cells = [cell.source for cell in repaired.cells if cell.cell_type == "code"]
    assert set(cells) <= {"1", "1 +\n 1", ""}
    assert (read.language, path.read_bytes(), caplog.records) == ("python", before, [])


def test_no_more_than_a_few_places_are_named(tmp_path: Path) -> None:
    cells = [without(code(), "id") for _ in range(1_000)]
    remark = read_notebook(content_of(tmp_path, notebook(*cells))).remark
    assert remark.endswith("repaired in memory: " + ", ".join(f"id of cell {n}" for n in range(1, 6)) + " and 995 more")


def test_a_repaired_tag_marks_the_parameters(tmp_path: Path) -> None:
    read = read_notebook(content_of(tmp_path, notebook(code(metadata={"tags": "a, parameters"}, source="n = 1"))))
    assert list(read.parameters or ()) == ["n"]


@pytest.mark.parametrize(
    ("metadata", "language"),
    [({"kernelspec": {"language": "R"}}, "R"), ({"kernelspec": {"name": "ir"}}, "R"), ({"kernelspec": None}, "python")],
)
def test_what_a_broken_kernelspec_says_of_the_language_counts(
    tmp_path: Path, metadata: dict[str, Any], language: str
) -> None:
    assert read_notebook(content_of(tmp_path, notebook(metadata=metadata))).language == language


def test_cells_of_an_old_format_say_their_language(tmp_path: Path) -> None:
    assert read_notebook(content_of(tmp_path, v3(language="R"))).language == "R"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            notebook(text(), code(cell_type="sql")),
            "cell 2: its cell_type is 'sql', expected 'code' or 'markdown' or 'raw'",
        ),
        (notebook(without(code(), "cell_type")), "cell 1: its cell_type is nothing, expected"),
        (notebook("x"), "cell 1: expected a mapping, got 'x'"),
        (notebook(code(source=3)), "cell 1: its source is 3, expected a text or a list of lines"),
        (notebook(code(source=["a", 3])), "cell 1: its source is a list, expected a text or a list of lines"),
        (
            notebook(code(source="'\ud800'")),
            "cell 1: its source holds half of a surrogate pair, which no file can hold",
        ),
        (notebook(cells=None), "cells: expected a list, got nothing"),
        (without(notebook(), "cells"), "cells: expected a list, got nothing"),
        (notebook(nbformat=5), "nbformat: expected 4 or an older format, got 5"),
        ({}, "nbformat: expected 4 or an older format, got nothing"),
        ([1], "it holds a list, expected a mapping with cells"),
        (b"\n", "it is empty"),
        (b'{"cells": [', "it is no JSON: Expecting value: line 1 column 12 (char 11)"),
        (b"\0{}", "it is no JSON: Expecting value"),
        (b'{"a":' * 100_000, "it is no JSON that can be read: it is nested too deeply"),
        (json.dumps(notebook()).encode("utf-16"), "it is no text in UTF-8 but in UTF-16"),
    ],
)
def test_what_may_matter_is_refused_with_its_place(tmp_path: Path, given: object, reason: str) -> None:
    with pytest.raises(UnreadableNotebook) as refused:
        read_notebook(content_of(tmp_path, given))
    assert str(refused.value).startswith(reason)


def test_a_repaired_notebook_runs_and_is_valid_then(tmp_path: Path) -> None:
    cells = [
        without(code(source="n = 1", metadata={"tags": "parameters"}), "id", "outputs"),
        without(code(source=["print(n,\n", " 2)"], execution_count="3", outputs=None), "metadata"),
        text(attachments=None),
    ]
    given = notebook(*cells, metadata={"kernelspec": {"name": "my-env"}, "language_info": {}, "title": 5})
    content_of(tmp_path, given)
    task, folder = run_one(tmp_path, "a.ipynb", parameters={"n": 7})
    assert (task.status, (folder / "output.log").read_text()) == (TaskStatus.SUCCEEDED, "7 2\n")
    evaluated = json.loads((folder / "notebook.ipynb").read_text())
    nbformat.validate(evaluated)
    assert [cell["source"] for cell in evaluated["cells"]][2:] == [["print(n,\n", " 2)"], ["# A title"]]
    assert "A title" in (folder / "notebook.html").read_text()
    note = (
        f"task 'it': notebook {tmp_path / 'a.ipynb'}: its file is not quite valid; repaired in memory: metadata.title, "
        "metadata.kernelspec, metadata.language_info, tags of cell 1, id of cell 1 and 2 more"
    )
    assert read_run(folder.parents[2]).warnings == (note,)
    assert json.loads((tmp_path / "a.ipynb").read_text()) == given


def test_the_terminal_shows_one_line_for_it(tmp_path: Path) -> None:
    content_of(tmp_path, notebook(without(code(), "id"), metadata={"kernelspec": {"name": "My env (3.11)"}}))
    checked = pynb("check", "a.ipynb", cwd=tmp_path)
    said = f"task 'a': notebook {tmp_path / 'a.ipynb'}: its file is not quite valid; repaired in memory: "
    assert (checked.returncode, checked.stderr) == (0, f"note: {said}metadata.kernelspec and id of cell 1\n")


BOM = "\ufeff"


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f'{BOM}# %% tags=["parameters"]\r\nn = 1\r\n# %%\r\nprint(n)\r\n')
    (tmp_path / "p.json").write_text(f'{BOM}{{"n": 3}}')
    (tmp_path / "p.yml").write_text(f"{BOM}n: 4\n")
    assert [cell["source"] for cell in json.loads(read_notebook(tmp_path / "a.py").content)["cells"]] == [
        ["n = 1"],
        ["print(n)"],
    ]
    for file in ("p.json", "p.yml"):
        planned = pynb("run", "a.py", "--dry-run", "--parameters-file", file, cwd=tmp_path)
        assert (planned.returncode, f"n = {3 if file == 'p.json' else 4}\n" in planned.stdout) == (0, True), (
            planned.stderr
        )
    pipeline = "from pynb_dag_runner import Pipeline\np = Pipeline('it')\np.notebook('a.py')\n"
    (tmp_path / "pipeline.py").write_text(BOM + pipeline)
    assert pynb("check", "pipeline.py", cwd=tmp_path).stdout == "ok: pipeline 'it', 1 task\n"


def test_what_jupytext_does_not_read_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("# ---\n# jupyter:\n#   kernelspec:\n#     name: my-env\n# ---\n\n# %%\n1\n")
    with pytest.raises(UnreadableNotebook, match=r"metadata\.kernelspec: .display_name. is a required property"):
        read_notebook(tmp_path / "a.py")
