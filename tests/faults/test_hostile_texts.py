"""Every text of a run folder that a stranger can choose is shown as text and nothing else; see also the browser."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

from pynb_dag_runner.cli.show import show
from pynb_dag_runner.reports import render_html, render_summary
from pynb_dag_runner.run_folder import Run, read_run
from tests.faults.hostile_texts import BAD, GOLDEN, hostile_folder
from tests.reports.reported_runs import HOSTILE, Element, parse_page


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hostile") / "run"
    spoiled = set(hostile_folder(folder))
    # Enough became hostile for what follows to mean something, in every file that reports look at.
    assert {"run.json: git.branch", "run.json: description", "run.json: run_id", "run.json: pipeline"} <= spoiled
    assert {"task.json: attempts.0.error.message", "attempt.json: host", "tracking.json: params.depth"} <= spoiled
    return read_run(folder)


def kinds(page: Element) -> set[tuple[str, str]]:
    """Tags with the names of their attributes."""
    return {(element.tag, name) for element in page.all() for name in (*element.attributes, "")}


def test_the_page_has_the_elements_and_attributes_of_a_harmless_one(run: Run) -> None:
    page, harmless = parse_page(render_html(run)), parse_page(render_html(read_run(GOLDEN)))
    assert kinds(page) <= kinds(harmless)
    assert len(page.all("script")) == 1
    links = {element.attributes["href"] for element in page.all("a") + page.all("use")}
    assert {link for link in links if not link.startswith(("#", "tasks/"))} == set()


def test_names_stand_in_the_page_as_they_are(run: Run) -> None:
    page = parse_page(render_html(run))
    assert {task.name for task in run.tasks} <= set(HOSTILE)
    table = page.all("table", id="tasks")[0].text
    assert [task.name for task in run.tasks if task.name not in table] == []
    assert BAD in page.text


def test_the_summary_holds_no_markup_but_its_own(run: Run) -> None:
    """As a renderer of markdown sees it that lets HTML through, which those of CI systems do in part."""
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(render_summary(run))
    tags = set(re.findall(r"<(\w+)", rendered))
    own = {
        "h2",
        "h3",
        "p",
        "code",
        "pre",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "ul",
        "li",
    }
    assert {"h2", "table", "details"} <= tags <= own
    assert set(re.findall(r"<\w+[^>]*?(\w+)=", rendered)) <= {"class", "style"}  # of fences and of columns


def test_a_terminal_gets_text_and_no_commands(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    hostile_folder(folder)
    for path in folder.rglob("*.json*"):
        path.write_text(path.read_text().replace(" x|y ", " \\u001b[2J\\u0007\\u202e\\r "))
    result = CliRunner().invoke(show, [str(folder)], standalone_mode=False)
    assert result.exception is None
    assert set(result.output) & {"\x1b", "\x07", "\u202e", "\r"} == set()
