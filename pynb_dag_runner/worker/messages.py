"""The messages to a worker and from it: frozen and picklable."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pynb_dag_runner.model.outcomes import Failure, Outcome
from pynb_dag_runner.processes.fork_server.client import ServerPlace
from pynb_dag_runner.secrets.masking import NO_SECRETS, Redactor

THREADS = "OMP_NUM_THREADS"


def thread_variables(num_cpus: float) -> dict[str, str]:
    """What tells numerical libraries how many threads to use: as many as the task has processors.

    As Ray does it: libraries that start a thread per processor in each of several processes slow each other down.
    """
    return {} if THREADS in os.environ else {THREADS: str(max(1, int(num_cpus)))}


@dataclass(frozen=True, slots=True)
class InputSlot:
    """Stands in a parameter for the value of the job's input number ``index``."""

    index: int


@dataclass(frozen=True, kw_only=True)
class NotebookWork:
    """A notebook to evaluate.

    Attributes:
        content: the notebook as JSON, format 4, so that a worker needs no access to its file.
        path: where it came from, for people.
        cwd: absolute working directory of the kernel.
        language: the notebook's, see :func:`pynb_dag_runner.notebooks.languages.of_notebook`.
        kernel: kernelspec to use; None: what metadata and language say.
    """

    content: str
    path: Path
    cwd: Path
    language: str = "python"
    kernel: str | None = None


@dataclass(frozen=True, kw_only=True)
class FunctionWork:
    """A function to call with the parameters as keyword arguments."""

    function: Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class AttemptSpec:
    """All that a worker must know to make one attempt.

    Attributes:
        folder: absolute path of the attempt's folder.
        run_folder_inode: inode of the run folder as the driver sees it: a worker that sees another one, or none, is on
            another disk.
        scratch: name, unique to this attempt, of the temporary directory in which such a worker keeps the files.
        queued: when nothing but a free slot was missing any more, UTC.
        parameters: values, with an :class:`InputSlot` anywhere inside for what the executor's store holds.
        modules: paths of the user's files by the names of the modules that they are; for a notebook's kernel.
        variables: beside those that say which attempt it is.
        timeout_s: seconds from the start until the attempt is ended; None: no limit.
        deadline: when the run's own time limit is over, UTC; None: it has none.
        memory_bytes: what a notebook's kernel may use with all that it starts; None: no limit.
        redactor: knows the secrets of the whole run: a task may also get one from another task's output.
        terminal: this process has the user's terminal: show there what the task prints, beside logging it.
        fork_server: of the driver, for kernels; None: they are started.
    """

    run_id: str
    task: str
    number: int
    folder: Path
    run_folder_inode: int
    scratch: str
    work: NotebookWork | FunctionWork
    queued: datetime
    parameters: Mapping[str, Any] = field(default_factory=dict)
    modules: Mapping[str, Path] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    deadline: datetime | None = None
    memory_bytes: int | None = None
    redactor: Redactor = NO_SECRETS
    terminal: bool = False
    fork_server: ServerPlace | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptBegan:
    """The attempt's clock starts, in process ``pid``."""

    time: datetime
    pid: int


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """A part of a file of the attempt's folder, from a worker that does not see the run folder.

    The parts of a file come in order, and after its last one the next file's.

    Attributes:
        path: relative to the attempt's folder.
        data: what follows the part before.
        last: the file is whole.
    """

    path: PurePosixPath
    data: bytes
    last: bool


@dataclass(frozen=True, kw_only=True)
class AttemptFinished:
    """The task's own work is over and its files are written; downstream tasks may start.

    ``outputs`` are the values that JSON holds; anything else a function returned was kept in the executor's store.
    """

    time: datetime
    outcome: Outcome
    failure: Failure | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)


Message = AttemptBegan | FilePart | AttemptFinished
