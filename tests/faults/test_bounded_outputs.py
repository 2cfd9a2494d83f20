"""Output without end: what is kept is bounded in memory and on disk, says what is missing, and changes no outcome."""

import asyncio
import ctypes
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from textwrap import dedent
from typing import Any

import nbformat
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pynb_dag_runner import Outcome, Pipeline, TaskRun
from pynb_dag_runner.model import output_limits
from pynb_dag_runner.model.run_settings import ExecutorName
from pynb_dag_runner.notebooks.kernel_names import OWN
from pynb_dag_runner.worker import usage
from pynb_dag_runner.worker.kernels.kernel import Kernel
from pynb_dag_runner.worker.logs import Log
from pynb_dag_runner.worker.notebook.printed import PrintedText, as_shown

MEMORY_BYTES = 400_000_000
"""What a worker may grow by, whatever a notebook puts out: to save one at its limit takes a few copies of it."""


def run_notebook(base: Path, source: str, **options: Any) -> tuple[TaskRun, Path]:
    """Run one notebook in this process; gives its task and its attempt's folder."""
    (base / "a.py").write_text(dedent(source).lstrip())
    pipeline = Pipeline("one", base_dir=base)
    pipeline.notebook("a.py", name="it", **options)
    result = pipeline.run(executor="inline", progress=False, output_dir=base / "runs")
    return result.tasks["it"], result.folder / result.tasks["it"].attempts[0].folder


def run_function(base: Path, function: Callable[[], object], executor: ExecutorName) -> tuple[TaskRun, bytes]:
    """Run one function; gives its task and its log."""
    pipeline = Pipeline("one", base_dir=base)
    pipeline.function(function, name="it")
    result = pipeline.run(executor=executor, progress=False, output_dir=base / "runs")
    return result.tasks["it"], (result.folder / result.tasks["it"].attempts[0].folder / "output.log").read_bytes()


def outputs_of(folder: Path, cell: int = 0) -> list[Any]:
    return list(nbformat.read(folder / "notebook.ipynb", as_version=4).cells[cell].outputs)


def assert_cut(log: bytes, printed: int, first: bytes, last: bytes, slack: int = 1_000_000) -> None:
    """A log that lost its middle says so where it did; no more is missing than it says, and ``slack`` at most."""
    assert len(log) <= output_limits.LOG_BYTES
    assert log.startswith(first)
    assert log.endswith(last)
    mark = re.search(rb"\n\[pynb-dag-runner\] ([\d,]+) bytes left out here\n", log)
    assert mark is not None
    missing = int(mark[1].replace(b",", b""))
    assert 0 <= printed - missing - (len(log) - len(mark[0])) <= slack


def test_a_notebook_that_prints_and_shows_without_end(tmp_path: Path) -> None:
    usage.forget_peak_memory()
    before = psutil.Process().memory_info().rss
    source = """
        # %%
        print("first words")
        print("x" * 150_000_000)
        print("last words")
        # %%
        for number in range(200_000): print(number)
        # %%
        import subprocess
        _ = subprocess.run("yes | head -c 200000000; echo; echo last words of a child", shell=True)
        # %%
        from IPython.display import HTML, display
        for number in range(30): display(HTML(f"<b>{number}</b>" + "y" * 4_000_000))
        # %%
        for number in range(1500): display(number)
        # %%
        print("the end")
    """
    task, folder = run_notebook(tmp_path, source)
    assert task.failure is None
    peak = usage.peak_memory_bytes(os.getpid())
    assert peak is not None
    assert peak - before < MEMORY_BYTES
    assert (folder / "notebook.ipynb").stat().st_size < 70_000_000

    (printed,) = outputs_of(folder)
    assert printed.text.startswith("first words\nxxx")
    assert printed.text.endswith("xxx\nlast words\n")
    mark = "[pynb-dag-runner] 149,000,024 characters left out here; output.log holds more"
    assert len(printed.text) == output_limits.CELL_TEXT_CHARACTERS + len(f"\n{mark}\n")
    assert mark in printed.text.splitlines()

    (numbers,) = outputs_of(folder, 1)
    kept = [int(line) for line in numbers.text.splitlines() if line.isdecimal()]
    assert (kept[0], kept[-1]) == (0, 199_999)

    log = (folder / "output.log").read_bytes()
    assert len(log) <= output_limits.LOG_BYTES
    assert log.startswith(b"first words\nxxx")
    assert b"last words of a child\n" in log[-1000:]
    assert log.endswith(b"the end\n")

    shown = outputs_of(folder, 3)
    limits = "the limits are 10,000,000 bytes for an output and 50,000,000 for a notebook"
    assert [output.data["text/html"][:10].rstrip("y") for output in shown[:12]] == [f"<b>{n}</b>" for n in range(12)]
    assert shown[29].data["text/plain"] == (
        f"[pynb-dag-runner] left out here: text/html of 4,000,009 bytes; {limits}\n<IPython.core.display.HTML object>"
    )
    many = outputs_of(folder, 4)
    assert [output.data["text/plain"] for output in many[:-1]] == [str(number) for number in range(1000)]
    assert many[-1].text.startswith("[pynb-dag-runner] 500 more outputs left out here")
    assert outputs_of(folder, 5)[0].text == "the end\n"
    assert "the end" in (folder / "notebook.html").read_text()


