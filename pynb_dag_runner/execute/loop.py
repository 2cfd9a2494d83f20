"""The loop of a run: it turns the plan's decisions into jobs, and what becomes of the jobs into decisions."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from pynb_dag_runner import events
from pynb_dag_runner.execute import attempts
from pynb_dag_runner.execute.attempts import LiveAttempt, RunLimit, Values
from pynb_dag_runner.execute.kept_values import UnavailableValueError, read_kept_value
from pynb_dag_runner.execute.resume_state import Earlier, resumed_event, task_record
from pynb_dag_runner.execute.signals import Interrupts
from pynb_dag_runner.executors.base import (
    Executor,
    Job,
    JobEnded,
    JobEvent,
    JobKept,
    JobMessage,
    JobStarted,
    LimitsOver,
    Waits,
)
from pynb_dag_runner.model.graph import Dag, NotebookSource, Task
from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.plan.scheduler import Decision, Plan, Retry, Settle, Start, Stop
from pynb_dag_runner.processes.fork_server.client import ServerPlace
from pynb_dag_runner.reports.pages.queue import PageProblem, Pages
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.records import AttemptVerdict, Error, RunRecord, TaskRecord
from pynb_dag_runner.run_folder.writer import RunWriter
from pynb_dag_runner.secrets.files import sweep_after_death
from pynb_dag_runner.secrets.masking import NO_SECRETS, Redactor
from pynb_dag_runner.worker.attempt import run_attempt
from pynb_dag_runner.worker.messages import AttemptBegan, AttemptFinished, FilePart
from pynb_dag_runner.worker.shipping import rescue

Listener = Callable[[events.Event], None]

LONGEST_WAIT_S = 0.25
"""How late a Ctrl-C may be noticed: Ray's wait gives way to signal handlers only when it returns."""
HEARTBEAT_S = 10.0
CANCEL_GRACE_S = 2.0
"""What a cancelled attempt gets to save its notebook before its process is ended."""
MAX_INPUTS_LOST = 3
"""An attempt whose inputs are lost more often on their way is given up."""


