"""The engine that papermill drives: it runs cell after cell against a clock and saves the notebook as it grows.

papermill's own engine records dead and timed-out cells as completed, writes the file twice per cell and not atomically,
and knows no limit for a whole notebook; so its bookkeeping is not used at all.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, NoReturn

import nbformat
from nbclient.exceptions import CellExecutionError, DeadKernelError

from pynb_dag_runner.model.outcomes import Failure, Outcome
from pynb_dag_runner.model.output_limits import LOG_PERIOD_S
from pynb_dag_runner.notebooks.papermill import Engine, papermill_engines
from pynb_dag_runner.secrets.masking import NO_SECRETS, Redactor
from pynb_dag_runner.worker.failures import failure, memory_failure, timeout_failure
from pynb_dag_runner.worker.kernels.kernel import Kernel
from pynb_dag_runner.worker.logs import Log
from pynb_dag_runner.worker.notebook.cells import CellClient
from pynb_dag_runner.worker.notebook.outputs import Outputs

ENGINE = "pynb_dag_runner"

_INTERRUPT_GRACE_S = 1.0
"""What a cell gets to end after its interruption; with the kill that follows it stays under the 2 s promised."""
_MEMORY_PERIOD_S = 0.25
"""Between two looks at the memory: what is taken in that time must fit beside the limit. A look takes some 5 ms."""
_LAST_LINES = 20
_SAVE_EVERY_S = 2.0
_SAVE_SHARE = 0.1
"""Saving a large notebook may take no more than this share of the time."""


class NotebookOver(Exception):
    """Leaves papermill once the cells have run.

    What it would do next is to look for errors by rules of its own (one in a cell tagged ``raises-exception`` counts),
    and to write marks into the notebook.
    """


class NotebookSession:
    """One evaluation of one notebook: what the engine is given, and what came of it.

    Args:
        kernel: not started yet.
        write: writes the notebook's file, whole or not at all.
        log: takes what the cells print.
        timeout_s: seconds until the evaluation is ended, from now; None: no limit.
        memory_bytes: resident memory of the kernel and what it starts above which it is ended; None: no limit.
        redactor: hides secrets in what comes from the kernel, before a cut could leave half of one.

    After :meth:`execute`, ``outcome`` and ``failure`` say how it ended, ``cells_executed`` how far it came.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        write: Callable[[Any], None],
        log: Log,
        timeout_s: float | None,
        memory_bytes: int | None,
        redactor: Redactor = NO_SECRETS,
    ) -> None:
        self.kernel = kernel
        self._redactor = redactor
        self._write = write
        self._memory_bytes = memory_bytes
        self._outputs = Outputs()
        self._log = log
        self._timeout_s = timeout_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._executing = 0
        self._stopping = False
        self.cells_executed = 0
        self.outcome = Outcome.SUCCEEDED
        self.failure: Failure | None = None

    async def execute(self, notebook: Any) -> None:
        """Start the kernel and run the cells; raises only if notebook or log can't be written."""
        cells = asyncio.ensure_future(self._run_cells(notebook))
        beside = [asyncio.ensure_future(self._save_regularly(notebook)), asyncio.ensure_future(self._look_at_log())]
        if self._memory_bytes is not None:
            beside.append(asyncio.ensure_future(self._look_at_memory(self._memory_bytes)))
        try:
            remaining = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            await asyncio.wait({cells, *beside}, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
            for work in beside:
                if work.done():
                    work.result()
            if self._stopping:
                self.kernel.kill()
            elif not cells.done():
                await self._end_at_timeout(cells)
            elif self.outcome is Outcome.SUCCEEDED:
                cells.result()
        finally:
            for work in (cells, *beside):
                work.cancel()
            await asyncio.gather(cells, *beside, return_exceptions=True)
            self.save(notebook)

    async def _run_cells(self, notebook: Any) -> None:
        try:
            await self.kernel.start()
        except RuntimeError as error:
            if not self._stopping:
                why = f"the kernel did not start ({await self.kernel.death()}): {error}"
                self._end(Outcome.CRASHED, failure("KernelStartError", why, redactor=self._redactor))
            return
        client = CellClient(notebook, self.kernel, self._log, self._outputs, self._redactor)
        await client.learn_language()
        try:
            for index, cell in enumerate(notebook.cells):
                if self._stopping:
                    return
                if client.executes(cell):
                    self._executing += 1
                if not await self._run_cell(client, cell, index):
                    return
        finally:  # however it ends, the widgets show how far they came
            client.set_widgets_metadata()

    async def _run_cell(self, client: CellClient, cell: Any, index: int) -> bool:
        """Run one cell; False if the notebook ends with it."""
        number = self._executing
        try:
            await client.async_execute_cell(cell, index, execution_count=number or None)
        except CellExecutionError as error:
            self.cells_executed = number
            if error.ename == "SystemExit" and error.evalue in ("", "0", "None"):
                return False
            self._outputs.refresh()
            self._end(Outcome.FAILED, failure(*_error_words(error, cell, number), redactor=self._redactor))
            return False
        except DeadKernelError:
            if not self._stopping:
                why = f"the kernel died in cell {number}: {await self.kernel.death()}"
                self._end(Outcome.CRASHED, failure("ProcessDied", why, redactor=self._redactor))
            return False
        self.cells_executed = number
        return not client.left

    async def _end_at_timeout(self, cells: "asyncio.Future[None]") -> None:
        assert self._timeout_s is not None
        self._stopping = True
        self._end(Outcome.TIMED_OUT, timeout_failure(self._timeout_s, self._where()))
        if self._executing:
            # The interrupted cell shows where it was stuck; whatever it does then, the kernel is killed.
            await self.kernel.interrupt()
            await asyncio.wait({cells}, timeout=_INTERRUPT_GRACE_S)
        self.kernel.kill()

    def _where(self) -> str:
        return f"in cell {self._executing}" if self._executing else "while its kernel was starting"

    def _end(self, outcome: Outcome, why: Failure) -> None:
        """The first reason counts: what follows a timeout is its consequence."""
        if self.outcome is Outcome.SUCCEEDED:
            self.outcome, self.failure = outcome, why

    def save(self, notebook: Any) -> None:
        """Write the notebook as it is now."""
        self._outputs.refresh()
        self._write(notebook)

    async def _look_at_log(self) -> None:
        while True:
            await asyncio.sleep(LOG_PERIOD_S)
            self._log.look()

    async def _look_at_memory(self, limit: int) -> None:
        """Returns when there is more than ``limit`` bytes of it."""
        while (used := self.kernel.memory_bytes(limit)) <= limit:
            await asyncio.sleep(_MEMORY_PERIOD_S)
        self._stopping = True
        self._end(Outcome.CRASHED, memory_failure(used, limit, self._where()))

    async def _save_regularly(self, notebook: Any) -> None:
        while True:
            started = time.monotonic()
            self.save(notebook)
            took = time.monotonic() - started
            await asyncio.sleep(max(_SAVE_EVERY_S, took / _SAVE_SHARE))


class NotebookEngine(Engine):  # type: ignore[misc] # papermill is untyped
    """papermill's seam. It needs the ``session`` that the runner passes, so papermill alone can't use it."""

    @classmethod
    def execute_notebook(
        cls, nb: Any, kernel_name: str, *, session: NotebookSession, runner: Any, **_: Any
    ) -> NoReturn:
        """Evaluate ``nb`` in place.

        Args:
            runner: the :class:`asyncio.Runner` in which the session's kernel lives.

        Raises:
            NotebookOver: always; the session says how it ended.
        """
        runner.run(session.execute(nb))
        raise NotebookOver


def _error_words(error: CellExecutionError, cell: Any, number: int) -> tuple[str, str, str]:
    """Kind, message and traceback of what a cell raised.

    A kernel of a shell gives no more than an exit code; then what the cell printed last tells most.
    """
    if error.ename == "SystemExit" and error.evalue.lstrip("-").isdecimal():
        message = f"sys.exit({error.evalue}) in cell {number}; sys.exit(0) would end the notebook with success"
        return error.ename, message, _traceback_of(cell) or error.traceback
    if error.ename.strip(" <>"):
        return error.ename, error.evalue or error.ename, _traceback_of(cell) or error.traceback
    reason = f"exit code {error.evalue}" if error.evalue.lstrip("-").isdecimal() else error.evalue or "an error"
    printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    last = [line.strip() for line in printed.splitlines() if line.strip()][-_LAST_LINES:]
    message = f"{reason} in cell {number}" + (f": {last[-1]}" if last else "")
    return "CellFailed", message, _traceback_of(cell) or "\n".join(last)


def _traceback_of(cell: Any) -> str:
    """The traceback as the notebook shows it."""
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            return "\n".join(output.traceback)
    return ""


def to_bytes(notebook: Any, redactor: Redactor = NO_SECRETS) -> bytes:
    """A notebook as the content of an .ipynb file, without secrets."""
    shown = nbformat.from_dict(redactor.value(notebook)) if redactor else notebook
    return bytes(nbformat.v4.writes(shown).encode("utf-8", "replace") + b"\n")


papermill_engines.register(ENGINE, NotebookEngine)
