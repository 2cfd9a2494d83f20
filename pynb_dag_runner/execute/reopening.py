"""Open a run folder to resume its run: check who may, end what is left of the old driver, decide what runs again."""

import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pynb_dag_runner import tracking
from pynb_dag_runner.errors import UsageError
from pynb_dag_runner.execute.kept_values import UnavailableValueError, check_own, read_kept_value
from pynb_dag_runner.execute.resume_state import Earlier, earlier_of
from pynb_dag_runner.execute.run_records import given_records, planned_tasks, redactor_for
from pynb_dag_runner.model.graph import Dag
from pynb_dag_runner.model.outcomes import RunStatus
from pynb_dag_runner.model.recorded_values import recorded
from pynb_dag_runner.model.references import references_in
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.plan.resumption import Resumption, decide
from pynb_dag_runner.processes.private_directory import MARK_VARIABLE
from pynb_dag_runner.processes.process_table import end_marked
from pynb_dag_runner.run_folder import Run, paths, read_run, read_run_record
from pynb_dag_runner.run_folder.lock import FolderLock, in_use
from pynb_dag_runner.run_folder.reader import STALE_AFTER_S
from pynb_dag_runner.run_folder.records import (
    DriverRecord,
    GitRecord,
    PlannedTask,
    ResumeRecord,
    RunAgainRecord,
    RunRecord,
    TargetRecord,
)


@contextmanager
def reopened(folder: Path, *, to_write: bool = True) -> Iterator[Run]:
    """The run in ``folder``, for as long as nobody else may go on with it.

    What the run's driver left running on this machine, if it died, is ended first.

    Args:
        to_write: False: only look, change nothing; others are not held off.

    Raises:
        RunFolderError: it is no run folder, is damaged, or is not this user's.
        UsageError: another process works on the run.
    """
    folder = Path(os.path.abspath(folder))
    read_run_record(folder)  # it is a run folder: before that nothing is written there, not even a lock
    check_own(folder)
    if not to_write:
        run = read_run(folder)
        _check_idle(run)
        yield run
        return
    with FolderLock(folder):
        run = read_run(folder)
        _check_idle(run)
        if run.status is RunStatus.INTERRUPTED:
            _end_leftovers(run)
            run = read_run(folder)  # a worker may have finished meanwhile
        yield run


def _check_idle(run: Run) -> None:
    """The lock alone does not tell: there are disks without locks."""
    if run.status is not RunStatus.RUNNING:
        return
    driver = run.record.driver
    elsewhere = driver.host != socket.gethostname()
    hint = f" (if it died, that shows {STALE_AFTER_S:g} s after its last sign of life)" if elsewhere else ""
    raise UsageError(in_use(run.folder, driver.pid, driver.host) + hint)


def _end_leftovers(run: Run) -> None:
    """Nothing of the dead driver's may go on with a task that is about to run again."""
    driver = run.record.driver
    if driver.host != socket.gethostname():
        return
    if driver.engine is not None and re.fullmatch("[0-9a-f]{32}|[0-9]{19}", driver.engine):
        end_marked(f"{MARK_VARIABLE}={driver.engine}")
        return
    for task in run.tasks:
        for attempt in task.attempts:
            if attempt.outcome is None:
                end_marked(f"{tracking.ATTEMPT_DIR_VARIABLE}={run.folder / attempt.folder}")


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """All that is known before a resumed run starts.

    Attributes:
        run: as it was.
        dag: what is to run now.
        planned: its tasks, as ``run.json`` will have them.
        resumption: what is taken over and what runs again, and why.
        kept: return values of tasks that are taken over, where they are needed and JSON can't hold them.
    """

    run: Run
    dag: Dag
    planned: tuple[PlannedTask, ...]
    resumption: Resumption
    kept: Mapping[str, Any]

    @property
    def attempts_before(self) -> dict[str, int]:
        """For each task the number of its last attempt that does not count any more."""
        return {task.name: task.attempts_before for task in self.planned}

    def earlier(self, *, html: bool) -> Earlier:
        """What the loop begins with.

        Args:
            html: notebooks shall have pages.
        """
        return earlier_of(self.run, self.planned, self.resumption.reused, self.kept, html=html)

    def record(
        self,
        *,
        now: datetime,
        settings: RunSettings,
        target: TargetRecord | None,
        driver: DriverRecord,
        git: GitRecord | None,
        ci: dict[str, str],
        versions: dict[str, str],
    ) -> RunRecord:
        """``run.json`` of the run that goes on.

        Args:
            now: the time of the resume.
        """
        resumption, before, redactor = self.resumption, self.run.record, redactor_for(self.dag)
        resume = ResumeRecord(
            start=now,
            previous_status=self.run.status,
            previous_end=self.run.end or before.start,
            driver=driver,
            git=git,
            parameters=resumption.parameters,
            again=tuple(RunAgainRecord(task=again.task, reason=again.reason) for again in resumption.again),
            reused=resumption.reused,
            dropped=resumption.dropped,
        )
        return before.model_copy(
            update={
                "status": RunStatus.RUNNING,
                "end": None,
                "description": redactor.text(self.dag.description),
                "parameters": redactor.values(recorded(self.dag.parameters)),
                "given": given_records(self.dag.given, self.dag.parameters, redactor),
                "target": target,
                "settings": settings,
                "tasks": self.planned,
                "resumes": (*before.resumes, resume),
                "driver": driver,
                "git": git,
                "ci": ci,
                "versions": versions,
            }
        )


