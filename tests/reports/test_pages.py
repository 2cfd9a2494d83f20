"""What stands on pages, made by one process one after another: each as if it were the only one."""

import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from pynb_dag_runner.model.outcomes import Failure, Outcome
from pynb_dag_runner.reports.pages import exporter
from pynb_dag_runner.reports.pages.page import to_html
from pynb_dag_runner.reports.pages.queue import PageProblem, Pages

WIDGET = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
PYTHON = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
TITLE = "the same for all"
WHY = Failure(kind="ValueError", message="no rows", traceback="")
_RANDOM_ID = re.compile(r"cell-id=[0-9a-f]{8}\b|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def picture_of(text: str) -> Any:
    """A notebook that shows a file attached to it, under a name that others use too."""
    cell = new_markdown_cell("![x](attachment:x.svg)", id="picture")
    cell.attachments = {"x.svg": {"image/svg+xml": f"<svg><text>{text}</text></svg>"}}
    return new_notebook(cells=[cell], metadata=PYTHON)


def with_widget(state: dict[str, object]) -> Any:
    """A notebook that shows a widget; without its state the text in its place."""
    data = {WIDGET: {"model_id": "m1", "version_major": 2, "version_minor": 0}, "text/plain": "in place of a widget"}
    cell = new_code_cell("slider", id="widget", outputs=[new_output("display_data", data)])
    widgets = {"widgets": {STATE: {"state": state, "version_major": 2, "version_minor": 0}}} if state else {}
    return new_notebook(cells=[cell], metadata=PYTHON | widgets)


def code(source: str, **metadata: object) -> Any:
    return new_notebook(cells=[new_code_cell(source, id="code")], metadata=metadata)


NOTEBOOKS = [
    picture_of("first"),
    with_widget({"m1": {"model_name": "IntProgressModel", "state": {"value": 3, "min": 1, "max": 5}}}),
    with_widget({}),
    picture_of("second"),
    code("%matplotlib inline\nx = 'a' # comment", **PYTHON),
    code("x <- function(a) NULL # comment", language_info={"name": "R", "pygments_lexer": "r"}),
    code("select x from y -- comment"),
    code("%%html\n<b>x</b>", **PYTHON),
    new_notebook(cells=[new_markdown_cell("# A\n$\\frac{1}{2}$\n```python\nx = 1\n```", id="text")], metadata={}),
]


def pages(base: Path, *numbers: int) -> dict[int, str]:
    """Pages of these notebooks, all from one process, without the random ids in them."""
    making = Pages()
    try:
        for number in numbers:
            folder = base / str(number)
            folder.mkdir(parents=True)
            nbformat.write(NOTEBOOKS[number], folder / "notebook.ipynb")
            making.make(
                str(number), folder, TITLE, *((Outcome.FAILED, WHY) if number % 2 else (Outcome.SUCCEEDED, None))
            )
        assert not any(isinstance(said, PageProblem) for said in making.finish())
    finally:
        making.close()
    return {number: _RANDOM_ID.sub("id", (base / str(number) / "notebook.html").read_text()) for number in numbers}


def test_nothing_of_one_page_gets_into_another(tmp_path: Path) -> None:
    everything = range(len(NOTEBOOKS))
    forth = pages(tmp_path / "forth", *everything)
    assert pages(tmp_path / "back", *reversed(everything)) == forth
    alone = {number: pages(tmp_path / f"alone {number}", number)[number] for number in (2, 5)}
    assert alone == {number: forth[number] for number in alone}
    assert ["hl-r" in forth[number] for number in (4, 5, 6)] == [False, True, False]
    assert "in place of a widget" in forth[2]
    assert ["<progress" in forth[number] for number in (0, 1, 2)] == [False, True, False]
    assert len(set(forth.values())) == len(NOTEBOOKS)


def test_a_page_that_fails_does_no_harm_to_the_next() -> None:
    before = to_html(NOTEBOOKS[4], TITLE, Outcome.SUCCEEDED, None)
    broken = code("x = 1", **PYTHON)
    broken.cells[0].outputs = [nbformat.from_dict({"output_type": "display_data"})]
    with pytest.raises(Exception, match="required property"):
        to_html(broken, TITLE, Outcome.SUCCEEDED, None)
    assert to_html(NOTEBOOKS[4], TITLE, Outcome.SUCCEEDED, None) == before


def test_pages_that_are_made_take_no_memory() -> None:
    to_html(NOTEBOOKS[4], "first", Outcome.SUCCEEDED, None)
    tracemalloc.start()
    try:
        for number in range(5):
            mine = f"{number}" * 2_000_000
            to_html(code("x", **PYTHON, mine=mine), f"title {number}", Outcome.SUCCEEDED, None)
        assert tracemalloc.get_traced_memory()[0] < 4_000_000
    finally:
        tracemalloc.stop()


def test_templates_are_read_for_the_first_page_only() -> None:
    script = """
import sys
from nbformat.v4 import new_code_cell, new_notebook
from pynb_dag_runner.model.outcomes import Outcome
from pynb_dag_runner.reports.pages.page import to_html
from pynb_dag_runner.reports.pages import exporter

read = []
sys.addaudithook(lambda event, values: read.append(str(values[0])) if event in ("open", "compile") else None)
for _ in range(2):
    to_html(new_notebook(cells=[new_code_cell("x")]), "title", Outcome.SUCCEEDED, None)
    print(sum(name.endswith(".j2") for name in read))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=True)
    first, both = map(int, done.stdout.split())
    assert 0 < first == both


def test_the_keyboard_reaches_cells_and_pictures_have_words() -> None:
    outputs = [
        new_output("display_data", {"image/png": "eHh4", "text/plain": "figure"}),
        new_output("display_data", {"image/svg+xml": "<svg><text>x</text></svg>"}),
        new_output("display_data", {"image/jpeg": "eHh4"}, metadata={"image/jpeg": {"alt": "a cat", "width": 10}}),
        new_output("stream", text="printed\n"),
        new_output("display_data", {"text/html": "<i>x</i>"}),
        new_output("display_data", {"application/javascript": "1"}),
        new_output("execute_result", {"text/plain": "1"}, execution_count=1),
    ]
    cells = [new_markdown_cell("# T", id="text"), new_code_cell("x", id="code", outputs=outputs, execution_count=1)]
    page = to_html(new_notebook(cells=cells, metadata=PYTHON), TITLE, Outcome.SUCCEEDED, None)
    shown = BeautifulSoup(page, "html.parser")
    assert len(shown.select("img")) == 3
    assert shown.select("img:not([alt])") == []
    areas = shown.select(".jp-Notebook .jp-Cell-inputWrapper, .jp-Notebook .jp-OutputArea-output")
    assert len(areas) == 9
    assert {area.get("tabindex") for area in areas} == {"0"}


def shown(*cells: Any) -> BeautifulSoup:
    page = to_html(new_notebook(cells=list(cells), metadata=PYTHON), TITLE, Outcome.SUCCEEDED, None)
    return BeautifulSoup(page, "html.parser")


def test_what_is_long_is_shown_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "MAX_CODE", 1_000)
    monkeypatch.setattr(exporter, "MAX_CODE_OF_PAGE", 5_000)
    numbers = f"x = [{'1, ' * 333}]"
    short = "y = 1"
    block = f"```python\n{numbers}\n```"
    page = shown(
        new_code_cell(numbers),
        new_code_cell(short),
        new_markdown_cell(block),
        new_markdown_cell("```python\nz = 1\n```"),
    )
    code = [block.get_text().strip() for block in page.select(".jp-InputArea pre")]
    assert code == [numbers, short, numbers, "z = 1"]
    assert [bool(block.select("span")) for block in page.select(".jp-InputArea pre")] == [False, True, False, True]

    half = f"x = [{'1, ' * 160}]"
    many = shown(*[new_code_cell(half) for _ in range(5_000 // len(half) + 2)])
    coloured = [bool(block.select("span")) for block in many.select(".jp-InputArea pre")]
    assert coloured == [True] * (5_000 // len(half)) + [False, False]


def test_a_very_long_markdown_cell_is_shown_as_text() -> None:
    text = "*a* <b>\n" * (exporter.MAX_MARKDOWN // 8 + 1)
    (cell,) = shown(new_markdown_cell(text)).select(".jp-MarkdownOutput")
    assert cell.get_text().strip() == text.strip()


@pytest.mark.parametrize("kind", ["stream", "error", "text"])
def test_a_text_with_very_many_colours_has_none(kind: str) -> None:
    text = "\x1b[31mred\x1b[0m " * 6_000
    output = {
        "stream": new_output("stream", text=text),
        "error": new_output("error", ename="E", evalue="", traceback=[text]),
        "text": new_output("execute_result", {"text/plain": text}, execution_count=1),
    }[kind]
    (area,) = shown(new_code_cell("x", outputs=[output])).select(".jp-OutputArea-output pre")
    assert area.get_text().split() == ["red"] * 6_000
    assert area.select("span") == []
