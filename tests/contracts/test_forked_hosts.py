"""What a job finds in a forked host, and leaves there: the same as in one that was started as a program."""

import importlib
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest

from pynb_dag_runner import Pipeline, RunStatus
from pynb_dag_runner.executors.base import JobEnded, JobMessage, Limits
from pynb_dag_runner.executors.hosts.supervisor import Host, HostServer, opened
from pynb_dag_runner.processes.fork_server.client import ForkServer, ask
from pynb_dag_runner.processes.fork_server.wire import ForkRequest
from pynb_dag_runner.processes.module_files import own_imports
from pynb_dag_runner.processes.private_directory import PrivateDirectory
from pynb_dag_runner.processes.process_table import has_ended, with_mark

MODULES = ("pynb_dag_runner.worker.attempt", "pynb_dag_runner.worker.notebook.evaluation")


@pytest.fixture(params=["forked", "started"])
def new_host(request: pytest.FixtureRequest, directory: PrivateDirectory) -> Iterator[Callable[[], Host]]:
    server = HostServer(MODULES, directory.path)
    yield server.new_host if request.param == "forked" else Host
    server.close()


def said_by(
    host: Host, call: Callable[[], Generator[object]], limits: Limits | None = None
) -> tuple[list[Any], JobEnded]:
    """What a job says, and how it ended."""
    import cloudpickle

    host.begin("job", own_imports(), cloudpickle.dumps(call), [], limits or Limits())
    messages: list[Any] = []
    while True:
        match host.step(10.0):
            case JobEnded() as ended:
                return messages, ended
            case JobMessage() as said:
                messages.append(opened(said).message)
            case _:
                continue


def surroundings() -> Generator[object]:
    """Facts that no job may find different for how its host came about."""
    lines = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    yield "status", [lines[name] for name in ("Umask", "SigBlk", "SigIgn", "SigCgt", "CapEff")]
    yield "limits", [resource.getrlimit(getattr(resource, n)) for n in sorted(vars(resource)) if "RLIMIT_" in n]
    yield "place", [str(Path.cwd()), os.getsid(0) == os.getpid(), Path("/proc/self/oom_score_adj").read_text()]
    yield "handlers", [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)]
    yield "path", [entry for entry in sys.path if entry != ""]
    yield "program", [Path(sys.argv[0]).name, sys.stdout.encoding, sys.stdout.isatty()]
    yield "environment", {n: v for n, v in os.environ.items() if n not in ("PYNB_DAG_RUNNER_HOST", "SPT_NOENV")}
    yield (
        "files",
        sorted(
            path.name.partition(":")[0] for path in map(_target, Path("/proc/self/fd").iterdir()) if path is not None
        ),
    )


def _target(entry: Path) -> Path | None:
    try:
        return entry.readlink() if entry.name != "2" else None
    except FileNotFoundError:
        return None


def test_a_forked_host_finds_what_a_started_one_finds(directory: PrivateDirectory) -> None:
    server, found = HostServer(MODULES, directory.path), []
    for new_host in (Host, server.new_host):
        host = new_host()
        found.append(said_by(host, surroundings))
        host.close()
    server.close()
    assert dict(found[1][0]) == dict(found[0][0])
    assert [ended.death for _, ended in found] == [None, None]


def test_it_is_forked(directory: PrivateDirectory) -> None:
    server = HostServer(MODULES, directory.path)
    host = server.new_host()
    command = psutil.Process(host.pid).cmdline()
    host.close()
    server.close()
    assert "pynb_dag_runner.processes.fork_server.server" in command


def changes_everything() -> Generator[object]:
    os.chdir("/")
    yield Path.cwd() == Path("/")


def where() -> Generator[object]:
    yield str(Path.cwd())


def test_the_next_job_starts_where_the_first_one_did(new_host: Callable[[], Host]) -> None:
    host = new_host()
    assert said_by(host, changes_everything) == ([True], JobEnded(key="job"))
    assert said_by(host, where) == ([str(Path.cwd())], JobEnded(key="job"))
    host.close()


def registers() -> Generator[object]:
    import atexit
    import tempfile

    path = Path(tempfile.mkdtemp()) / "left"
    kept = path.open("w")
    kept.write("never closed, ")
    sys.modules["json"].kept = kept  # type: ignore[attr-defined]
    atexit.register(lambda: kept.write("at exit"))
    yield path


