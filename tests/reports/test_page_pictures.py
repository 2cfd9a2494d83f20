"""Pictures of a notebook that lie elsewhere: what is embedded, from where, and what a page says that has one less."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from pynb_dag_runner import Pipeline
from pynb_dag_runner.model.outcomes import Outcome
from pynb_dag_runner.reports.pages import pictures as page_pictures
from pynb_dag_runner.reports.pages.page import to_html
from pynb_dag_runner.reports.pages.pictures import Pictures

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SVG = '<?xml version="1.0"?>\n<!-- a --> <svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "notebooks/sub dir").mkdir(parents=True)
    (root / "logo.png").write_bytes(PNG)
    (root / "notebooks/a b.png").write_bytes(PNG)
    (root / "notebooks/sub dir/ü.svg").write_text(SVG, "utf-8")
    (root / "notebooks/secret.png").write_text("no picture, but a password")
    (tmp_path / "outside.png").write_bytes(PNG)
    (root / "notebooks/link.png").symlink_to(tmp_path / "outside.png")
    os.mkfifo(root / "notebooks/pipe.png")
    return root


def shown(cell: Any, root: Path | None) -> BeautifulSoup:
    pictures = Pictures(root / "notebooks", root) if root else Pictures()
    return BeautifulSoup(to_html(new_notebook(cells=[cell]), "t", Outcome.SUCCEEDED, None, pictures), "html.parser")


def attached(source: str, attachments: Mapping[str, Mapping[str, str]]) -> Any:
    cell = new_markdown_cell(source)
    cell.attachments = attachments
    return cell


@pytest.mark.parametrize(
    "source",
    [
        "![logo](../logo.png)",
        '![logo](../logo.png "with a title")',
        "![][ref]\n\n[ref]: ../logo.png",
        "![two words](a%20b.png)",
        "![two words](<a b.png>)",
        "![deep](sub%20dir/%C3%BC.svg)",
        "![github's](../logo.png?raw=true)",
        "text <img src='../logo.png' width=10> text",
        '<div><IMG alt="a" SRC="a b.png"></div>',
    ],
)
def test_a_picture_beside_the_notebook_is_part_of_its_page(source: str, project: Path) -> None:
    displayed = new_code_cell("x", outputs=[new_output("display_data", {"text/markdown": source})])
    for cell in (new_markdown_cell(source), displayed):
        (picture,) = shown(cell, project).select("main img")
        address = str(picture["src"])
        assert address.startswith("data:image/")
        assert base64.b64decode(address.split(",")[1]) in (PNG, SVG.encode())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere.png", "there is no such file"),
        ("sub%20dir", "there is no such file"),
        ("pipe.png", "there is no such file"),
        ("secret.png", "the file is no picture"),
        ("../../outside.png", "only files below the project's directory are shown"),
        ("link.png", "only files below the project's directory are shown"),
        ("/etc/passwd", "only files below the project's directory are shown"),
        ("file:///etc/passwd", "only files below the project's directory are shown"),
        ("attachment:x.png", "the cell has no such attachment"),
    ],
)
def test_a_picture_that_can_not_be_shown_costs_itself_alone(name: str, reason: str, project: Path) -> None:
    for source in (f"before\n\n![x]({name})\n\nafter", f'before <img src="{name}"> after'):
        cell = shown(new_markdown_cell(source), project)
        assert cell.select("main img") == []
        text = cell.select(".jp-MarkdownOutput")[0].get_text(" ", strip=True)
        assert text.split("[picture")[0].strip() == "before"
        assert reason in text
        assert text.endswith("after")


def test_attachments_are_found_in_both_forms() -> None:
    png = base64.b64encode(PNG).decode()
    attachments = {"a b.png": {"image/png": png}, "x.svg": {"image/svg+xml": SVG}}
    source = (
        "![x](attachment:a%20b.png) <img src='attachment:a b.png'> ![s](attachment:x.svg) ![n](attachment:none.png)"
    )
    page = shown(attached(source, attachments), None)
    contents = [base64.b64decode(str(picture["src"]).split(",")[1]) for picture in page.select("main img")]
    assert contents == [PNG, PNG, SVG.encode()]
    assert "the cell has no such attachment" in page.get_text()


def test_a_page_that_is_made_of_a_strangers_notebook_shows_no_files(project: Path) -> None:
    page = shown(new_markdown_cell(f"![x]({project / 'logo.png'}) <img src='logo.png'>"), None)
    assert page.select("main img") == []
    assert page.get_text().count("pages that are made after the run show no pictures from files") == 2


def test_pictures_in_the_network_stay_where_they_are(project: Path) -> None:
    page = shown(new_markdown_cell("![x](https://example.org/a.png) <img src='//example.org/b.png'>"), project)
    assert [picture["src"] for picture in page.select("main img")] == [
        "https://example.org/a.png",
        "//example.org/b.png",
    ]


def test_pictures_are_bounded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_pictures, "MAX_BYTES", len(PNG) - 1)
    page = shown(new_markdown_cell("![x](../logo.png)"), project)
    assert f"it has {len(PNG)} bytes, and there is room for {len(PNG) - 1}" in page.get_text()
    monkeypatch.undo()
    pictures = Pictures(project, project)
    pictures._left = 2 * len(PNG) + 1
    page = BeautifulSoup(
        to_html(
            new_notebook(cells=[new_markdown_cell("![x](logo.png)") for _ in range(3)]),
            "t",
            Outcome.SUCCEEDED,
            None,
            pictures,
        ),
        "html.parser",
    )
    assert len(page.select("main img")) == 2


def test_a_run_embeds_them_from_the_project(project: Path) -> None:
    (project / "notebooks/show.py").write_text("# %% [markdown]\n# ![logo](../logo.png)\n# %%\n1\n")
    p = Pipeline("show", base_dir=project)
    p.notebook("notebooks/show.py")
    result = p.run(executor="inline", progress=False, output_dir=project / "runs")
    (page,) = result.folder.glob("tasks/*/*/notebook.html")
    assert base64.b64encode(PNG).decode() in page.read_text()
