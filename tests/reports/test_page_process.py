"""The processes that make pages: beside tasks, in nobody's way; at the end, soon; and whatever becomes of them."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from pynb_dag_runner import Pipeline
from pynb_dag_runner.executors.hosts.supervisor import HostServer
from pynb_dag_runner.model.outcomes import Outcome, TaskStatus
from pynb_dag_runner.processes.private_directory import PrivateDirectory
from pynb_dag_runner.reports.pages import queue as pages_module
from pynb_dag_runner.reports.pages.page import to_html
from pynb_dag_runner.reports.pages.process import NICENESS, PAGES_ENTRY
from pynb_dag_runner.reports.pages.queue import PageProblem, Pages, PagesLeft
from pynb_dag_runner.run_folder import read_run
from pynb_dag_runner.worker import attempt_modules
from tests.end_to_end.cli_process import pynb
from tests.living import command_of

TITLE = "the same for all"
NOTEBOOKS = [new_notebook(cells=[new_code_cell(f"x = {number}"), new_markdown_cell("# A")]) for number in range(3)]
_RANDOM_ID = re.compile(r"cell-id=[0-9a-f]{8}\b|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def page_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if PAGES_ENTRY in command_of(child)]


def lowered() -> int:
    """The niceness of a process that gives way to this one, which may have one itself."""
    return min(psutil.Process().nice() + NICENESS, 19)


def test_the_process_lets_everything_else_go_first(tmp_path: Path) -> None:
    making = Pages()
    try:
        making.start()
        making.make("none", tmp_path, TITLE, Outcome.SUCCEEDED, None)
        assert problems_of(making) == []  # it is at work by now
        process = page_processes()[0]
        assert process.nice() == lowered()
        group = Path(f"/proc/{process.pid}/autogroup")
        if group.exists() and os.access(group, os.W_OK):
            assert group.read_text().split()[-1:] in (["10"], [])
    finally:
        making.close()
    assert page_processes() == []


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process makes all pages, however long it takes."""
    monkeypatch.setattr(pages_module, "HURRY_AFTER_S", float("inf"))


@pytest.fixture
def server(directory: PrivateDirectory) -> Iterator[HostServer]:
    started = HostServer(attempt_modules(notebooks=True), directory.path, [PAGES_ENTRY])
    yield started
    started.close()


def forked_from(server: HostServer) -> list[psutil.Process]:
    assert server.place is not None
    (process,) = [child for child in psutil.Process().children() if str(server.place.directory) in command_of(child)]
    return process.children()


def problems_of(making: Pages) -> list[PageProblem]:
    return [said for said in making.finish() if isinstance(said, PageProblem)]


def made_by(making: Pages, folder: Path, count: int) -> list[PageProblem]:
    for number in range(count):
        (folder / str(number)).mkdir()
        nbformat.write(NOTEBOOKS[number], folder / str(number) / "notebook.ipynb")
        making.make(str(number), folder / str(number), TITLE, Outcome.SUCCEEDED, None)
    return problems_of(making)


@pytest.mark.usefixtures("unhurried")
def test_it_is_forked_where_there_is_a_server(server: HostServer, tmp_path: Path) -> None:
    making = Pages(server.place)
    try:
        assert made_by(making, tmp_path, 3) == []
        (process,) = forked_from(server)
        assert process.nice() == lowered()
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


@pytest.mark.usefixtures("unhurried")
def test_it_is_started_where_the_server_refuses(
    server: HostServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "1")  # read once by an interpreter: no process of the server's can have it
    making = Pages(server.place)
    try:
        making.start()
        give_up = time.monotonic() + 120.0
        while not page_processes():  # as soon as it has refused, not when somebody waits for pages
            assert time.monotonic() < give_up
        assert made_by(making, tmp_path, 2) == []
        assert len(page_processes()) == 1
        assert forked_from(server) == []
    finally:
        making.close()
    assert page_processes() == []


@pytest.mark.usefixtures("unhurried")
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
        assert problems_of(making) == []
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


def test_an_end_before_the_server_has_answered(tmp_path: Path, directory: PrivateDirectory) -> None:
    server = HostServer(attempt_modules(notebooks=True), directory.path, [PAGES_ENTRY])
    try:
        making = Pages(server.place)
        making.start()
        making.close()  # while the server imports
        with contextlib.closing(server.new_host()):  # by now it has answered whoever came before
            give_up = time.monotonic() + 120.0
            while len(forked_from(server)) > 1:
                assert time.monotonic() < give_up, forked_from(server)
        assert page_processes() == []
    finally:
        server.close()


