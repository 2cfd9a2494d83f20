"""How notebooks can end, one by one: honestly, in time, with what they had done until then, and with nothing left.

All of them are tasks of one run on local processes, which takes less time than one after another; most of them sleep.
"""

import json
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import nbformat
import pytest

from pynb_dag_runner import Outcome, Pipeline, RunResult, TaskRun, TaskStatus, tracking
from pynb_dag_runner.processes import out_of_memory
from pynb_dag_runner.processes.process_table import with_mark
from pynb_dag_runner.run_folder import read_attempt_details, read_run
from tests.slowness import slowness

TIMEOUT_S = 12.0
"""Where the machine is quiet: a kernel starts in it while five others do. The cells would run for ever."""
LATE_S = 60.0
"""What an end may take on a machine that is busy with other work; the cells themselves would run for ever."""

BEFORE = """
    # %%
    from pynb_dag_runner import tracking
    tracking.log_metric("before", 1)
    print("before")
    # %%
"""
AFTER = """
# %%
print("after")
"""
FOREVER = "import time\nwhile True: time.sleep(60)\n"


@dataclass(frozen=True)
class End:
    """A cell, and what it must lead to.

    Attributes:
        name: of the task.
        cell: source of the notebook's second cell.
        message: pattern of the failure's message; empty: there is no failure.
        after: whether the third cell runs.
        kind: of the failure.
    """

    name: str
    cell: str
    outcome: Outcome
    message: str = ""
    after: bool = False
    kind: str = ""


def timeout_s() -> float:
    return round(TIMEOUT_S * slowness())


def stuck(name: str, cell: str) -> End:
    """A cell that never ends."""
    return End(name, cell, Outcome.TIMED_OUT, r"^timed out in cell 2 after [0-9.]+ s$", kind="Timeout")


def died(name: str, cell: str, how: str) -> End:
    """A cell that is the end of its kernel."""
    return End(name, cell, Outcome.CRASHED, rf"^the kernel died in cell 2: {how}$", kind="ProcessDied")


def failed(name: str, cell: str, kind: str, message: str) -> End:
    """A cell that fails."""
    return End(name, cell, Outcome.FAILED, message, kind=kind)


def succeeded(name: str, cell: str, *, after: bool = True) -> End:
    """A cell that does something odd and is fine."""
    return End(name, cell, Outcome.SUCCEEDED, after=after)


