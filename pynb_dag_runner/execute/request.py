"""Hold what is asked for when a run starts, and what the steps of the run make for each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pynb_dag_runner.events import Event, Listener
from pynb_dag_runner.execute.clock import Clock, SystemClock
from pynb_dag_runner.execute.context import RunContext
from pynb_dag_runner.execute.journal import Journal
from pynb_dag_runner.execute.loop import TasksEnded
from pynb_dag_runner.execute.prestart import WarmProcesses
from pynb_dag_runner.execute.reopening import Preparation
from pynb_dag_runner.execute.resume_state import Earlier
from pynb_dag_runner.execute.run_records import redactor_for
from pynb_dag_runner.execute.signals import Interrupts
from pynb_dag_runner.executors import StartExecutor, executor_factory
from pynb_dag_runner.executors.base import Executor
from pynb_dag_runner.model.graph import Dag
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.run_folder import Run
from pynb_dag_runner.run_folder.records import RunRecord, TargetRecord


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What is to run, and how.

    Attributes:
        dag: what runs.
        settings: how to run; kept for a resume. The executor's are for the record.
        base_dir: directory of the pipeline's file; sources are recorded relative to it, and git is asked there.
        output_dir: the folder of a new run is made below it.
        resumed: the run to resume instead, which the caller has
            :func:`~pynb_dag_runner.execute.reopening.reopened`; None for a new run.
        target: where the pipeline was loaded from, for a resume.
        executor: starts the engine, which is closed here; None: the one that the settings name.
        listeners: called with each event after it is recorded.
        clock: gives the time.
        processes: those of this run, where they have been started already; the caller closes them.
    """

    dag: Dag
    settings: RunSettings
    base_dir: Path
    output_dir: Path = Path("runs")
    resumed: Preparation | None = None
    target: TargetRecord | None = None
    executor: StartExecutor | None = None
    listeners: Sequence[Listener] = ()
    clock: Clock = field(default_factory=SystemClock)
    processes: WarmProcesses | None = None


class RunInProgress:
    """What the steps make for each other.

    Attributes:
        request: what is to run, and how.
        redactor: knows the run's secrets.
        folder: the run folder.
        is_recorded: there is something in it that is worth keeping.
        interrupts: requests to stop.
        processes: those of this run beside its engine.
        start_executor: starts the engine.
        engine: runs the tasks.
        engine_mark: of all that the engine starts; None: it leaves no mark.
        is_engine_closing: its end has begun.
        notes: what the user should know before the first task starts.
        record: ``run.json`` as the run starts.
        earlier: what a resumed run has from before.
        context: what the loop is told.
        journal: records and tells what happens.
        tasks: how they ended.
        finished: the run as its folder tells it in the end.
    """

    folder: Path
    interrupts: Interrupts
    processes: WarmProcesses
    engine: Executor
    engine_mark: str | None
    notes: tuple[str, ...]
    record: RunRecord
    context: RunContext
    journal: Journal
    tasks: TasksEnded
    finished: Run

    def __init__(self, request: RunRequest) -> None:
        settings = request.settings
        self.request = request
        self.start_executor = request.executor or executor_factory(
            settings.executor, num_cpus=settings.num_cpus, ray_address=settings.ray_address
        )
        self.redactor = redactor_for(request.dag)
        self.earlier = Earlier()
        self.is_recorded = False
        self.is_engine_closing = False

    def tell(self, event: Event) -> None:
        """Tell listeners, before there is a record or when it is complete."""
        for listener in self.request.listeners:
            listener(event)