def fail_once(done: Path) -> None:
    if not done.exists():
        done.touch()
        raise ValueError("once")


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
        assert problems_of(making) == [PageProblem(key="one", problem="ImportError: broken on purpose")]
    finally:
        making.close()


def asked_for(making: Pages, folder: Path, *sources: str) -> None:
    """Ask for pages of notebooks with this Markdown."""
    for number, source in enumerate(sources):
        (folder / str(number)).mkdir()
        nbformat.write(new_notebook(cells=[new_markdown_cell(source)]), folder / str(number) / "notebook.ipynb")
        making.make(str(number), folder / str(number), TITLE, Outcome.SUCCEEDED, None)


def made_in(folder: Path) -> list[str]:
    return sorted(page.parent.name for page in folder.glob("*/notebook.html"))


def starved(making: Pages, folder: Path) -> psutil.Process:
    """Its process, which gets no processor from now on; niceness does the same on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages_module, "HURRY_AFTER_S", float("inf"))
        making.make("none", folder, TITLE, Outcome.SUCCEEDED, None)
        assert problems_of(making) == []
    (process,) = page_processes()
    process.suspend()
    return process


def test_pages_that_are_left_are_made_at_full_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "TELL_AFTER_S", 0.0)
    making = Pages()
    try:
        slow = starved(making, tmp_path)
        asked_for(making, tmp_path, "one", "two", "three")
        told = list(making.finish())
        assert made_in(tmp_path) == ["0", "1", "2"]
        assert {process.nice() for process in page_processes() if process != slow} == {psutil.Process().nice()}
        assert told
        assert told[0] == PagesLeft(left=3, total=4)
    finally:
        making.close()
    assert page_processes() == []


@pytest.mark.usefixtures("unhurried")
def test_who_does_not_wait_gets_no_more_pages(tmp_path: Path) -> None:
    making = Pages()
    try:
        starved(making, tmp_path)
        asked_for(making, tmp_path, "one", "two")
        problems = [said for said in making.finish(lambda: 0.0) if isinstance(said, PageProblem)]
        assert problems == [PageProblem(key=key, problem="not made within 0 s") for key in ("0", "1")]
    finally:
        making.close()
    assert page_processes() == []


@pytest.mark.parametrize(
    ("what_it_does", "problem"),
    [
        ("while True: pass", "not made within 1 s of processor time"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "its process did nothing for 2 s"),
        ("os._exit(1)", "the process that makes pages died"),
    ],
)
def test_a_page_that_is_not_made_costs_no_other(
    tmp_path: Path, what_it_does: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_module, "PROCESSOR_BOUND_S", 1.0)
    monkeypatch.setattr(pages_module, "IDLE_BOUND_S", 2.0)
    converter = tmp_path / "modules/latex2mathml"
    converter.mkdir(parents=True)
    (converter / "__init__.py").touch()
    stuck = f"    if 'stuck' in tex:\n        {what_it_does}\n"
    (converter / "converter.py").write_text(
        f"import os, signal\ndef convert_to_element(tex, display):\n{stuck}    raise ValueError(tex)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    making = Pages()
    try:
        asked_for(making, tmp_path, "one", "$stuck$", "two", "three")
        assert problems_of(making) == [PageProblem(key="1", problem=problem)]
        assert made_in(tmp_path) == ["0", "2", "3"]
    finally:
        making.close()
    assert page_processes() == []


def test_a_run_without_pages_says_so_and_goes_on_without(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("# %%\n1\n")
    p = Pipeline("without", base_dir=tmp_path)
    started = p.function(look_for_page_processes, name="first")
    p.notebook("one.py", after=started)
    failing = p.function(fail_once, parameters={"done": tmp_path / "done"})
    result = p.run(executor="inline", html=False, progress=False, output_dir=tmp_path / "runs")
    assert result.tasks["first"].outputs["return"] == 0
    assert not read_run(result.folder).record.settings.html
    assert 'notebook.html"' not in (result.folder / "report.html").read_text()
    assert result.tasks[failing.name].status is TaskStatus.FAILED
    p.resume(result.folder, executor="inline", progress=False)
    assert list(result.folder.glob("tasks/*/*/notebook.html")) == []
    done = pynb("report", result.folder, "--html", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{result.folder / 'report.html'}\n")
    (page,) = result.folder.glob("tasks/*/*/notebook.html")
    assert 'notebook.html"' in (result.folder / "report.html").read_text()
    page.unlink()

    (tmp_path / "one.py").write_text("# %%\n2\n")
    p.resume(result.folder, executor="inline", html=True, progress=False)
    assert len(list(result.folder.glob("tasks/*/*/notebook.html"))) == 2  # of the attempt before, too
    assert read_run(result.folder).record.settings.html