def prepare(run: Run, dag: Dag, base_dir: Path) -> Preparation:
    """Compare a run with the pipeline as it is now, and fetch from its folder what will be needed.

    Args:
        base_dir: directory of the pipeline's file.

    Raises:
        UsageError: the run is one of another pipeline.
    """
    if run.pipeline != dag.name:
        raise UsageError(f"{run.folder} is a run of pipeline {run.pipeline!r}; it can't go on as one of {dag.name!r}")
    planned = planned_tasks(dag, base_dir)
    lost: dict[str, str] = {}
    kept: dict[str, Any] = {}
    while True:
        resumption = decide(run, planned, redactor_for(dag).values(recorded(dag.parameters)), lost)
        found = _fetch(run, dag, resumption, kept)
        if not found:
            break
        lost |= found
    before = {task.name: task for task in run.record.tasks}
    again, count = {item.task for item in resumption.again}, len(run.record.resumes) + 1
    return Preparation(
        run=run,
        dag=dag,
        planned=tuple(
            _numbered(task, before.get(task.name), run, again=task.name in again, count=count) for task in planned
        ),
        resumption=resumption,
        kept={name: value for name, value in kept.items() if name not in again},
    )


def _fetch(run: Run, dag: Dag, resumption: Resumption, kept: dict[str, Any]) -> dict[str, str]:
    """Put into ``kept`` what tasks that run again need of tasks that are taken over.

    Returns:
        Tasks whose outputs can't be had, and why.
    """
    lost = {}
    reused = frozenset(resumption.reused)
    for item in resumption.again:
        for reference in references_in(dag.by_name[item.task].parameters):
            name = reference.producer.name
            if name not in reused or name in kept or name in lost:
                continue
            attempt = run.by_name[name].last_attempt
            if attempt is not None and reference.output_name in attempt.redacted_outputs:
                lost[name] = f"its output {reference.output_name!r} holds a secret, which is not in the run folder"
                continue
            if attempt is not None and reference.output_name in attempt.outputs:
                continue
            if attempt is None or reference.output_name != "return":
                lost[name] = f"its output {reference.output_name!r} is not in the run folder"
                continue
            try:
                kept[name] = read_kept_value(run.folder, attempt.folder)
            except UnavailableValueError as error:
                lost[name] = str(error)
    return lost


def _numbered(task: PlannedTask, known: PlannedTask | None, run: Run, *, again: bool, count: int) -> PlannedTask:
    """The planned task, knowing which of its attempts count from now on.

    Args:
        known: as it was planned before.
        count: how often the run has been resumed, with this time.
    """
    if again:
        before = _highest_attempt(run, task.name)
        return task.model_copy(update={"attempts_before": before, "resumed": count})
    assert known is not None, "what is taken over was there before"
    return task.model_copy(update={"attempts_before": known.attempts_before, "resumed": known.resumed})


def _highest_attempt(run: Run, task: str) -> int:
    """The highest number of an attempt of which there is any trace; no folder is ever written to by two attempts."""
    known = [attempt.number for attempt in run.by_name[task].attempts] if task in run.by_name else []
    folder = paths.task_folder(run.folder, task)
    entries = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return max([0, *known, *(number for entry in entries if (number := paths.attempt_number(entry)) is not None)])
