"""Hold what is known of a run when its first task starts, and does not change until its last task has ended."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pynb_dag_runner.events import Listener
from pynb_dag_runner.execute.clock import Clock
from pynb_dag_runner.execute.resume_state import Earlier
from pynb_dag_runner.model.graph import Dag
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.processes.fork_server.client import ServerPlace
from pynb_dag_runner.run_folder.records import RunRecord
from pynb_dag_runner.secrets.masking import NO_SECRETS, Redactor


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """One run.

    Attributes:
        dag: what runs.
        folder: the run folder.
        record: ``run.json`` while the run goes on.
        base_dir: directory of the pipeline's file; pictures that notebooks show lie below it.
        clock: gives the time.
        listeners: called with each event after it is recorded.
        redactor: knows the run's secrets, which nothing that is written may hold.
        earlier: what a resumed run begins with.
        notes: what the user should know before the first task starts, a sentence each.
        fork_server: where notebooks' kernels come from; None: they are started.
        chance: gives a number from 0 to 1, for the delays of retries.
    """

    dag: Dag
    folder: Path
    record: RunRecord
    base_dir: Path
    clock: Clock
    listeners: Sequence[Listener] = ()
    redactor: Redactor = NO_SECRETS
    earlier: Earlier = field(default_factory=Earlier)
    notes: Sequence[str] = ()
    fork_server: ServerPlace | None = None
    chance: Callable[[], float] = random.random

    @property
    def settings(self) -> RunSettings:
        """How to run."""
        return self.record.settings

    @property
    def started(self) -> datetime:
        """When this driver began: at the run's start, or at its last resume."""
        return self.record.resumes[-1].start if self.record.resumes else self.record.start
