"""What no runner can be faster than: ``python floor.py NOTEBOOK NUMBER WIDTH`` writes evaluated notebooks here.

A kernel for each notebook is forked from this project's warm fork server, its cells are executed through
jupyter_client, the notebook is written. No DAG, no records, no pages, no limits, no log but the system's.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager

from pynb_dag_runner.notebooks.kernel_names import OWN
from pynb_dag_runner.notebooks.kernelspecs import KernelSpecs
from pynb_dag_runner.processes.fork_server.client import ServerPlace
from pynb_dag_runner.processes.private_directory import PrivateDirectory
from pynb_dag_runner.worker.kernels import servers

BOUND_S = 60.0
"""For every single answer."""
WELCOME_S = 0.5
"""Until a kernel is asked whether it is there."""


async def evaluate(notebook: Path, output: Path, place: ServerPlace) -> None:
    """One notebook in a kernel of its own."""
    content: Any = nbformat.read(notebook, as_version=4)
    async with forked_kernel(place) as client:
        for cell in content.cells:
            await execute(client, cell)
    nbformat.write(content, output)


@asynccontextmanager
async def forked_kernel(place: ServerPlace) -> AsyncIterator[Any]:
    """A client of a new kernel, which is shut down in order."""
    with tempfile.TemporaryDirectory(prefix="pdr-k-", dir="/tmp") as directory:  # a socket's path must be short
        manager: Any = AsyncKernelManager(
            kernel_name=OWN,
            kernel_spec_manager=KernelSpecs(fork_socket=str(place.socket)),
            transport="ipc",
            ip=f"{directory}/k",
            connection_file=f"{directory}/kernel.json",
        )
        with Path(directory, "log").open("wb") as log:
            await manager.start_kernel(cwd=str(Path.cwd()), env=dict(os.environ), stdout=log, stderr=log)
        if manager.provisioner.preloaded is None:
            raise SystemExit(f"the kernel was not forked: {manager.provisioner.refusals}")
        await manager.provisioner.until_ready(BOUND_S)
        client = manager.client()
        client.start_channels(hb=False)
        await until_subscribed(client)
        yield client
        client.shutdown()
        await manager.provisioner.until_exit(BOUND_S)
        manager.provisioner.end()
        client.stop_channels()
        await manager.cleanup_resources()


async def until_subscribed(client: Any) -> None:
    """Wait until nothing that the kernel puts out is lost.

    The kernel welcomes a new listener, unless it sends something else at that very moment (ipykernel 7.4 writes past
    the stream that watches the same socket); then its answer to a question shows that it knows the listener.
    """
    while True:
        try:
            await client.get_iopub_msg(timeout=WELCOME_S)
            return
        except Empty:
            client.kernel_info()


async def execute(client: Any, cell: Any) -> None:
    """Execute a cell and take its outputs."""
    request = client.execute(cell.source)
    while True:
        message = await client.get_iopub_msg(timeout=BOUND_S)
        if message["parent_header"].get("msg_id") != request:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "status" and content["execution_state"] == "idle":
            break
        if kind == "execute_input":
            cell.execution_count = content["execution_count"]
        elif kind in ("stream", "display_data", "execute_result", "error"):
            cell.outputs.append(nbformat.v4.output_from_msg(message))
    while (await client.get_shell_msg(timeout=BOUND_S))["parent_header"].get("msg_id") != request:
        pass


async def evaluate_all(notebook: Path, number: int, width: int, place: ServerPlace) -> None:
    """So many notebooks, and so many at once."""
    free = asyncio.Semaphore(width)

    async def one(index: int) -> None:
        async with free:
            await evaluate(notebook, Path(f"out-{index:03d}.ipynb"), place)

    await asyncio.gather(*map(one, range(number)))


def main() -> None:
    """Evaluate them all."""
    notebook, number, width = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with PrivateDirectory() as directory:
        server = servers.start((), directory.path)
        while not server.place.socket.exists():
            time.sleep(0.01)
        try:
            asyncio.run(evaluate_all(notebook, number, width, server.place))
        finally:
            server.close()


if __name__ == "__main__":
    main()
