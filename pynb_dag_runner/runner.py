"""Where plan, executor, work and run folder meet: a loop that turns decisions into jobs and events into decisions."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pynb_dag_runner import checks, events, provenance, reports
from pynb_dag_runner.attempts import LiveAttempt, Values, resources_of
from pynb_dag_runner.dag import Dag, NotebookSource, Options, Task
from pynb_dag_runner.executors.base import Executor, Job, JobEnded, JobEvent, JobKept, JobMessage, JobStarted
from pynb_dag_runner.interrupts import Interrupts
from pynb_dag_runner.outcome import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.pages import PAGE_BOUND_S, Pages
from pynb_dag_runner.parameters import recorded
from pynb_dag_runner.plan import Decision, Plan, Retry, RetryRule, Settle, Start, Stop
from pynb_dag_runner.run_folder import Run, TaskRun, paths, read_run
from pynb_dag_runner.run_folder.arrivals import Arrivals
from pynb_dag_runner.run_folder.records import AttemptVerdict, Error, OptionsRecord, PlannedTask, RunRecord, TaskRecord
from pynb_dag_runner.run_folder.writer import RunWriter, make_run_folder
from pynb_dag_runner.work.attempt import run_attempt
from pynb_dag_runner.work.messages import AttemptBegan, AttemptFinished, FilePart
from pynb_dag_runner.work.shipping import rescue

Listener = Callable[[events.Event], None]

LONGEST_WAIT_S = 0.25
"""How late a Ctrl-C may be noticed: Ray's wait gives way to signal handlers only when it returns."""
HEARTBEAT_S = 10.0
CANCEL_GRACE_S = 2.0
"""What a cancelled attempt gets to save its notebook before its process is ended."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended.

    Attributes:
        folder: absolute path of the run folder.
        tasks: by name, in plan order; ``tasks["x"].outputs`` are the values of its last attempt that JSON holds.
    """

    run_id: str
    status: RunStatus
    folder: Path
    tasks: Mapping[str, TaskRun]


