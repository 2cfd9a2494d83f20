"""Start one kernel over ipc sockets in a directory of its own, and end it with everything that it started."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from queue import Empty
from typing import Any

import zmq
from jupyter_client.manager import AsyncKernelManager

from pynb_dag_runner.model.output_limits import FOREIGN_QUEUE_MESSAGES, QUEUE_MESSAGES
from pynb_dag_runner.notebooks.kernel_names import OWN
from pynb_dag_runner.notebooks.kernelspecs import KernelSpecs
from pynb_dag_runner.processes import marks, out_of_memory
from pynb_dag_runner.processes.fork_server.client import SWITCH, ServerPlace
from pynb_dag_runner.processes.private_directory import SCRATCH_VARIABLE
from pynb_dag_runner.processes.process_table import describe_exit, end_marked, memory_bytes, with_mark
from pynb_dag_runner.run_folder.records import KernelStart
from pynb_dag_runner.worker import usage
from pynb_dag_runner.worker.descriptors import MARKS_VARIABLE, Descriptors, Take
from pynb_dag_runner.worker.kernels.provisioner import ForkProvisioner
from pynb_dag_runner.worker.logs import Log

START_BOUND_S = 120.0
"""jupyter_client's 60 s are too few on a loaded machine (papermill issue 776)."""

_GREETING_S = 0.1
"""A forked kernel's greeting comes within 20 ms."""

ONLY_OWN = "only kernels of the runner's own interpreter are forked"
NO_SERVER = f"there is no fork server: not on this system, or {SWITCH} is off"

SHUTDOWN_BOUND_S = 2.0
"""What a kernel gets to run its exit handlers before it is killed: of its own processor time, if it uses any."""
_LONGEST_SHUTDOWN_S = 20.0
"""It gets no more than this by the clock. On a busy machine the end of a kernel that has MLflow took more than 2 s."""
_LEAST_PROGRESS_S = 0.1
"""A kernel that uses less in 2 s waits for something; it is not waited for."""


