"""What a page adds to a notebook: ways out of it, folded cells, and what scripts would draw elsewhere."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from pynb_dag_runner.model.outcomes import Failure, Outcome
from pynb_dag_runner.reports.pages import outputs as page_outputs
from pynb_dag_runner.reports.pages.page import to_html

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
FIGURE = "application/vnd.plotly.v1+json"
ERROR = new_output("error", ename="E", evalue="v", traceback=["E: v"])


def shown(*cells: Any, outcome: Outcome = Outcome.SUCCEEDED, **metadata: Any) -> BeautifulSoup:
    why = None if outcome is Outcome.SUCCEEDED else Failure(kind="E", message="v <b>\n$x$")
    page = to_html(new_notebook(cells=list(cells), metadata=metadata), "t", outcome, why)
    return BeautifulSoup(page, "html.parser")


def cell(source: str, *tags: str, outputs: Any = (), number: int | None = 1) -> Any:
    return new_code_cell(source, metadata={"tags": list(tags)}, outputs=list(outputs), execution_count=number)


def printed(text: str) -> Any:
    return new_output("stream", text=text)


def parts(found: BeautifulSoup | Tag) -> list[str]:
    """What a reader sees before anything is unfolded."""
    for folded in found.select("details"):
        folded.replace_with(f"({folded.summary.get_text() if folded.summary else ''})")
    return found.select("main")[0].get_text(" ", strip=True).replace("\xa0", " ").split()


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], "In [1]: code printed"),
        (["hide-input"], "(Code) printed"),
        (["hide_output"], "In [1]: code (Output)"),
        (["hide-cell"], "(Cell)"),
        (["hide-input", "hide-output"], "(Code) (Output)"),
        (["remove-input"], "printed"),
        (["remove_output"], "In [1]: code"),
        (["remove-cell"], ""),
    ],
)
def test_tags_fold_and_remove_as_in_jupyter_book(tags: list[str], expected: str) -> None:
    page = shown(cell("code", *tags, outputs=[printed("printed")]))
    assert parts(page) == ["Report", "of", "the", "run", *expected.split()]


@pytest.mark.parametrize("tag", ["remove-cell", "hide-input", "hide-cell", "remove-input"])
def test_what_is_folded_of_markdown_is_the_whole_cell(tag: str) -> None:
    page = shown(new_markdown_cell("text", metadata={"tags": [tag]}))
    assert parts(page)[4:] == {"hide-cell": ["(Cell)"], "hide-input": ["text"]}.get(tag, [])


def test_the_cell_that_failed_can_be_jumped_to_and_is_never_hidden() -> None:
    ran = cell("ran", "hide-cell", outputs=[printed("fine")])
    failed = cell("failed", "remove-cell", "hide-input", outputs=[ERROR])
    page = shown(ran, failed, cell("never", number=None), outcome=Outcome.FAILED)
    (link,) = page.select('a[href="#pdr-failed-cell"]')
    (place,) = page.select("#pdr-failed-cell")
    assert link.get_text() == "Cell that failed"
    assert place.select(".jp-InputArea pre")[0].get_text().strip() == "failed"
    assert place.select("details") == []
    (banner,) = page.select('[role="alert"]')
    assert banner.get_text() == "FAILED E: v <b>\n$x$"


def test_a_process_that_died_shows_the_cell_that_it_was_in() -> None:
    page = shown(cell("one"), cell("two"), cell("never", number=None), outcome=Outcome.CRASHED)
    assert page.select("#pdr-failed-cell .jp-InputArea pre")[0].get_text().strip() == "two"
    assert shown(outcome=Outcome.CRASHED).select('a[href="#pdr-failed-cell"]') == []
    tolerated = shown(cell("x", "raises-exception", outputs=[ERROR]))
    assert tolerated.select("#pdr-failed-cell, [role=alert]") == []


def test_a_page_leads_back_to_its_report_and_marks_the_injected_cell() -> None:
    page = shown(cell("n = 1", "parameters"), cell("n = 3", "injected-parameters"))
    (link,) = page.select("nav a")
    assert link["href"] == "../../../report.html"
    (label,) = page.select(".pdr-label")
    assert label.get_text() == "Parameters of this run"
    following = label.find_next_sibling()
    assert isinstance(following, Tag)
    assert "n = 3" in following.get_text()


def widget(models: Mapping[str, Any], first: str = "m", text: str | None = "in its place") -> BeautifulSoup:
    data = {VIEW: {"model_id": first}, **({"text/plain": text} if text else {})}
    state = {STATE: {"state": {key: {"model_name": name, "state": state} for key, (name, state) in models.items()}}}
    return shown(cell("x", outputs=[new_output("display_data", data)]), widgets=state)


@pytest.mark.parametrize(
    ("name", "state", "text"),
    [
        ("IntSliderModel", {"description": "n <b>", "value": 3}, "n <b> 3"),
        ("FloatRangeSliderModel", {"value": [1.5, 2]}, "1.5 – 2"),
        ("DropdownModel", {"description": "choose", "_options_labels": ["a", "<b>"], "index": 1}, "choose <b>"),
        ("SelectMultipleModel", {"_options_labels": ["a", "b", "c"], "index": [0, 2, 9]}, "a, c"),
        ("CheckboxModel", {"description": "ok", "value": True}, "ok ☑"),
        ("ButtonModel", {"description": "Go"}, "Go"),
        ("HTMLModel", {"value": "<b>bold</b>"}, "bold"),
        ("LabelModel", {"value": "<i>"}, "<i>"),
        ("PasswordModel", {"value": "hunter2"}, "••••"),
        ("FloatProgressModel", {"value": 3, "min": 0, "max": 4}, "3 of 4"),
        ("OutputModel", {"outputs": [{"output_type": "stream", "text": "<printed>"}]}, "<printed>"),
        ("AnyModel", {"_esm": "x"}, "in its place"),
        ("FloatProgressModel", {"value": "x"}, "in its place"),
    ],
)
def test_a_widget_shows_its_last_state(name: str, state: Mapping[str, Any], text: str) -> None:
    (area,) = widget({"m": (name, state)}).select(".jp-OutputArea-output")
    assert area.get_text(" ", strip=True) == text
    assert area.select("script, i") == []


def test_boxes_show_what_is_in_them_also_themselves() -> None:
    models = {
        "m": ("HBoxModel", {"children": ["IPY_MODEL_a", "IPY_MODEL_t", "IPY_MODEL_gone"]}),
        "a": ("HTMLModel", {"value": "rows:"}),
        "t": ("TabModel", {"children": ["IPY_MODEL_a", "IPY_MODEL_m"], "titles": ["First", "Second"]}),
    }
    (area,) = widget(models).select(".jp-OutputArea-output")
    assert area.get_text(" ", strip=True).startswith("rows: First rows: Second rows: First")


def test_what_can_not_be_drawn_is_said() -> None:
    assert "in its place" in widget({}).get_text()
    assert "a widget whose state was not saved" in widget({}, text=None).get_text()
    geo = shown(cell("x", outputs=[new_output("display_data", {"application/geo+json": {"a": 1}})]))
    assert "an output of the kind application/geo+json, which a page can't show" in geo.get_text()
    plain = shown(cell("x", outputs=[new_output("display_data", {"application/json": {"a": 1}})]))
    assert '"a": 1' in plain.get_text()


def figure(**more: Any) -> Any:
    drawn = {"data": [{"type": "scatter", "y": [1, 2], "name": "</script><b>"}], "layout": {"height": 300}}
    return cell("fig", outputs=[new_output("display_data", {FIGURE: drawn, **more})])


def test_a_figure_of_plotly_is_drawn_by_the_script_of_its_package(tmp_path: Path) -> None:
    package = tmp_path / "plotly/package_data"
    package.mkdir(parents=True)
    (tmp_path / "plotly/__init__.py").write_text("raise SystemExit('it need not be imported')")
    (package / "plotly.min.js").write_text("/* plotly */ var Plotly = {};")
    script = """