def run_dag(
    dag: Dag,
    *,
    output_dir: Path,
    executor: Callable[[], Executor],
    executor_name: str,
    base_dir: Path,
    fail_fast: bool = False,
    listeners: Sequence[Listener] = (),
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RunResult:
    """Run a pipeline to its end, whatever its tasks do.

    Args:
        output_dir: the run folder is made below it.
        executor: starts the engine; it is closed here.
        executor_name: for the record.
        base_dir: directory of the pipeline's file; sources are recorded relative to it, and git is asked there.
        fail_fast: cancel everything else when a task did not succeed.
        listeners: called with each event after it is recorded.
        clock: gives the current time with a time zone.

    Raises:
        OutputDirectoryError: no run folder can be made.
        ExecutorError: the engine can't start.
        PipelineError: a task asks for more than the engine can ever give.
    """
    folder, run_id = make_run_folder(Path(os.path.abspath(output_dir)), dag.name, clock())
    with contextlib.ExitStack() as stack:
        discard = stack.enter_context(contextlib.ExitStack())
        discard.callback(_remove_empty, folder)
        interrupts = stack.enter_context(Interrupts())
        engine = executor()
        stack.callback(engine.close)
        checks.check_capacity(dag.name, {task.name: resources_of(task) for task in dag.tasks}, engine.capacity())
        record = RunRecord(
            run_id=run_id,
            pipeline=dag.name,
            description=dag.description,
            status=RunStatus.RUNNING,
            start=clock(),
            parameters=recorded(dag.parameters),
            tasks=tuple(_planned(task, dag, base_dir) for task in dag.tasks),
            driver=provenance.driver_record(executor_name),
            git=provenance.git_record(base_dir),
            ci=provenance.ci_variables(os.environ),
            versions=provenance.library_versions(),
        )
        writer = RunWriter(folder, record)
        discard.pop_all()  # from here on there is something worth keeping
        stack.callback(writer.close)
        interrupts.count_from_now()
        run = _Run(dag, record, engine, writer, listeners, clock, interrupts, fail_fast=fail_fast)
        stack.callback(run.pages.close)
        status = run.to_the_end()
    result = read_run(folder)
    _report(result, listeners, clock)
    return RunResult(run_id=run_id, status=status, folder=folder, tasks=result.by_name)


class _Run:
    """The state of one run; :meth:`to_the_end` is the loop."""

    def __init__(
        self,
        dag: Dag,
        record: RunRecord,
        engine: Executor,
        writer: RunWriter,
        listeners: Sequence[Listener],
        clock: Callable[[], datetime],
        interrupts: Interrupts,
        *,
        fail_fast: bool,
    ) -> None:
        self._dag = dag
        self._record = record
        self._planned = {planned.name: planned for planned in record.tasks}
        self._engine = engine
        self._writer = writer
        self._listeners = listeners
        self._clock = clock
        self._interrupts = interrupts
        rules = {
            task.name: RetryRule(retries=task.options.retries, delay_s=task.options.retry_delay_s) for task in dag.tasks
        }
        self._plan = Plan(dag.upstream, rules, fail_fast=fail_fast)
        self._decisions: deque[Decision] = deque()
        self._live: dict[str, LiveAttempt] = {}
        self._verdicts: dict[str, list[AttemptVerdict]] = {}
        self._settled: dict[str, TaskStatus] = {}
        self._values = Values()
        self.pages = Pages()
        self._arrivals = Arrivals()
        self._cancelled = False
        self._touched = time.monotonic()

    def to_the_end(self) -> RunStatus:
        """Run until every task is settled and every worker has finished its files."""
        self._say(
            events.RunStarted(
                time=self._record.start,
                pipeline=self._dag.name,
                run_id=self._record.run_id,
                tasks=tuple(task.name for task in self._dag.tasks),
            )
        )
        self._carry_out(self._plan.begin())
        while not self._plan.done or self._live:
            for event in self._engine.wait(self._wait_s()):
                self._take(event)
            self._carry_out(self._plan.due(time.monotonic()))
            self._watch_clocks()
            if self._interrupts.count and not self._cancelled:
                self._cancel()
            if self._interrupts.count > 1:
                self._abandon()
        return self._end()

    def _wait_s(self) -> float:
        now = time.monotonic()
        moments = [attempt.force_at for attempt in self._live.values() if attempt.force_at is not None]
        if (retry_at := self._plan.next_retry_at) is not None:
            moments.append(retry_at)
        return max(0.0, min([LONGEST_WAIT_S, *(moment - now for moment in moments)]))

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        """Do what the plan decided, and what follows from that."""
        self._decisions.extend(decisions)
        while self._decisions:
            match self._decisions.popleft():
                case Start(task=name, number=number):
                    self._start(self._dag.by_name[name], number)
                case Settle(task=name, status=status, blocked_by=blocked_by):
                    self._settle(name, status, blocked_by)
                case Stop(task=name, number=number):
                    self._stop(f"{name}#{number}")
                case Retry():
                    pass  # told to listeners with the end of the attempt before it

    def _start(self, task: Task, number: int) -> None:
        attempt = LiveAttempt(task=task, number=number, queued=self._clock())
        try:
            spec, inputs = attempt.spec(self._record.run_id, self._writer.folder, self._values, self._engine.in_process)
        except LookupError as error:
            self._live[attempt.key] = attempt
            why = Failure(kind="MissingOutput", message=str(error.args[0]))
            self._attempt_ended(attempt, Outcome.FAILED, why, self._clock(), retry=False)
            del self._live[attempt.key]
            return
        self._live[attempt.key] = attempt
        self._engine.submit(
            Job(
                key=attempt.key,
                call=partial(run_attempt, spec),
                inputs=inputs,
                resources=resources_of(task),
                limits=attempt.limits,
                rescue=partial(rescue, spec),
            )
        )

    def _stop(self, key: str) -> None:
        attempt = self._live.get(key)
        if attempt is not None:
            attempt.stopping = True
            attempt.force_at = time.monotonic() + CANCEL_GRACE_S
            self._engine.cancel(key)

    def _take(self, event: JobEvent) -> None:
        attempt = self._live.get(event.key)
        if attempt is None:
            return
        match event:
            case JobStarted(host=host, pid=pid):
                attempt.host, attempt.pid = host, pid
            case JobKept(handle=handle):
                self._values.keep(attempt.task.name, handle)
            case JobMessage(message=AttemptBegan(time=start)):
                attempt.began(start, time.monotonic())
                self._say(
                    events.AttemptStarted(
                        time=start, task=attempt.task.name, number=attempt.number, host=attempt.host, pid=attempt.pid
                    )
                )
            case JobMessage(message=FilePart() as part):
                folder = paths.attempt_folder(self._writer.folder, attempt.task.name, attempt.number)
                self._arrivals.take(folder, part.path, part.data, last=part.last)
            case JobMessage(message=AttemptFinished() as finished):
                self._values.take(attempt.task.name, finished.outputs)
                self._attempt_ended(attempt, finished.outcome, finished.failure, finished.time)
            case JobEnded() as job:
                self._arrivals.drop(paths.attempt_folder(self._writer.folder, attempt.task.name, attempt.number))
                if not attempt.ended:
                    outcome, why = attempt.verdict_of_death(job)
                    self._attempt_ended(attempt, outcome, why, self._clock())
                del self._live[event.key]

    def _attempt_ended(
        self, attempt: LiveAttempt, outcome: Outcome, why: Failure | None, end: datetime, *, retry: bool = True
    ) -> None:
        name = attempt.task.name
        attempt.ended = True
        if not attempt.stopping:
            attempt.force_at = None
        verdict = AttemptVerdict(
            number=attempt.number, outcome=outcome, start=attempt.start, end=end, error=Error.of(why)
        )
        self._verdicts.setdefault(name, []).append(verdict)
        if isinstance(attempt.task.source, NotebookSource) and attempt.start is not None:
            folder = paths.attempt_folder(self._writer.folder, name, attempt.number)
            self.pages.make(attempt.key, folder, name, outcome, why)
        now = time.monotonic()
        decisions = self._plan.ended(name, outcome, now, retry=retry)
        retry_at = next((decision.at for decision in decisions if isinstance(decision, Retry)), None)
        self._say(
            events.AttemptEnded(
                time=end,
                task=name,
                number=attempt.number,
                outcome=outcome,
                start=attempt.start,
                failure=why,
                retry_at=None if retry_at is None else self._clock() + timedelta(seconds=retry_at - now),
            )
        )
        self._decisions.extend(decisions)
        if outcome is Outcome.CANCELLED and not attempt.stopping:
            self._cancel()  # an inline task gets the user's Ctrl-C itself
        self._carry_out(())

    def _settle(self, name: str, status: TaskStatus, blocked_by: str | None) -> None:
        planned, verdicts = self._planned[name], self._verdicts.get(name, [])
        self._settled[name] = status
        now = self._clock()
        self._writer.task(
            TaskRecord(
                name=name,
                kind=planned.kind,
                source=planned.source,
                options=planned.options,
                upstream=planned.upstream,
                status=status,
                outcome=verdicts[-1].outcome if verdicts else None,
                blocked_by=blocked_by,
                start=next((verdict.start for verdict in verdicts if verdict.start), None),
                end=verdicts[-1].end if verdicts else None,
                attempts=tuple(verdicts),
            )
        )
        self._say(events.TaskSettled(time=now, task=name, status=status, blocked_by=blocked_by))

    def _watch_clocks(self) -> None:
        """End the process of an attempt that is past its time and did not end by itself."""
        now = time.monotonic()
        for attempt in list(self._live.values()):
            if attempt.force_at is not None and now >= attempt.force_at:
                attempt.force_at = None
                self._engine.cancel(attempt.key, force=True)
        if now - self._touched > HEARTBEAT_S:
            self._touched = now
            self._writer.touch()

    def _cancel(self) -> None:
        self._cancelled = True
        self._carry_out(self._plan.cancel())
        for attempt in self._live.values():
            if attempt.ended:  # only its finishing work is under way; it may take as long as a cancelled one
                attempt.force_at = time.monotonic() + CANCEL_GRACE_S

    def _abandon(self) -> None:
        """A second Ctrl-C: do not wait for workers any more; closing the engine ends them."""
        for attempt in list(self._live.values()):
            if not attempt.ended:
                why = Failure(kind="Cancelled", message="the run was cancelled")
                self._attempt_ended(attempt, Outcome.CANCELLED, why, self._clock())
        self._live.clear()

    def _end(self) -> RunStatus:
        end = self._clock()
        for missing in self.pages.finish(CANCEL_GRACE_S if self._cancelled else PAGE_BOUND_S):
            message = f"no HTML page of {missing.key}: {missing.problem}"
            self._say(events.Warned(time=self._clock(), message=message))
        succeeded = all(status is TaskStatus.SUCCEEDED for status in self._settled.values())
        status = RunStatus.SUCCEEDED if succeeded else RunStatus.CANCELLED if self._cancelled else RunStatus.FAILED
        self._say(events.RunEnded(time=end, status=status))
        self._writer.end(self._record.model_copy(update={"status": status, "end": end}))
        return status

    def _say(self, event: events.Event) -> None:
        self._writer.event(event)
        for listener in self._listeners:
            listener(event)


def _planned(task: Task, dag: Dag, base_dir: Path) -> PlannedTask:
    return PlannedTask(
        name=task.name,
        kind="notebook" if isinstance(task.source, NotebookSource) else "function",
        source=_shown_source(task, base_dir),
        upstream=dag.upstream[task.name],
        options=_options_record(task.options),
    )


def _shown_source(task: Task, base_dir: Path) -> str:
    if not isinstance(task.source, NotebookSource):
        return task.source.qualified_name
    path = task.source.path
    return (path.relative_to(base_dir) if path.is_relative_to(base_dir) else path).as_posix()


def _options_record(options: Options) -> OptionsRecord:
    return OptionsRecord(
        retries=options.retries,
        retry_delay_s=options.retry_delay_s,
        timeout_s=options.timeout_s,
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus,
        memory_bytes=options.memory,
        resources=dict(options.resources),
    )


def _report(run: Run, listeners: Sequence[Listener], clock: Callable[[], datetime]) -> None:
    """Draw the report; a run whose report can't be drawn has run all the same."""
    try:
        reports.write_reports(run)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the drawing, the run itself is recorded
        message = f"no report was written: {type(error).__name__}: {error}"
        for listener in listeners:
            listener(events.Warned(time=clock(), message=message))


def _remove_empty(folder: Path) -> None:
    """Take back a run folder that nothing was written to."""
    for directory in (folder / paths.TASKS, folder):
        with contextlib.suppress(OSError):
            directory.rmdir()