STUCK = (
    stuck("sleep", FOREVER),
    stuck("SIGINT ignored", f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{FOREVER}"),
    stuck(
        "KeyboardInterrupt swallowed",
        """
        import time
        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                pass
        """,
    ),
    stuck(
        "C code that holds the lock",  # a mutex locked twice, in a call that does not let other threads of Python run
        """
        import ctypes
        mutex, c = ctypes.create_string_buffer(128), ctypes.PyDLL(None)
        c.pthread_mutex_lock(mutex)
        c.pthread_mutex_lock(mutex)
        """,
    ),
    stuck("a pattern that takes for ever", "import re\nre.match('(a|a)*b', 'a' * 60)"),
    stuck("top-level await", "import asyncio\nawait asyncio.Event().wait()"),
    stuck(
        "grandchildren",
        f"""
        import subprocess, sys
        child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
        subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
        {FOREVER.replace(chr(10), chr(10) + 8 * " ")}
        """,
    ),
    stuck(
        "a daemon forked twice",
        f"""
        import os, signal, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                while True: time.sleep(60)
            os._exit(0)
        {FOREVER.replace(chr(10), chr(10) + 8 * " ")}
        """,
    ),
    stuck("prints for ever", "while True: print('x' * 1000)"),
)

OTHERS = (
    died("os._exit", "import os\nos._exit(3)", "exit code 3"),
    died("os._exit(0)", "import os\nos._exit(0)", "exit code 0"),
    died("segfault", "import ctypes\nctypes.string_at(0)", "signal SIGSEGV"),
    died("abort", "import os\nos.abort()", "signal SIGABRT"),
    died("kill -9", "import os\nos.kill(os.getpid(), 9)", "signal SIGKILL .*"),
    died(
        "its children outlive the kernel",
        "import os, subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\nos._exit(4)",
        "exit code 4",
    ),
    succeeded(
        "a thread that never ends", "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()"
    ),
    succeeded(
        "children left running", "import subprocess\nchild = subprocess.Popen(['sleep', '600'], start_new_session=True)"
    ),
    succeeded("sys.exit(0)", "import sys\nsys.exit(0)", after=False),
    succeeded("exit()", "exit()", after=False),
    failed("sys.exit(1)", "import sys\nsys.exit(1)", "SystemExit", r"^sys\.exit\(1\) in cell 2; "),
    failed("sys.exit(text)", "import sys\nsys.exit('no data for May')", "SystemExit", "^no data for May$"),
    failed("KeyboardInterrupt of its own", "raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
    failed("input", "input('name? ')", "StdinNotImplementedError", "input requests"),
    failed(
        "an exception that does not pickle",
        """
        class Odd(Exception):
            def __init__(self, first, second):
                super().__init__("odd")
                self.lock = __import__("threading").Lock()
            def __reduce__(self):
                raise TypeError("no pickle")
        raise Odd(1, 2)
        """,
        "Odd",
        "^odd$",
    ),
    failed(
        "an exception without a text",
        """
        class Mute(Exception):
            def __str__(self):
                raise ValueError("no text")
        raise Mute
        """,
        "ValueError",  # IPython's own: it asks for the text in a way that can't be caught
        "no text",
    ),
    failed(
        "a message of 10 MB",
        "raise ValueError('x' * 10_000_000)",
        "ValueError",
        r"^x{1000}\n\[\.\.\. [0-9,]+ characters left out",
    ),
    succeeded("standard output closed", "import os\nos.close(1)\nos.close(2)"),
    succeeded(
        "in a directory that was removed",
        "import os, tempfile\nwhere = tempfile.mkdtemp()\nos.chdir(where)\nos.rmdir(where)",
    ),
)

ENDS = {end.name: end for end in (*OTHERS, *STUCK)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """One run with a notebook for every end."""
    base = tmp_path_factory.mktemp("ends")
    pipeline = Pipeline("ends", base_dir=base)
    for number, end in enumerate(ENDS.values()):
        (base / f"{number}.py").write_text(dedent(BEFORE).lstrip() + dedent(end.cell).strip() + AFTER)
        pipeline.notebook(f"{number}.py", name=end.name, timeout_s=timeout_s())
    return pipeline.run(executor="process", num_cpus=6, progress=False, output_dir=base / "runs")


def attempt_folder(run: RunResult, name: str) -> Path:
    return run.folder / run.tasks[name].attempts[0].folder


def printed(notebook: Any) -> list[str]:
    """What each cell printed to standard output."""
    return [
        "".join(output.text for output in cell.outputs if output.get("name") == "stdout") for cell in notebook.cells
    ]


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_notebook_ends_as_it_should(run: RunResult, end: End) -> None:
    task = run.tasks[end.name]
    failure = task.failure
    assert task.status.value == end.outcome.value, failure
    assert (failure.kind if failure else "") == end.kind
    if end.message:
        assert failure is not None
        assert re.search(end.message, failure.message), failure.message


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_it_did_until_then_is_kept(run: RunResult, end: End) -> None:
    folder = attempt_folder(run, end.name)
    texts = printed(nbformat.read(folder / "notebook.ipynb", as_version=4))
    assert texts[0] == "before\n"
    assert (texts[2] == "after\n") is end.after
    assert (folder / "output.log").read_text().startswith("before\n")
    assert "before" in (folder / "notebook.html").read_text()
    read = read_run(run.folder)
    attempt = next(task for task in read.tasks if task.name == end.name).attempts[0]
    assert [metric.key for metric in read_attempt_details(read, attempt).metrics] == ["before"]


def test_no_process_is_left(run: RunResult) -> None:
    marks = {name: f"{tracking.ATTEMPT_DIR_VARIABLE}={attempt_folder(run, name)}" for name in ENDS}
    left = {name: [process.cmdline() for process in with_mark(mark)] for name, mark in marks.items()}
    assert {name: processes for name, processes in left.items() if processes} == {}


def test_what_is_stuck_ends_soon_after_its_timeout(run: RunResult, record_property: Any) -> None:
    late = {end.name: duration_s(run.tasks[end.name]) - timeout_s() for end in STUCK}
    record_property("median_s", round(statistics.median(late.values()), 2))
    record_property("worst_s", round(max(late.values()), 2))
    print(late)
    assert max(late.values()) < LATE_S, late


def duration_s(task: TaskRun) -> float:
    attempt = task.attempts[0]
    assert attempt.start is not None
    assert attempt.end is not None
    return (attempt.end - attempt.start).total_seconds()


def run_one(base: Path, cell: str, **options: Any) -> tuple[TaskRun, Path]:
    """Run one notebook whose second cell is ``cell``; gives its task and its attempt's folder."""
    (base / "a.py").write_text(dedent(BEFORE).lstrip() + dedent(cell).strip() + AFTER)
    pipeline = Pipeline("one", base_dir=base)
    pipeline.notebook("a.py", name="it", **options)
    result = pipeline.run(executor="inline", progress=False, output_dir=base / "runs")
    return result.tasks["it"], attempt_folder(result, "it")


def test_a_notebook_that_removes_its_attempts_folder_is_still_told_of(tmp_path: Path) -> None:
    cell = f"import os, shutil\nshutil.rmtree(os.environ[{tracking.ATTEMPT_DIR_VARIABLE!r}])"
    task, folder = run_one(tmp_path, cell)
    assert task.failure is None
    assert printed(nbformat.read(folder / "notebook.ipynb", as_version=4))[2] == "after\n"
    assert (folder / "attempt.json").is_file()


@pytest.mark.parametrize(
    ("command", "timeout_s", "outcome", "message"),
    [
        (["no such command"], None, Outcome.CRASHED, "its command can't be run: .*'no such command'"),
        (["false"], None, Outcome.CRASHED, r"the kernel did not start \(exit code 1\)"),
        (["sh", "-c", "kill -9 $$"], None, Outcome.CRASHED, r"the kernel did not start \(signal SIGKILL"),
        (["sleep", "600"], 2, Outcome.TIMED_OUT, "^timed out while its kernel was starting after 2 s$"),
    ],
)
def test_a_kernel_that_does_not_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    timeout_s: float | None,
    outcome: Outcome,
    message: str,
) -> None:
    folder = tmp_path / "jupyter" / "kernels" / "odd"
    folder.mkdir(parents=True)
    spec = {"argv": command, "display_name": "Odd", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    task, folder = run_one(tmp_path, "1", kernel="odd", timeout_s=timeout_s)
    assert task.status.value == outcome.value
    assert task.failure is not None
    assert re.search(message, task.failure.message), task.failure.message
    assert duration_s(task) < (timeout_s or 0) + LATE_S
    assert len(nbformat.read(folder / "notebook.ipynb", as_version=4).cells) == 3
    assert with_mark(f"{tracking.ATTEMPT_DIR_VARIABLE}={folder}") == []


def test_a_notebook_that_uses_more_memory_than_it_declared_is_ended(tmp_path: Path) -> None:
    cell = """
        import subprocess, sys
        child = "held = b'x' * 400_000_000; import time; time.sleep(600)"
        subprocess.run([sys.executable, "-c", child], start_new_session=True)
    """
    task, folder = run_one(tmp_path, cell, memory=300_000_000)
    assert (task.status, task.failure and task.failure.kind) == (TaskStatus.CRASHED, "OutOfMemory")
    assert task.failure is not None
    message = r"^in cell 2: the notebook used \d{3} MB, more than the 300 MB that it declared \(memory=\.\.\.\)$"
    assert re.search(message, task.failure.message), task.failure.message
    assert printed(nbformat.read(folder / "notebook.ipynb", as_version=4))[0] == "before\n"
    assert with_mark(f"{tracking.ATTEMPT_DIR_VARIABLE}={folder}") == []


def test_memory_that_forked_processes_share_counts_once(tmp_path: Path) -> None:
    cell = """
        import multiprocessing, time
        held = b"x" * 250_000_000
        with multiprocessing.get_context("fork").Pool(4) as pool:
            pool.map(time.sleep, [0.5] * 4)
    """
    task, _ = run_one(tmp_path, cell, memory=500_000_000)
    assert task.failure is None


@pytest.mark.parametrize(
    ("cgroup", "files", "count"),
    [
        ("0::/job\n", {"job/memory.events": "low 0\noom 1\noom_kill 3\n"}, 3),
        ("4:cpu,memory:/job\n0::/\n", {"memory/job/memory.oom_control": "under_oom 0\noom_kill 2\n"}, 2),
        ("0::/as/seen/outside\n", {"memory.events": "oom_kill 7\n"}, 7),
        ("0::/job\n", {}, 5),
    ],
    ids=["version 2", "version 1", "in a container", "not there"],
)
def test_deaths_for_lack_of_memory_are_counted(tmp_path: Path, cgroup: str, files: dict[str, str], count: int) -> None:
    for name, text in {"cgroup": cgroup, "vmstat": "nr_free_pages 9\noom_kill 5\n"}.items():
        (tmp_path / name).write_text(text)
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text)
    assert out_of_memory.kills(tmp_path / "cgroup", tmp_path / "fs", tmp_path / "vmstat") == count