class Kernel:
    """A kernel process and the client that talks to it.

    The sockets are files in a private directory: no ports that another process could take first (papermill issue 511),
    and nothing in the user's runtime directory.

    Args:
        name: kernelspec, as :func:`~pynb_dag_runner.notebooks.kernel_choice.choose` gives it.
        log: takes remarks, and what the kernel and its children write to their standard output and error unless
            :attr:`printed` is something else.
        marker: ``NAME=value``, a part of ``environment`` that no other attempt has; finds the kernel's descendants.
        place: of the fork server to ask for a kernel of this interpreter; None: it is started.
    """

    printed: Take
    """Is given what the kernel and its children write to their standard output and error."""

    def __init__(
        self,
        name: str,
        *,
        cwd: Path,
        environment: dict[str, str],
        log: Log,
        marker: str,
        place: ServerPlace | None = None,
    ) -> None:
        self.name = name
        self._cwd = cwd
        self._environment = environment
        self._log = log
        self._marker = marker
        self.printed = lambda _, data: log.write(data)
        self.descriptors = Descriptors(lambda stream, data: self.printed(stream, data))
        self._directory = Path(tempfile.mkdtemp(prefix="kernel-", dir=os.environ[SCRATCH_VARIABLE]))
        self.manager: Any = AsyncKernelManager(
            kernel_name=name,
            kernel_spec_manager=KernelSpecs(
                fork_socket=str(place.socket) if place else "", fork_preloaded=bool(place and place.preload)
            ),
            transport="ipc",
            ip=str(self._directory / "k"),
            connection_file=str(self._directory / "kernel.json"),
            shutdown_wait_time=SHUTDOWN_BOUND_S,
        )
        # Sockets made from now on have these; the queues must have their size before they are connected.
        self.manager.context.setsockopt(zmq.RCVHWM, QUEUE_MESSAGES if name == OWN else FOREIGN_QUEUE_MESSAGES)
        self.client: Any = None
        self._memory_kills = out_of_memory.kills()
        self._usage = usage.Usage()

    @property
    def usage(self) -> usage.Usage:
        """What the kernel has used, or had used when it was killed."""
        pid = getattr(self.manager.provisioner, "pid", None)
        if pid is not None:
            now = usage.usage_of(pid)
            self._usage = now if now.cpu_time_s is not None else self._usage
        return self._usage

    async def start(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            RuntimeError: it can't be started, died, or did not answer in time.
        """
        environment = {**self._environment, MARKS_VARIABLE: "1"}
        try:
            await self.manager.start_kernel(
                cwd=str(self._cwd), env=environment, stdout=self.descriptors.stdout, stderr=self.descriptors.stderr
            )
        except OSError as error:
            raise RuntimeError(f"its command can't be run: {error}") from error
        finally:
            self.descriptors.handed_over(asyncio.get_running_loop())
        forked = self.forked
        if forked is not None:
            await forked.until_ready(START_BOUND_S)
        self.client = self.manager.client()
        self.client.start_channels(hb=False)
        self.client.allow_stdin = False  # a question that nobody sees would wait for an answer for ever
        if forked is None:
            await self.client.wait_for_ready(timeout=START_BOUND_S)
        else:
            await self._until_subscribed()

    @property
    def forked(self) -> ForkProvisioner | None:
        """The kernel's provisioner, if it forked it."""
        provisioner = self.manager.provisioner
        return provisioner if isinstance(provisioner, ForkProvisioner) and provisioner.preloaded is not None else None

    @property
    def how(self) -> KernelStart | None:
        """How it came about; None: not yet."""
        provisioner = self.manager.provisioner
        if provisioner is None or not provisioner.has_process:
            return None
        if not isinstance(provisioner, ForkProvisioner):
            return KernelStart(how="started", remarks=(ONLY_OWN,))
        remarks = provisioner.remarks
        if not provisioner.socket:
            remarks = (NO_SERVER,)
        if provisioner.preloaded is None:
            return KernelStart(how="started", remarks=remarks)
        return KernelStart(how="forked", preloaded=provisioner.preloaded, remarks=remarks)

    async def _until_subscribed(self) -> None:
        """Wait until nothing that the kernel puts out from now on is lost: it says so to each new listener.

        jupyter_client's way to know is to ask until something comes, and then 0.2 s for whether more does. Here
        whatever comes will do: it came by the subscription. The greeting can get lost (ipykernel sends past the loop
        that reads subscriptions, which may then not see one until the next), so after a moment the kernel is asked
        something.
        """
        give_up = time.monotonic() + START_BOUND_S
        while time.monotonic() < give_up:
            try:
                await self.client.get_iopub_msg(timeout=_GREETING_S)
            except Empty:
                self.client.kernel_info()  # nobody waits for the answer; what it puts out on the way is enough
            else:
                return
        raise RuntimeError(f"Kernel didn't respond in {START_BOUND_S:g} seconds")

    async def death(self) -> str:
        """How a kernel that died ended, in words."""
        code = await self._exit_code()
        words = describe_exit(code)
        kills = out_of_memory.kills()
        if code == -signal.SIGKILL and None not in (kills, self._memory_kills) and kills != self._memory_kills:
            return "signal SIGKILL; the system counts a process that it killed for lack of memory meanwhile"
        return words

    async def _exit_code(self) -> int | None:
        """Negative for a signal; None if it still runs or is unknown."""
        process = getattr(self.manager.provisioner, "process", None)
        if process is None:
            return None
        for _ in range(20):
            if process.poll() is not None:
                return int(process.returncode)
            await asyncio.sleep(0.05)
        return None

    def memory_bytes(self, enough: int) -> int:
        """Resident memory of the kernel and everything that it started; exact if it is above ``enough``."""
        return memory_bytes(with_mark(self._marker, marks.own()), enough=enough)

    async def interrupt(self) -> None:
        """Ask the running cell to stop."""
        await self.manager.interrupt_kernel()

    def kill(self) -> None:
        """End the kernel and everything that it started, at once."""
        self._usage = self.usage
        if self.forked is not None:
            self.forked.end()  # it may be so young that it does not bear the mark yet
        end_marked(self._marker, marks.own())

    async def _end_forked(self, provisioner: ForkProvisioner) -> None:
        """Shut it down in order, like jupyter_client, which would look for its end every 100 ms."""
        if provisioner.process.poll() is None:
            # The manager's own connection dates from before the kernel was there, and waits before it tries again.
            self.client.shutdown()
            if not await self._until_exit(provisioner):
                self._log.remark(f"the kernel did not shut down within {SHUTDOWN_BOUND_S:g} s")

    async def _until_exit(self, provisioner: ForkProvisioner) -> bool:
        """Wait for a kernel that was asked to end, as long as it gets on with that; whether it ended."""
        give_up = time.monotonic() + _LONGEST_SHUTDOWN_S
        before = used = usage.cpu_time_s(provisioner.process.pid)
        while not await provisioner.until_exit(SHUTDOWN_BOUND_S):
            last, used = used, usage.cpu_time_s(provisioner.process.pid)
            if used - last < _LEAST_PROGRESS_S or used - before > SHUTDOWN_BOUND_S or time.monotonic() > give_up:
                return False
        return True

    async def close(self) -> None:
        """Shut the kernel down in order if it lets us, kill what is left, remove its files."""
        try:
            if self.forked is not None and self.client is not None:
                await self._end_forked(self.forked)
            if self.client is not None:
                self.client.stop_channels()
            if self.forked is not None:
                await self.manager.cleanup_resources()
            elif self.manager.has_kernel:
                await asyncio.wait_for(self.manager.shutdown_kernel(), 2 * SHUTDOWN_BOUND_S)
        except (TimeoutError, RuntimeError, OSError) as error:
            self._log.remark(f"the kernel did not shut down in order: {error}")
        finally:
            self.kill()
            if self.manager.context is not None and not self.manager.context.closed:
                self.manager.context.destroy(linger=0)
            self.descriptors.close()
            shutil.rmtree(self._directory, ignore_errors=True)