@pytest.mark.timeout(60)
def test_the_page_of_a_text_with_very_many_colours_has_none(tmp_path: Path) -> None:
    task, folder = run_notebook(tmp_path, "# %%\nprint('\\x1b[31mred\\x1b[0m ' * 300_000)\n")
    assert task.failure is None
    page = (folder / "notebook.html").read_text()
    assert "red red red red" in page
    assert outputs_of(folder)[0].text.startswith("\x1b[31mred\x1b[0m ")


def test_what_is_replaced_makes_room_again(tmp_path: Path) -> None:
    source = """
        # %%
        from IPython.display import HTML, clear_output, display
        for number in range(30):
            clear_output(wait=True)
            print(number)
            display(HTML("y" * 4_000_000))
        # %%
        shown = display(HTML("y" * 4_000_000), display_id=True)
        for number in range(30): shown.update(HTML(f"{number} " + "y" * 4_000_000))
    """
    task, folder = run_notebook(tmp_path, source)
    assert task.failure is None
    printed, last = outputs_of(folder)
    assert printed.text == "29\n"
    assert len(last.data["text/html"]) == 4_000_000
    (updated,) = outputs_of(folder, 1)
    assert updated.data["text/html"][:4] == "29 y"


def test_an_output_that_is_too_large_leaves_its_smaller_representations(tmp_path: Path) -> None:
    source = """
        # %%
        from IPython.display import display
        display({"text/html": "x" * 20_000_000, "image/svg+xml": "<svg/>", "text/plain": "small"}, raw=True)
        # %%
        "z" * 30_000_000
    """
    task, folder = run_notebook(tmp_path, source)
    assert task.failure is None
    data = outputs_of(folder)[0].data
    assert set(data) == {"image/svg+xml", "text/plain"}
    assert data["text/plain"].startswith("[pynb-dag-runner] left out here: text/html of 20,000,000 bytes; ")
    assert data["text/plain"].endswith("\nsmall")
    value = outputs_of(folder, 1)[0].data["text/plain"]
    assert re.search(r"zzz\n\[\.\.\. [\d,]+ characters left out \.\.\.\]\nzzz", value)


def test_streams_and_outputs_keep_their_order(tmp_path: Path) -> None:
    source = """
        # %%
        import sys
        for number in range(3): print("a", number, flush=True)
        display("shown")
        print("b", flush=True)
        print("error", file=sys.stderr, flush=True)
        print("c")
    """
    _, folder = run_notebook(tmp_path, source)
    first, shown, then, error, last = outputs_of(folder)
    assert (first.text, shown.data["text/plain"]) == ("a 0\na 1\na 2\n", "'shown'")
    assert (then.name, then.text) == ("stdout", "b\n")
    assert (error.name, error.text) == ("stderr", "error\n")
    assert (last.name, last.text) == ("stdout", "c\n")


def test_a_kernel_that_loses_the_end_of_a_cell_is_not_waited_for(tmp_path: Path) -> None:
    source = """
        # %%
        print("before")
        kernel = get_ipython().kernel
        publish = kernel._publish_status
        kernel._publish_status = lambda *_, **__: setattr(kernel, "_publish_status", publish)
        # %%
        print("after")
    """
    task, folder = run_notebook(tmp_path, source, timeout_s=120)
    assert task.failure is None
    assert outputs_of(folder, 1)[0].text == "after\n"
    assert (
        "the kernel dropped messages: some of this cell's output may be missing\n"
        in (folder / "output.log").read_text()
    )


@pytest.mark.usefixtures("directory")
def test_a_kernel_waits_for_a_reader_that_is_late(tmp_path: Path) -> None:
    async def read_late() -> list[str]:
        mark = f"SOME_MARK={tmp_path}"
        log = Log(tmp_path / "log")
        environment = {**os.environ, "SOME_MARK": str(tmp_path)}
        kernel = Kernel(OWN, cwd=tmp_path, environment=environment, log=log, marker=mark)
        try:
            await kernel.start()
            request = kernel.client.execute("for number in range(5000): display(number)")
            with pytest.raises(Empty):  # it did not come to the end of the cell
                while (await kernel.client.shell_channel.get_msg(timeout=3))["parent_header"]["msg_id"] != request:
                    pass  # an answer to a question that was asked twice, of a kernel that took its time to start
            shown: list[str] = []
            while True:
                message = await kernel.client.iopub_channel.get_msg(timeout=30)
                if message["parent_header"].get("msg_id") == request:
                    if message["content"].get("execution_state") == "idle":
                        return shown
                    shown += [message["content"]["data"]["text/plain"]] if message["msg_type"] == "display_data" else []
        finally:
            await kernel.close()
            log.close()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(read_late()) == [str(number) for number in range(5000)]


