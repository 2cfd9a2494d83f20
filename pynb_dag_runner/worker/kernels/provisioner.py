"""Get a kernel process of the runner's own interpreter: forked where there is a fork server, else started.

This is jupyter_client's seam for it (``jupyter_client.kernel_provisioners``); everything else about a kernel is the
same either way.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Bool, Unicode

from pynb_dag_runner.processes.fork_server.client import Asked, ForkedProcess, ForkRefused, ask, own_oom_score_adj
from pynb_dag_runner.processes.fork_server.wire import FIND, ForkRequest


class ForkProvisioner(LocalProvisioner):
    """Asks a fork server first.

    Attributes:
        socket: of the server; empty: there is none.
        preload: ask it for one that has imported ahead, and only if it has none for another one.
        preloaded: modules that were imported before the notebook began; None: the kernel was not forked.
        remarks: what those servers said that did not fork one, and what the one did that forked it.
    """

    socket = Unicode()
    preload = Bool()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.preloaded: tuple[str, ...] | None = None
        self.remarks: tuple[str, ...] = ()
        self._ready: int | None = None

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        """See jupyter_client; ``cmd`` is that of our own kernelspec."""
        for ahead in (True, False) if self.preload else (False,):
            if not self.socket:
                break
            try:
                await self._fork(ahead, cmd, **options)
            except ForkRefused as refusal:
                self.remarks = (*self.remarks, str(refusal))
            else:
                return self.connection_info
        return await super().launch_kernel(cmd, **options)

    async def _fork(
        self, ahead: bool, cmd: Sequence[str], *, cwd: str, env: dict[str, str], stdout: Any, stderr: Any, **_: Any
    ) -> None:
        request = ForkRequest(
            arguments=cmd[cmd.index("-f") :],
            cwd=cwd,
            # As jupyter_client sets it for a kernel that it starts.
            environment={**env, "JPY_PARENT_PID": str(os.getpid())},
            oom_score_adj=own_oom_score_adj(),
        )
        ready, told = os.pipe()
        try:
            server = Path(self.socket)
            if ahead:
                server = (await _answered(ask(server, replace(request, purpose=FIND)))).found()
            process = (await _answered(ask(server, request, [stdout.fileno(), stderr.fileno(), told]))).answer()
        except BaseException:
            os.close(ready)
            raise
        finally:
            os.close(told)
        self.process: Any = process
        self.pid, self.pgid, self.cwd = process.pid, process.pid, cwd
        self.preloaded, self._ready = process.preloaded, ready
        self.remarks = (*self.remarks, *process.remarks)

    async def until_ready(self, timeout_s: float) -> None:
        """Wait until a forked kernel has bound its sockets; at once if it was started.

        Raises:
            RuntimeError: it died, or did not come so far in time.
        """
        if self._ready is None:
            return
        ready, self._ready = self._ready, None
        try:
            await _readable(ready, timeout_s)
            if not os.read(ready, 1):
                raise RuntimeError("Kernel died before it was ready")
        except TimeoutError:
            raise RuntimeError(f"Kernel was not ready in {timeout_s:g} seconds") from None
        finally:
            os.close(ready)

    async def until_exit(self, timeout_s: float) -> bool:
        """Wait for a process that was asked to end; whether it did."""
        try:
            if isinstance(self.process, ForkedProcess):
                if self.process.poll() is None:
                    await _readable(self.process.fileno(), timeout_s)
            else:
                await asyncio.wait_for(self.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def end(self) -> None:
        """Kill the process and wait for its end."""
        if self._ready is not None:
            os.close(self._ready)
            self._ready = None
        if self.process is not None:
            self.process.kill()
            self.process.wait()


async def _answered(asked: Asked) -> Asked:
    try:
        await _readable(asked.fileno(), asked.bound_s)
    except TimeoutError:
        raise asked.give_up() from None
    except BaseException:
        asked.close()
        raise
    return asked


async def _readable(descriptor: int, timeout_s: float) -> None:
    """Wait until something can be read there; raises TimeoutError."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def tell() -> None:
        if not future.done():
            future.set_result(None)

    loop.add_reader(descriptor, tell)
    try:
        await asyncio.wait_for(future, timeout_s)
    finally:
        loop.remove_reader(descriptor)
