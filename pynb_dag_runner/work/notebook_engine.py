"""The engine that papermill drives: cells run one after another against a clock, the notebook is saved as it grows.

papermill's own engine records dead and timed-out cells as completed, writes the file twice per cell and not atomically,
and knows no limit for a whole notebook; so its bookkeeping is not used at all.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.engines import Engine, papermill_engines
from papermill.translators import papermill_translators

from pynb_dag_runner.outcome import Failure, Outcome
from pynb_dag_runner.work.failures import failure, timeout_failure
from pynb_dag_runner.work.kernels.kernel import Kernel
from pynb_dag_runner.work.processes import describe_exit
from pynb_dag_runner.work.translator import LosslessPythonTranslator

ENGINE = "pynb_dag_runner"

_INTERRUPT_GRACE_S = 1.0
"""What a cell gets to end after its interruption; with the kill that follows it stays under the 2 s promised."""
_NO_LIMIT_S = 10 * 365 * 24 * 3600
"""nbclient takes a whole number of seconds only."""
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
        save: writes the notebook as evaluated so far, whole or not at all.
        log: takes what the cells print.
        timeout_s: seconds until the evaluation is ended, from now; None: no limit.

    After :meth:`execute`, ``outcome`` and ``failure`` say how it ended, ``cells_executed`` how far it came.
    """

    def __init__(self, kernel: Kernel, *, save: Callable[[Any], None], log: BinaryIO, timeout_s: float | None) -> None:
        self.kernel = kernel
        self._save = save
        self._log = log
        self._timeout_s = timeout_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._executing = 0
        self._stopping = False
        self.cells_executed = 0
        self.outcome = Outcome.SUCCEEDED
        self.failure: Failure | None = None

    async def execute(self, notebook: Any) -> None:
        """Start the kernel and run the cells; raises only if the notebook can't be saved."""
        cells = asyncio.ensure_future(self._run_cells(notebook))
        saver = asyncio.ensure_future(self._save_regularly(notebook))
        try:
            remaining = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            await asyncio.wait({cells, saver}, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
            if saver.done():
                saver.result()
            if not cells.done():
                await self._end_at_timeout(cells)
            elif self.outcome is Outcome.SUCCEEDED:
                cells.result()
        finally:
            for task in (cells, saver):
                task.cancel()
            await asyncio.gather(cells, saver, return_exceptions=True)
            self._save(notebook)

    async def _run_cells(self, notebook: Any) -> None:
        try:
            await self.kernel.start()
        except RuntimeError as error:
            if not self._stopping:
                exit_code = describe_exit(await self.kernel.exit_code())
                self._end(
                    Outcome.CRASHED, failure("KernelStartError", f"the kernel did not start ({exit_code}): {error}")
                )
            return
        client = _LoggingClient(notebook, self.kernel, self._log)
        await client.learn_language()
        for index, cell in enumerate(notebook.cells):
            if self._stopping:
                return
            if cell.cell_type == "code" and cell.source.strip():
                self._executing += 1
            if not await self._run_cell(client, cell, index):
                return
        client.set_widgets_metadata()

    async def _run_cell(self, client: "_LoggingClient", cell: Any, index: int) -> bool:
        """Run one cell; False if the notebook ends with it."""
        number = self._executing
        try:
            await client.async_execute_cell(cell, index, execution_count=number or None)
        except CellExecutionError as error:
            self.cells_executed = number
            if error.ename == "SystemExit" and error.evalue in ("", "0", "None"):
                return False
            trace = _traceback_of(cell) or error.traceback
            self._end(Outcome.FAILED, failure(error.ename, error.evalue or error.ename, trace))
            return False
        except DeadKernelError:
            if not self._stopping:
                words = describe_exit(await self.kernel.exit_code())
                self._end(Outcome.CRASHED, failure("ProcessDied", f"the kernel died in cell {number}: {words}"))
            return False
        self.cells_executed = number
        return True

    async def _end_at_timeout(self, cells: "asyncio.Future[None]") -> None:
        assert self._timeout_s is not None
        where = f"in cell {self._executing}" if self._executing else "while its kernel was starting"
        self._stopping = True
        self._end(Outcome.TIMED_OUT, timeout_failure(self._timeout_s, where))
        if self._executing:
            # The interrupted cell shows where it was stuck; whatever it does then, the kernel is killed.
            await self.kernel.interrupt()
            await asyncio.wait({cells}, timeout=_INTERRUPT_GRACE_S)
        self.kernel.kill()

    def _end(self, outcome: Outcome, why: Failure) -> None:
        """The first reason counts: what follows a timeout is its consequence."""
        if self.outcome is Outcome.SUCCEEDED:
            self.outcome, self.failure = outcome, why

    async def _save_regularly(self, notebook: Any) -> None:
        while True:
            started = time.monotonic()
            self._save(notebook)
            took = time.monotonic() - started
            await asyncio.sleep(max(_SAVE_EVERY_S, took / _SAVE_SHARE))


class _LoggingClient(NotebookClient):
    """nbclient's execution of single cells, on a kernel of ours; what cells print also goes to a log."""

    def __init__(self, notebook: Any, kernel: Kernel, log: BinaryIO) -> None:
        # No limit for messages to arrive: the notebook's own timeout is the limit (papermill issue 426).
        super().__init__(notebook, km=kernel.manager, iopub_timeout=_NO_LIMIT_S)
        self.kc = kernel.client
        self._task_log = log
        self.reset_execution_trackers()

    async def learn_language(self) -> None:
        """Ask the kernel for its language, which viewers need for highlighting."""
        assert self.kc is not None
        reply = await self.async_wait_for_reply(self.kc.kernel_info())
        if reply is not None and "language_info" in reply["content"]:
            self.nb.metadata["language_info"] = reply["content"]["language_info"]

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """See nbclient; streams are logged as they come."""
        if msg["msg_type"] == "stream":
            self._task_log.write(msg["content"]["text"].encode("utf-8", "replace"))
        return super().process_message(msg, cell, cell_index)


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


def _traceback_of(cell: Any) -> str:
    """The traceback as the notebook shows it."""
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            return "\n".join(output.traceback)
    return ""


def to_bytes(notebook: Any) -> bytes:
    """A notebook as the content of an .ipynb file."""
    return bytes(nbformat.v4.writes(notebook).encode("utf-8", "replace") + b"\n")


papermill_engines.register(ENGINE, NotebookEngine)
papermill_translators.register("python", LosslessPythonTranslator)