def flood() -> None:
    """Writes as C code and children do, past Python's own streams."""
    os.write(1, b"first words\n")
    for _ in range(120):
        os.write(1, (b"x" * 99 + b"\n") * 10_000)
    # Where the file system can't take a range out of a file, words in the very moment of a cut would be lost.
    for _ in range(200):
        if os.fstat(1).st_size < output_limits.LOG_BYTES:
            break
        time.sleep(0.05)
    os.system("echo last words of a child")


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_a_function_that_prints_without_end(
    tmp_path: Path, executor: ExecutorName, capsys: pytest.CaptureFixture[str]
) -> None:
    def speak() -> None:
        print("first words")
        for number in range(130_000):
            print(f"{number:0999}")
        print("last words")

    task, log = run_function(tmp_path, speak, executor)
    assert task.failure is None
    assert_cut(log, 130_000_000 + 23, b"first words\n000", b"\nlast words\n")
    capsys.readouterr()


def test_children_of_a_function_write_without_end(tmp_path: Path) -> None:
    task, log = run_function(tmp_path, flood, "process")
    assert task.failure is None
    assert_cut(log, 120_000_000 + 39, b"first words\nxxx", b"\nlast words of a child\n")


def test_the_last_words_before_a_death_are_kept(tmp_path: Path) -> None:
    def die() -> None:
        flood()
        print("dying", flush=True)
        os._exit(3)

    task, log = run_function(tmp_path, die, "process")
    assert (task.status.value, task.failure and "exit code 3" in task.failure.message) == (Outcome.CRASHED.value, True)
    assert log.startswith(b"first words\n")
    assert log.endswith(b"\nlast words of a child\ndying\n")


def test_a_log_is_cut_while_others_write_to_it_without_losing_a_byte(tmp_path: Path) -> None:
    """Where the file system can do that; elsewhere what was written in the moment of a cut is lost."""
    if not collapses(tmp_path):
        pytest.skip("this file system can't take a range out of a file")
    log = Log(tmp_path / "log")
    write = "import os\nfor n in range(20_000): os.write(1, b'%01999d\\n' % n)\n"
    children = [subprocess.Popen([sys.executable, "-c", write], stdout=log.fileno()) for _ in range(2)]
    while any(child.poll() is None for child in children):
        log.look()
    log.close()
    content = (tmp_path / "log").read_bytes()
    assert_cut(content, 80_000_000, b"0" * 1999 + b"\n", b"%01999d\n" % 19_999, slack=0)


def collapses(folder: Path) -> bool:
    path = folder / "probe"
    path.write_bytes(b"x" * 1_000_000)
    with open(path, "r+b") as file:
        return bool(ctypes.CDLL(None).fallocate(file.fileno(), 8, ctypes.c_int64(0), ctypes.c_int64(65536)) == 0)


@given(st.text(st.sampled_from("ab\n"), max_size=300), st.randoms(use_true_random=False), st.integers(2, 60))
@settings(max_examples=300, deadline=None)
def test_printed_text_has_its_beginning_and_its_end(text: str, chance: random.Random, limit: int) -> None:
    printed = PrintedText(limit)
    start = 0
    while start < len(text):
        end = start + chance.randint(1, 80)
        printed.add(text[start:end])
        start = end
    half = limit // 2
    if len(text) <= 2 * half:
        assert printed.text() == text
        return
    mark = f"\n[pynb-dag-runner] {len(text) - 2 * half:,} characters left out here; output.log holds more\n"
    assert printed.text() == text[:half] + mark + text[-half:]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1 %\r50 %\r100 %\n", "100 %\n"),
        ("1 %\r50 %\r", "50 %\r"),
        ("windows\r\nlines\r\n", "windows\r\nlines\r\n"),
        ("abc\b\bXY\n", "aXY\n"),
        ("\b\bx\n\by", "x\ny"),
    ],
)
def test_what_was_overwritten_is_not_shown(text: str, shown: str) -> None:
    assert as_shown(text) == shown


def test_a_progress_bar_leaves_room_for_what_comes_after(tmp_path: Path) -> None:
    printed = PrintedText(1000)
    for number in range(10_000):
        printed.add(f"\r{number} %")
    printed.add("\ndone\n")
    assert printed.text() == "9999 %\ndone\n"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text", ["x" * 5_000_000, "x\b" * 2_000_000, "x" * 2_000_000 + "\b" * 2_000_000, "\rx" * 2_000_000]
)
def test_long_lines_take_time_in_proportion(text: str) -> None:
    assert len(as_shown(text)) <= len(text)