def test_exit_handlers_run_and_files_are_flushed(new_host: Callable[[], Host]) -> None:
    host = new_host()
    ((path,), ended) = said_by(host, registers)
    assert ended == JobEnded(key="job")
    host.close()
    assert path.read_text() == "never closed, at exit"


ENDS_WITH = """
import sys
def run(arguments, descriptors):
    import cryptography.hazmat.bindings._rust  # with a library of cffi's among the modules
    sys.modules["odd"] = object()
    sys.exit(*map(int, arguments))
"""


@pytest.mark.parametrize("code", [0, 3])
def test_a_process_with_odd_modules_ends_silently_and_with_its_own_code(
    tmp_path: Path, directory: PrivateDirectory, code: int
) -> None:
    (tmp_path / "ends_with.py").write_text(ENDS_WITH)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    server = ForkServer("ends_with", environment=environment, below=directory.path)
    request = ForkRequest(arguments=[str(code)], cwd=str(tmp_path), environment=environment)
    with (tmp_path / "output").open("wb") as output:
        process = ask(server.place.socket, request, [output.fileno(), output.fileno()]).answer()
        assert process.wait(240) == code
    server.close()
    assert (tmp_path / "output").read_text() == ""


def leaves_a_child() -> Generator[object]:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield os.environ["PYNB_DAG_RUNNER_HOST"], child.pid
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_host_that_died_left_is_found_by_its_mark(new_host: Callable[[], Host]) -> None:
    host = new_host()
    (((mark, child),), ended) = said_by(host, leaves_a_child)
    assert "signal SIGKILL" in str(ended.death)
    assert [process.pid for process in with_mark(f"PYNB_DAG_RUNNER_HOST={mark}")] == [child]
    host.close()
    assert has_ended(child)


def holds_memory() -> Generator[object]:
    """Less than is allowed, beside all that the server has imported."""
    yield "before"
    held = b"x" * 20_000_000
    import select

    select.select([], [], [], 0.6)  # two looks
    yield len(held)


def test_what_the_server_imported_is_not_the_job_s_memory(new_host: Callable[[], Host]) -> None:
    host = new_host()
    messages, ended = said_by(host, holds_memory, Limits(memory_bytes=30_000_000))
    host.close()
    assert (messages, ended) == (["before", 20_000_000], JobEnded(key="job"))


def uses_processes(way: str) -> list[int]:
    with get_context(way).Pool(2) as pool:
        return pool.map(abs, [-1, -2])


def uses_libraries() -> list[object]:
    """pyarrow and the other clients of remote stores are hidden while papermill is imported, and only then."""
    import numpy
    import pandas

    pyarrow: Any = importlib.import_module("pyarrow")  # without annotations

    column = pandas.array(["a", "b"], dtype="string[pyarrow]")
    return [str(pyarrow.array([1, 2]).type), int(numpy.arange(4).sum()), len(column), socket.gethostname()]


def draws() -> list[float]:
    import random

    return [random.random(), int.from_bytes(os.urandom(4))]


@pytest.mark.parametrize("executor", ["process", "ray"])
def test_functions_use_what_functions_use(tmp_path: Path, executor: Any) -> None:
    pipeline = Pipeline("functions", base_dir=tmp_path)
    (tmp_path / "it.py").write_text("# %%\nimport pyarrow, pandas\npandas.array(['a'], dtype='string[pyarrow]')\n")
    pipeline.notebook("it.py")  # so that hosts have papermill
    for way in ("fork", "spawn", "forkserver"):
        pipeline.function(uses_processes, name=way, parameters={"way": way})
    pipeline.function(uses_libraries)
    drawing = [pipeline.function(draws, name=f"draws-{number}") for number in range(4)]
    result = pipeline.run(executor=executor, num_cpus=2, progress=False, output_dir=tmp_path)
    assert result.status is RunStatus.SUCCEEDED, {name: task.failure for name, task in result.tasks.items()}
    assert result.tasks["spawn"].outputs == {"return": [1, 2]}
    assert result.tasks["uses_libraries"].outputs["return"][:3] == ["int64", 6, 2]
    assert len({tuple(result.tasks[task.name].outputs["return"]) for task in drawing}) == 4