class RunLoop:
    """The state of one run: :meth:`run_tasks`, then :meth:`end`.

    Args:
        dag: what runs.
        record: ``run.json`` as it is now.
        engine: executes jobs; closed by the caller.
        writer: writes the run folder; closed by the caller.
        listeners: called with each event after it is recorded.
        clock: gives the current time with a time zone; for the record only. What happens when, a monotonic clock says.
        interrupts: requests to stop.
        earlier: what a resumed run begins with.
        redactor: knows the run's secrets, which nothing that is written may hold.
        pages: makes them while the run goes on.
        base_dir: of the pipeline; pictures that notebooks show lie below it.
        fork_server: where notebooks' kernels come from; None: they are started.
        chance: gives a number from 0 to 1, for the delays of retries.
    """

    def __init__(
        self,
        dag: Dag,
        record: RunRecord,
        engine: Executor,
        writer: RunWriter,
        listeners: Sequence[Listener],
        clock: Callable[[], datetime],
        interrupts: Interrupts,
        pages: Pages,
        base_dir: Path,
        *,
        earlier: Earlier | None = None,
        notes: Sequence[str] = (),
        redactor: Redactor = NO_SECRETS,
        fork_server: ServerPlace | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._dag, self._record = dag, record
        self._planned = {planned.name: planned for planned in record.tasks}
        self._engine = engine
        self._writer, self._listeners = writer, listeners
        self._clock = clock
        self._interrupts = interrupts
        self._earlier = earlier or Earlier()
        self._notes = notes
        self._redactor = redactor
        self._fork_server = fork_server
        self._chance = chance
        options = {planned.name: planned.options for planned in record.tasks}
        before = {planned.name: planned.attempts_before for planned in record.tasks}
        fail_fast, reused = record.settings.fail_fast, self._earlier.reused
        self._plan = Plan(dag.upstream, options, attempts_before=before, fail_fast=fail_fast, reused=reused)
        self._limit = RunLimit.of(record.settings.timeout_s, clock())
        self._decisions: deque[Decision] = deque()
        self._live: dict[str, LiveAttempt] = {}
        self._watched: dict[str, LiveAttempt] = {}  # of these, those whose process may have to be ended: they run
        self._verdicts = {name: list(verdicts) for name, verdicts in self._earlier.verdicts.items()}
        self._settled: dict[str, TaskStatus] = {}
        self._settled_records: deque[TaskRecord] = deque()
        self._values = Values()
        self._pages, self._base_dir, self._imports = pages, base_dir, attempts.imports_of(dag)
        self._cancelled = False
        self._started = self._record.resumes[-1].start if self._record.resumes else self._record.start
        self._touched = time.monotonic()

    def run_tasks(self) -> None:
        """The loop: run until every task is settled and every worker has finished its files; the engine may go then."""
        self._begin()
        for note in self._notes:
            self._say(events.Warned(time=self._clock(), message=note))
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

    def _begin(self) -> None:
        """Say that the run starts or goes on, and take over what there is of it."""
        if not self._record.resumes:
            names = tuple(task.name for task in self._dag.tasks)
            run = {"pipeline": self._dag.name, "run_id": self._record.run_id}
            self._say(events.RunStarted(time=self._started, tasks=names, **run))
            return
        self._say(resumed_event(self._record))
        for end in self._earlier.ends:
            self._writer.event(end)
        for name, outputs in self._earlier.outputs.items():
            self._values.take(name, outputs)
        for name, value in self._earlier.kept.items():
            self._values.keep(name, self._engine.put(value))
        for page in self._earlier.pages_missing:
            self._make_page(page.task, page.number, page.outcome, page.failure)

    def _make_page(self, name: str, number: int, outcome: Outcome, why: Failure | None) -> None:
        folder, task = paths.attempt_folder(self._writer.folder, name, number), self._dag.by_name.get(name)
        self._pages.make(f"{name}#{number}", folder, name, outcome, why, attempts.pictures_of(task, self._base_dir))

    def _wait_s(self) -> float:
        now = time.monotonic()
        moments = [attempt.force_at for attempt in self._watched.values() if attempt.force_at is not None]
        if (retry_at := self._plan.next_retry_at) is not None:
            moments.append(retry_at)
        if self._limit is not None and not self._limit.over:
            moments.append(self._limit.at)
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
        # Last, since what starts now does not wait for it: the end of the attempt stands in the events already.
        while self._settled_records:
            self._writer.task(self._settled_records.popleft())

    def _start(self, task: Task, number: int) -> None:
        attempt = LiveAttempt(task=task, number=number, queued=self._clock(), limit=self._limit)
        self._live[attempt.key] = attempt
        self._submit(attempt)

    def _submit(self, attempt: LiveAttempt) -> None:
        try:
            spec, inputs = attempt.spec(
                self._record.run_id,
                self._writer.folder,
                self._values,
                self._engine.in_process,
                self._redactor,
                self._fork_server,
            )
        except LookupError as error:
            self._fail_before_start(attempt, Failure(kind="MissingOutput", message=str(error.args[0])))
            return
        self._engine.submit(
            Job(
                key=attempt.key,
                call=partial(run_attempt, spec),
                inputs=inputs,
                resources=attempts.resources_of(attempt.task),
                limits=attempt.limits,
                shared=attempt.task.options.isolation == "shared",
                imports=attempt.imports(self._imports),
                rescue=partial(rescue, spec),
            )
        )

    def _fail_before_start(self, attempt: LiveAttempt, why: Failure) -> None:
        """What the attempt needs is not there; another attempt would not have it either."""
        self._attempt_ended(attempt, Outcome.FAILED, why, self._clock(), retry=False)
        del self._live[attempt.key]

    def _submit_again(self, attempt: LiveAttempt) -> None:
        """Its job never ran, since the executor lost a value that it needs: give the executor that value anew."""
        attempt.inputs_lost += 1
        try:
            if attempt.inputs_lost > MAX_INPUTS_LOST:
                raise UnavailableValueError(f"it was lost {attempt.inputs_lost} times on the way")
            for name in self._values.kept_for(attempt.task):
                known = self._earlier.untouched.get(name)
                number = (known.attempts if known else self._verdicts[name])[-1].number
                folder = paths.attempt_folder(Path(), name, number)
                self._values.keep(name, self._engine.put(read_kept_value(self._writer.folder, folder)))
        except UnavailableValueError as error:
            why = Failure(kind="MissingOutput", message=f"a value that another task returned was lost: {error}")
            self._fail_before_start(attempt, why)
            return
        self._submit(attempt)

    def _stop(self, key: str) -> None:
        attempt = self._live.get(key)
        if attempt is not None:
            attempt.stopping = True
            attempt.force_at = time.monotonic() + CANCEL_GRACE_S
            self._watched[key] = attempt
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
            case JobMessage(message=AttemptBegan(time=start, pid=pid)):
                attempt.began(start, pid, time.monotonic())
                self._watched[event.key] = attempt
                self._say(attempt.started(start))
            case JobMessage(message=Waits(what=what)):
                self._tell(attempt.waits(self._clock(), what))
            case JobMessage(message=LimitsOver()):
                if not attempt.stopping:
                    attempt.force_at = None
            case JobMessage(message=FilePart() as part):
                folder = paths.attempt_folder(self._writer.folder, attempt.task.name, attempt.number)
                self._writer.part(folder, part.path, part.data, last=part.last)
            case JobMessage(message=AttemptFinished() as finished):
                self._values.take(attempt.task.name, finished.outputs)
                why = attempt.explained(finished.outcome, finished.failure)
                self._attempt_ended(attempt, finished.outcome, why, finished.time)
            case JobEnded(lost_input=True) if not (attempt.ended or attempt.stopping):
                self._submit_again(attempt)
            case JobEnded() as job:
                self._writer.drop_parts(paths.attempt_folder(self._writer.folder, attempt.task.name, attempt.number))
                if not attempt.ended:
                    self._sweep(attempt)
                    outcome, why = attempt.verdict_of_death(job)
                    self._attempt_ended(attempt, outcome, why, self._clock())
                del self._live[event.key]
                self._watched.pop(event.key, None)

    def _sweep(self, attempt: LiveAttempt) -> None:
        """Its worker did not come to do it."""
        folder = paths.attempt_folder(self._writer.folder, attempt.task.name, attempt.number)
        try:
            sweep_after_death(folder, self._redactor)
        except OSError as error:
            message = self._redactor.text(f"secrets may be left in the files of {attempt.key}: {error}")
            self._say(events.Warned(time=self._clock(), message=message))

    def _attempt_ended(
        self, attempt: LiveAttempt, outcome: Outcome, why: Failure | None, end: datetime, *, retry: bool = True
    ) -> None:
        name = attempt.task.name
        why = self._redactor.failure(why)
        attempt.ended = True
        end = max(end, attempt.start or end)  # the clock may have been set back meanwhile
        if not attempt.stopping:
            attempt.force_at = None
        verdict = AttemptVerdict(
            number=attempt.number, outcome=outcome, start=attempt.start, end=end, error=Error.of(why)
        )
        self._verdicts.setdefault(name, []).append(verdict)
        is_page_wanted = self._record.settings.html and attempt.start is not None
        if is_page_wanted and isinstance(attempt.task.source, NotebookSource):
            self._make_page(name, attempt.number, outcome, why)
        now = time.monotonic()
        if outcome is Outcome.TIMED_OUT and attempt.run_limited and self._limit is not None and not self._limit.over:
            self._time_is_over(self._limit)  # its worker noticed first
        decisions = self._plan.ended(name, outcome, now, retry=retry, draw=self._chance())
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
        self._settled[name] = status
        now = self._clock()
        if name not in self._earlier.untouched:
            verdicts = self._verdicts.get(name, [])
            self._settled_records.append(task_record(self._planned[name], status, verdicts, blocked_by))
        self._say(events.TaskSettled(time=now, task=name, status=status, blocked_by=blocked_by))

    def _watch_clocks(self) -> None:
        """End the process of an attempt that is past its time and did not end by itself."""
        now = time.monotonic()
        for attempt in list(self._watched.values()):
            if attempt.force_at is not None and now >= attempt.force_at:
                attempt.force_at = None
                self._engine.cancel(attempt.key, force=True)
        if self._limit is not None and not self._limit.over and now >= self._limit.at:
            self._time_is_over(self._limit)
        self._beat(now)

    def _beat(self, now: float) -> None:
        if now - self._touched > HEARTBEAT_S:
            self._touched = now
            self._writer.touch()

    def _time_is_over(self, limit: RunLimit) -> None:
        """The run's own limit: attempts end themselves as at a task's timeout, and nothing more starts."""
        limit.over = True
        self._say(events.Warned(time=self._clock(), message=f"{limit.words}: what runs is ended, nothing more starts"))
        self._carry_out(self._plan.start_no_more())
        for attempt in list(self._live.values()):
            if attempt.start is None and not attempt.stopping:
                attempt.stop_reason = f"{limit.words} before it started"
                self._stop(attempt.key)

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
        self._watched.clear()

    def end(self) -> RunStatus:
        """Wait for the last pages, and record how the run ended."""
        end = max(self._clock(), self._started)
        for said in self._pages.finish(self._while_pages_are_made):
            if isinstance(said, PageProblem):
                message = self._redactor.text(f"no HTML page of {said.key}: {said.problem}")
                self._say(events.Warned(time=self._clock(), message=message))
            else:
                self._tell(events.PagesBeingMade(time=self._clock(), left=said.left, total=said.total))
        succeeded = all(status.is_success for status in self._settled.values())
        status = RunStatus.SUCCEEDED if succeeded else RunStatus.CANCELLED if self._cancelled else RunStatus.FAILED
        self._say(events.RunEnded(time=end, status=status))
        self._writer.end(self._record.model_copy(update={"status": status, "end": end}))
        return status

    def _while_pages_are_made(self) -> float | None:
        """For how long a user waits for the next page: not for long who has cancelled the run, or its pages now."""
        self._beat(time.monotonic())
        return CANCEL_GRACE_S if self._cancelled or self._interrupts.count else None

    def _say(self, event: events.RecordedEvent) -> None:
        self._writer.event(event)
        self._tell(event)

    def _tell(self, event: events.Event) -> None:
        for listener in self._listeners:
            listener(event)
