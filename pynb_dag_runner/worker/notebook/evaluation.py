"""Evaluate a notebook as a task, from its source to the saved result."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import nbformat

from pynb_dag_runner.executors.project import here
from pynb_dag_runner.model.recorded_values import recorded
from pynb_dag_runner.notebooks import kernel_choice, kernelspecs
from pynb_dag_runner.notebooks.kernel_names import OWN
from pynb_dag_runner.notebooks.papermill import papermill
from pynb_dag_runner.notebooks.secret_inputs import SecretInputs
from pynb_dag_runner.notebooks.translators import writer_of
from pynb_dag_runner.processes.fork_server.client import ServerPlace
from pynb_dag_runner.run_folder.records import KernelStart
from pynb_dag_runner.run_folder.writer import AttemptWriter
from pynb_dag_runner.secrets.marking import replace_secrets
from pynb_dag_runner.secrets.masking import NO_SECRETS, Redactor
from pynb_dag_runner.worker import mlflow_calls
from pynb_dag_runner.worker.kernels import servers
from pynb_dag_runner.worker.kernels.kernel import Kernel
from pynb_dag_runner.worker.logs import Log
from pynb_dag_runner.worker.messages import NotebookWork
from pynb_dag_runner.worker.notebook import engine
from pynb_dag_runner.worker.notebook.engine import NotebookOver, NotebookSession
from pynb_dag_runner.worker.usage import Usage

logging.getLogger("papermill").setLevel(logging.ERROR)
"""It narrates each step, and warns of parameters that the notebook does not name; the run folder tells all that."""


def prepare() -> None:
    """Have nbformat compile its rules for notebooks, which takes it 70 ms: what is forked afterwards has them."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell()])
    nbformat.validate(notebook, relax_add_props=True)


def until_imported(
    work: NotebookWork, place: ServerPlace | None, environment: Mapping[str, str], bound_s: float
) -> Iterator[str]:
    """Returns when the pipeline's preload has been imported for the notebook, can't be, or took too long.

    Args:
        environment: variables of the attempt beside this process's.

    Yields:
        What it waits for, once, if that takes a while.
    """
    if place is None or not place.preload:
        return
    with contextlib.suppress(LookupError):  # there is no kernel for it, which its evaluation will say
        metadata = nbformat.reads(work.content, as_version=4).metadata
        if kernel_choice.choose(work.kernel, metadata, work.language).name == OWN:
            variables, bound_s = _variables(environment), min(bound_s, servers.PRELOAD_BOUND_S)
            yield from servers.until_imported(place, here(work.cwd), variables, bound_s)


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **environment, "JUPYTER_PLATFORM_DIRS": "1"}


class Evaluation:
    """One notebook being evaluated. Close it when its kernel is no longer needed.

    Args:
        marker: ``NAME=value``, unique to this attempt and part of ``environment``.
        log: takes what cells and kernel print.
        timeout_s: limit from now on.
        memory_bytes: limit for the kernel and what it starts.
        redactor: hides secrets in the saved notebook.
        fork_server: for kernels of this interpreter; None: they are started.
    """

    def __init__(
        self,
        work: NotebookWork,
        parameters: Mapping[str, Any],
        *,
        writer: AttemptWriter,
        environment: Mapping[str, str],
        marker: str,
        log: Log,
        timeout_s: float | None,
        memory_bytes: int | None,
        redactor: Redactor = NO_SECRETS,
        fork_server: ServerPlace | None = None,
    ) -> None:
        self._path = work.path
        self._redactor = redactor
        self._recorded = redactor.values(recorded(dict(parameters)))
        hidden = SecretInputs()
        self._parameters = {name: replace_secrets(value, hidden.add) for name, value in parameters.items()}
        self._writer = writer
        self.notebook = nbformat.reads(work.content, as_version=4)
        choice = kernel_choice.choose(work.kernel, self.notebook.metadata, work.language)
        if choice.remark:
            log.remark(choice.remark)
        self.kernel_name = choice.name
        _prepare(self.notebook, self.kernel_name)
        self.cells = 0
        self._runner = asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)  # never Ray's uvloop
        if not kernel_choice.is_own(self.kernel_name):
            environment = mlflow_calls.for_another_interpreter(environment)
        kernel_environment = {**_variables(environment), **hidden.environment}
        self._kernel = Kernel(
            self.kernel_name,
            cwd=here(work.cwd),
            environment=kernel_environment,
            log=log,
            marker=marker,
            place=servers.nearest(fork_server) if fork_server and self.kernel_name == OWN else None,
        )
        self.session = NotebookSession(
            self._kernel,
            write=self._write,
            log=log,
            timeout_s=timeout_s,
            memory_bytes=memory_bytes,
            redactor=redactor,
        )

    def run(self) -> None:
        """Evaluate; ``session`` then says how it ended."""
        with contextlib.suppress(NotebookOver):
            papermill.execute_notebook(
                self.notebook,
                None,
                parameters=self._parameters,
                engine_name=engine.ENGINE,
                kernel_name=self.kernel_name,
                language=writer_of(self.kernel_name, kernel_choice.language_of(self.kernel_name)),
                progress_bar=False,
                session=_Announced(self.session, self.adopt),
                runner=self._runner,
            )

    @property
    def usage(self) -> Usage:
        """What the kernel used, while it lives or before it was ended."""
        return self._kernel.usage

    @property
    def kernel_start(self) -> KernelStart | None:
        """How the kernel came about, once it has."""
        return self._kernel.how

    def kill(self) -> None:
        """End the kernel at once and save what there is."""
        self._kernel.kill()
        with contextlib.suppress(OSError):  # most often why it is ended: then that is the failure that counts
            self.session.save(self.notebook)

    def close(self) -> None:
        """End the kernel in order."""
        try:
            self._runner.run(self._kernel.close())
        finally:
            self._runner.close()

    def _write(self, notebook: Any) -> None:
        self._writer.notebook(engine.to_bytes(notebook, self._redactor))

    def adopt(self, notebook: Any) -> None:
        """papermill works on a copy of the notebook with the parameters in it; from here on that one counts."""
        # papermill puts its own input there: a whole copy of the notebook, and parameters that JSON may not hold.
        notebook.metadata.papermill.update(input_path=str(self._path), output_path=None, parameters=self._recorded)
        self.notebook = notebook
        self.cells = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells)


class _Announced:
    """The session as the engine gets it: announces which notebook is evaluated before it is."""

    def __init__(self, session: NotebookSession, announce: Callable[[Any], None]) -> None:
        self._session = session
        self._announce = announce

    async def execute(self, notebook: Any) -> None:
        self._announce(notebook)
        await self._session.execute(notebook)


def _prepare(notebook: Any, kernel_name: str) -> None:
    """Drop what an earlier execution left, name the kernel."""
    spec = kernelspecs.KernelSpecs().get_kernel_spec(kernel_name)
    notebook.metadata["kernelspec"] = {
        "name": kernel_name,
        "display_name": spec.display_name,
        "language": spec.language,
    }
    notebook.metadata["papermill"] = {}
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