import json, sys
from pynb_dag_runner.model.outcomes import Outcome
from pynb_dag_runner.reports.pages.page import to_html
import nbformat
notebook = nbformat.reads(sys.stdin.read(), as_version=4)
sys.stdout.buffer.write(to_html(notebook, "t", Outcome.SUCCEEDED, None))
"""
    notebook = new_notebook(cells=[figure(), figure(**{"text/html": "<script src='https://cdn'></script>"})])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{script}"],
        input=json.dumps(notebook),
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    page = BeautifulSoup(done.stdout, "html.parser")
    assert [script.get_text() for script in page.select("head script")] == ["/* plotly */ var Plotly = {};"]
    areas = page.select(".jp-OutputArea-output")
    assert len(areas) == 2
    for area in areas:
        (place,) = area.select("div[id]")
        assert "height:300px" in str(place["style"])
        (call,) = area.select("script")
        assert f'document.getElementById("{place["id"]}")' in call.get_text()
        assert "\\u003c/script>\\u003cb>" in call.get_text()


def test_without_the_package_a_picture_or_a_sentence_stands_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_outputs, "_plotly_script", lambda: None)
    page = shown(figure(), figure(**{"image/png": "eHh4"}))
    assert "a figure of plotly: a page shows it where the plotly package is installed" in page.get_text()
    assert len(page.select("main img")) == 1
    assert page.select("head script") == []
