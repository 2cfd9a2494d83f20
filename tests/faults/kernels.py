"""Kernels for tests: forked and started ones without a run around them, and runs that tell how theirs came about."""

import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from pynb_dag_runner import Pipeline, RunResult
from pynb_dag_runner.model.run_settings import ExecutorName
from pynb_dag_runner.notebooks.kernel_names import OWN
from pynb_dag_runner.processes.fork_server.client import ServerPlace
from pynb_dag_runner.processes.private_directory import PrivateDirectory
from pynb_dag_runner.worker.kernels import servers
from pynb_dag_runner.worker.kernels.kernel import Kernel
from pynb_dag_runner.worker.logs import Log

MARK = "PYNB_DAG_RUNNER_TEST"
"""Like those of an attempt, which differ from kernel to kernel and count as no obstacle for a preload."""


@contextmanager
def fork_server(*preload: str) -> Iterator[ServerPlace]:
    """A server with this process's environment."""
    with PrivateDirectory() as directory:
        server = servers.start(preload, directory.path)
        try:
            yield server.place
        finally:
            server.close()


@asynccontextmanager
async def kernel(
    folder: Path, place: ServerPlace | None = None, *, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Kernel]:
    """A kernel that works in ``folder``: forked by the server at ``place``, or started."""
    log = Log(folder / "output.log")
    with PrivateDirectory():
        variables = {**os.environ, MARK: str(folder), **(environment or {})}
        one = Kernel(OWN, cwd=folder, environment=variables, log=log, marker=f"{MARK}={folder}", place=place)
        try:
            await one.start()
            yield one
        finally:
            await one.close()
            log.close()


async def printed(one: Kernel, cell: str) -> str:
    """What a cell printed; raises AssertionError if it failed."""
    texts: list[str] = []

    def take(message: dict[str, Any]) -> None:
        texts.append(message["content"].get("text", ""))

    reply = await one.client.execute_interactive(dedent(cell), output_hook=take)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(texts)


def run_notebooks(
    base: Path,
    cells: Mapping[str, str],
    *,
    executor: ExecutorName = "process",
    processors: int = 1,
    preload: Sequence[str] = (),
    **options: Any,
) -> RunResult:
    """Run notebooks of one cell each, by name, one after the other."""
    pipeline = Pipeline("notebooks", base_dir=base, preload=preload)
    for name, cell in cells.items():
        (base / f"{name}.py").write_text(f"# %%\n{dedent(cell).strip()}\n")
        pipeline.notebook(f"{name}.py", name=name, **options)
    return pipeline.run(
        executor=executor,
        num_cpus=processors if executor != "inline" else None,
        progress=False,
        output_dir=base / "runs",
    )


def attempt_of(result: RunResult, task: str, number: int = 1) -> tuple[dict[str, Any], Path]:
    """What ``attempt.json`` says of an attempt, and its folder."""
    folder = result.folder / result.tasks[task].attempts[number - 1].folder
    return json.loads((folder / "attempt.json").read_text()), folder


def start_of(result: RunResult, task: str, number: int = 1) -> tuple[str, list[str], str]:
    """How a task's kernel came about: how, what had been imported, and the remarks as one text."""
    start = attempt_of(result, task, number)[0]["kernel_start"]
    return start["how"], start["preloaded"], "; ".join(start["remarks"])
