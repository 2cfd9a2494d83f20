"""Pages made by one process, one after another: each as if it were the only one, soon, and in nobody's way."""

import contextlib
import os
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from pynb_dag_runner import Pipeline
from pynb_dag_runner.executors.hosting import HostServer
from pynb_dag_runner.outcome import Failure, Outcome
from pynb_dag_runner.page_process import PAGES_ENTRY
from pynb_dag_runner.pages import PageProblem, Pages
from pynb_dag_runner.work import attempt_modules
from pynb_dag_runner.work.html import to_html

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
    with_widget({"m1": {"model_name": "M", "model_module": "m", "model_module_version": "1", "state": {}}}),
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
        assert list(making.finish()) == []
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
    assert "in place of a widget" not in forth[1].split("<script")[-1]
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
from pynb_dag_runner.outcome import Outcome
from pynb_dag_runner.work.html import to_html

read = []
sys.addaudithook(lambda event, values: read.append(str(values[0])) if event in ("open", "compile") else None)
for _ in range(2):
    to_html(new_notebook(cells=[new_code_cell("x")]), "title", Outcome.SUCCEEDED, None)
    print(sum(name.endswith(".j2") for name in read))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    first, both = map(int, done.stdout.split())
    assert 0 < first == both


def page_processes() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it is ending, or has ended and is not waited for yet
            if child.cmdline()[-2:-1] == [PAGES_ENTRY]:
                found.append(child)
    return found


def test_the_process_lets_everything_else_go_first(tmp_path: Path) -> None:
    making = Pages()
    try:
        making.start()
        making.make("none", tmp_path, TITLE, Outcome.SUCCEEDED, None)
        assert list(making.finish()) == []  # it is at work by now
        (process,) = page_processes()
        assert process.nice() == 10
        group = Path(f"/proc/{process.pid}/autogroup")
        if group.exists() and os.access(group, os.W_OK):
            assert group.read_text().split()[-1:] in (["10"], [])
    finally:
        making.close()
    assert page_processes() == []


@pytest.fixture
def server() -> Iterator[HostServer]:
    started = HostServer(attempt_modules(notebooks=True), [PAGES_ENTRY])
    yield started
    started.close()


def forked_from(server: HostServer) -> list[psutil.Process]:
    assert server.place is not None
    (process,) = [child for child in psutil.Process().children() if str(server.place.directory) in child.cmdline()]
    return process.children()


def made_by(making: Pages, folder: Path, count: int) -> list[PageProblem]:
    for number in range(count):
        (folder / str(number)).mkdir()
        nbformat.write(NOTEBOOKS[number], folder / str(number) / "notebook.ipynb")
        making.make(str(number), folder / str(number), TITLE, Outcome.SUCCEEDED, None)
    return list(making.finish())


def test_it_is_forked_where_there_is_a_server(server: HostServer, tmp_path: Path) -> None:
    making = Pages(server.place)
    try:
        assert made_by(making, tmp_path, 3) == []
        (process,) = forked_from(server)
        assert process.nice() == 10
        assert page_processes() == []
        assert [process.pid] == [child.pid for child in forked_from(server)]  # one for all pages
    finally:
        making.close()
    assert forked_from(server) == []
    for number in range(3):
        notebook = nbformat.read(tmp_path / str(number) / "notebook.ipynb", as_version=4)
        expected = to_html(notebook, TITLE, Outcome.SUCCEEDED, None).decode()
        made = (tmp_path / str(number) / "notebook.html").read_text("utf-8")
        assert _RANDOM_ID.sub("", made) == _RANDOM_ID.sub("", expected)


def test_it_is_started_where_the_server_refuses(
    server: HostServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "1")  # read once by an interpreter: no process of the server's can have it
    making = Pages(server.place)
    try:
        making.start()
        give_up = time.monotonic() + 30.0
        while not page_processes():  # as soon as it has refused, not when somebody waits for pages
            assert time.monotonic() < give_up
        assert made_by(making, tmp_path, 2) == []
        assert len(page_processes()) == 1
        assert forked_from(server) == []
    finally:
        making.close()
    assert page_processes() == []


