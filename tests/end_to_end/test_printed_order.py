"""What a cell and all that it starts prints: in the notebook and in the log, in the order in which it happened."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import TaskStatus
from pynb_dag_runner.model import output_limits
from pynb_dag_runner.worker.descriptors import Descriptors, mark
from pynb_dag_runner.worker.notebook.outputs import Outputs
from tests.end_to_end.one_notebook import make_kernelspec, outputs_of, run_one


def printed(outputs: list[Any]) -> list[tuple[str, str]]:
    return [(output["name"], "".join(output["text"])) for output in outputs if output["output_type"] == "stream"]


CHILDREN = """
    # %%
    import ctypes, os, subprocess, sys
    print("a")
    print("b", file=sys.stderr)
    print("c")
    # %%
    print("before")
    subprocess.run("echo child", shell=True)
    subprocess.run("echo its error >&2", shell=True)
    print("between")
    os.system("echo another")
    print("after", file=sys.stderr)
    # %%
    for number in range(40):
        print(number)
        os.system("echo child")
    # %%
    import warnings; warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside the threads of the kernel
    print("in Python")
    with subprocess.Popen(["echo", "a process"]): pass
    if (child := os.fork()) == 0:
        os.write(1, b"a fork\\n")
        os._exit(0)
    os.waitpid(child, 0)
    _ = ctypes.CDLL(None).printf(b"in C\\n")
    # %%
    later = subprocess.Popen("read _; echo later", shell=True, stdin=subprocess.PIPE)
    # %%
    _ = later.communicate(b"\\n")
    # %%
    _ = os.write(1, b"\\xc3"), os.write(1, b"\\xbc\\0\\xff\\n")
"""


def test_cells_and_their_children_print_in_order(tmp_path: Path) -> None:
    task, folder = run_one(tmp_path, "a.py", CHILDREN)
    assert task.status is TaskStatus.SUCCEEDED
    turns, children, many, others, nothing, later, odd = map(printed, outputs_of(folder))
    assert turns == [("stdout", "a\n"), ("stderr", "b\n"), ("stdout", "c\n")]
    assert children == [
        ("stdout", "before\nchild\n"),
        ("stderr", "its error\n"),
        ("stdout", "between\nanother\n"),
        ("stderr", "after\n"),
    ]
    assert many == [("stdout", "".join(f"{number}\nchild\n" for number in range(40)))]
    assert others == [("stdout", "in Python\na process\na fork\nin C\n")]
    assert (nothing, later) == ([], [("stdout", "later\n")])
    assert odd == [("stdout", "ü\0\ufffd\n")]
    in_cells = "".join(text for outputs in outputs_of(folder) for _, text in printed(outputs))
    assert (folder / "output.log").read_text(errors="replace") == in_cells


def test_the_last_words_of_a_kernel_are_in_its_last_cell(tmp_path: Path) -> None:
    source = "# %%\nimport os\nos.write(2, b'last words\\n')\nos.abort()\n"
    task, folder = run_one(tmp_path, "a.py", source)
    assert task.status is TaskStatus.CRASHED
    seen = dict(printed(outputs_of(folder)[0]))
    assert seen["stderr"].startswith("last words\n")
    assert "last words" in (folder / "output.log").read_text().splitlines()


KERNEL = """
import os
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel

class Writing(Kernel):
    implementation = banner = "writing"
    implementation_version = "1"
    language_info = {"name": "writing", "mimetype": "text/plain", "file_extension": ".w"}

    def do_execute(self, code, silent, *args, **kwargs):
        os.write(1, b"past the messages\\n")
        return {"status": "ok", "execution_count": self.execution_count, "payload": [], "user_expressions": {}}

IPKernelApp.launch_instance(kernel_class=Writing)
"""


def test_what_other_kernels_print_past_jupyter_is_in_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "writing_kernel.py").write_text(KERNEL)
    make_kernelspec(tmp_path / "j", "writing", "writing", "writing_kernel", env={"PYTHONPATH": str(tmp_path)})
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "j"))
    _, folder = run_one(tmp_path, "a.py", "# %%\n1\n# %%\n2\n", kernel="writing")
    assert [printed(outputs) for outputs in outputs_of(folder)] == [[("stdout", "past the messages\n")]] * 2


def test_turns_without_end_are_kept_in_few_outputs() -> None:
    kept = Outputs()
    outputs: list[Any] = []
    kept.begin_cell()
    for number in range(5_000):
        kept.stream(outputs, "stdout", f"out {number}\n")
        kept.stream(outputs, "stderr", f"err {number}\n")
    kept.refresh()
    assert len(outputs) == output_limits.CELL_TURNS + 2
    assert [(output.name, output.text) for output in outputs[:3]] == [
        ("stdout", "out 0\n"),
        ("stderr", "err 0\n"),
        ("stdout", "out 1\n"),
    ]
    for name in ("stdout", "stderr"):
        text = "".join(output.text for output in outputs if output.name == name)
        assert text == "".join(f"{name[3:]} {number}\n" for number in range(5_000))


def test_much_text_in_turns_stays_within_its_bound_with_its_end() -> None:
    kept = Outputs()
    outputs: list[Any] = []
    kept.begin_cell()
    for number in range(200):
        kept.stream(outputs, "stdout", f"{number} " + "x" * 50_000)
        kept.stream(outputs, "stderr", f"{number} " + "y" * 50_000)
    kept.refresh()
    assert sum(len(output.text) for output in outputs) < 2 * output_limits.CELL_TEXT_CHARACTERS
    assert outputs[0].text.startswith("0 xxx")
    assert "199 xxx" in outputs[-2].text
    assert "199 yyy" in outputs[-1].text


@contextmanager
def descriptors() -> Iterator[tuple[Descriptors, list[tuple[str, bytes]], list[int]]]:
    """The pipes of a kernel that is played here, what was taken from them, and the ends to write to."""
    taken: list[tuple[str, bytes]] = []
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        made = Descriptors(lambda name, data: taken.append((name, data)))
        ends = [os.dup(made.stdout.fileno()), os.dup(made.stderr.fileno())]
        made.handed_over(runner.get_loop())
        try:
            yield made, taken, ends
        finally:
            for end in ends:
                os.close(end)
            made.close()


def test_what_comes_after_a_mark_waits_for_its_message() -> None:
    with descriptors() as (pipes, taken, (out, err)):
        os.write(out, b"before" + mark("0") + b"between" + mark("1") + b"after")
        os.write(err, mark("0") + mark("1") + b"error")
        pipes.drain()
        assert taken == [("stdout", b"before")]
        pipes.drain("0")
        assert taken[1:] == [("stdout", b"between")]
        pipes.drain("1")
        assert taken[2:] == [("stdout", b"after"), ("stderr", b"error")]
        os.write(out, mark("2") + b"last")
        pipes.drain(all_marks=True)
        assert taken[4:] == [("stdout", b"last")]


def test_marks_are_found_however_they_are_cut() -> None:
    with descriptors() as (pipes, taken, (out, _)):
        whole = b"a\0b" + mark("0") + b"c" + mark("0")[:-3]
        for byte in whole:
            os.write(out, bytes([byte]))
            pipes.drain("0")
        pipes.drain(all_marks=True)
        assert b"".join(data for _, data in taken) == b"a\0bc" + mark("0")[:-3]