def test_another_process_goes_on_for_one_that_died(server: HostServer, tmp_path: Path) -> None:
    making = Pages(server.place)
    try:
        assert made_by(making, tmp_path, 1) == []
        (process,) = forked_from(server)
        process.suspend()
        (tmp_path / "0/notebook.html").unlink()
        making.make("before", tmp_path / "0", TITLE, Outcome.SUCCEEDED, None)
        process.kill()
        psutil.wait_procs([process])
        nbformat.write(NOTEBOOKS[1], tmp_path / "notebook.ipynb")
        making.make("after", tmp_path, TITLE, Outcome.SUCCEEDED, None)
        assert list(making.finish()) == []
        assert (tmp_path / "0/notebook.html").exists()
        assert (tmp_path / "notebook.html").exists()
        assert len(page_processes()) == 1
    finally:
        making.close()
    assert page_processes() == []


def kill_the_server(done: Path) -> None:
    """Once."""
    if not done.exists():
        done.touch()
        server = psutil.Process().parent()
        assert server is not None
        server.kill()
        time.sleep(60)  # it takes this process along


def test_a_run_has_its_pages_also_without_the_server(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("# %%\n1\n")
    p = Pipeline("without", base_dir=tmp_path)
    first = p.notebook("one.py", name="first")
    killed = p.function(kill_the_server, parameters={"done": tmp_path / "done"}, retries=1, after=first)
    p.notebook("one.py", name="second", after=killed)
    result = p.run(executor="process", progress=False, output_dir=tmp_path / "runs")
    assert {task.status.value for task in result.tasks.values()} == {"SUCCEEDED"}
    outcomes = [attempt.outcome for attempt in result.tasks["kill_the_server"].attempts]
    assert outcomes == [Outcome.CRASHED, Outcome.SUCCEEDED]
    assert len(list(result.folder.glob("tasks/*/*/notebook.html"))) == 2
    assert page_processes() == []


def test_pages_that_no_process_survives_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/nbconvert.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    making = Pages()
    try:
        died = "the process that makes pages died"
        assert made_by(making, tmp_path, 2) == [PageProblem(key="0", problem=died), PageProblem(key="1", problem=died)]
    finally:
        making.close()


def test_an_end_before_the_server_has_answered(tmp_path: Path) -> None:
    server = HostServer(attempt_modules(notebooks=True), [PAGES_ENTRY])
    try:
        making = Pages(server.place)
        making.start()
        making.close()  # while the server imports
        with contextlib.closing(server.new_host()):  # by now it has answered whoever came before
            give_up = time.monotonic() + 30.0
            while len(forked_from(server)) > 1:
                assert time.monotonic() < give_up, forked_from(server)
        assert page_processes() == []
    finally:
        server.close()


def look_for_page_processes() -> int:
    return len(page_processes())


@pytest.mark.parametrize("notebooks", [0, 1])
def test_it_starts_with_a_run_that_has_notebooks(notebooks: int, tmp_path: Path) -> None:
    p = Pipeline("early", base_dir=tmp_path)
    first = p.function(look_for_page_processes, name="first")
    if notebooks:
        (tmp_path / "empty.py").write_text("# %%\n")
        p.notebook("empty.py", after=[first])
    result = p.run(executor="inline", progress=False, output_dir=tmp_path / "runs")
    assert result.tasks["first"].outputs["return"] == notebooks
    assert len(list(result.folder.glob("tasks/*/*/notebook.html"))) == notebooks
    assert page_processes() == []


def test_a_broken_converter_is_said_for_each_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/nbconvert.py").write_text("raise ImportError('broken on purpose')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    nbformat.write(NOTEBOOKS[0], tmp_path / "notebook.ipynb")
    making = Pages()
    try:
        making.make("one", tmp_path, TITLE, Outcome.SUCCEEDED, None)
        assert list(making.finish()) == [PageProblem(key="one", problem="ImportError: broken on purpose")]
    finally:
        making.close()


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
