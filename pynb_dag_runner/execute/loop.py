"""The loop of a run: it turns the plan's decisions into jobs, and what becomes of the jobs into decisions."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pynb_dag_runner import events
from pynb_dag_runner.execute import attempts
from pynb_dag_runner.execute.attempts import LiveAttempt, RunLimit
from pynb_dag_runner.execute.context import RunContext
from pynb_dag_runner.execute.journal import Journal
from pynb_dag_runner.execute.resume_state import resumed_event, task_record
from pynb_dag_runner.execute.signals import Interrupts
from pynb_dag_runner.execute.submission import MissingInputError, Submission
from pynb_dag_runner.executors.base import (
    Executor,
    JobEnded,
    JobEvent,
    JobKept,
    JobMessage,
    JobStarted,
    LimitsOver,
    Waits,
)
from pynb_dag_runner.model.graph import NotebookSource
from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.plan.scheduler import Decision, Plan, Retry, Settle, Start, Stop
from pynb_dag_runner.reports.pages.queue import Pages
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.records import AttemptVerdict, Error, TaskRecord
from pynb_dag_runner.secrets.files import sweep_after_death
from pynb_dag_runner.worker.failures import failure
from pynb_dag_runner.worker.messages import AttemptBegan, AttemptFinished, FilePart

LONGEST_WAIT_S = 0.25
"""How late a Ctrl-C may be noticed: Ray's wait gives way to signal handlers only when it returns."""
CANCEL_GRACE_S = 2.0
"""What a cancelled attempt gets to save its notebook before its process is ended."""


@dataclass(frozen=True, kw_only=True)
class TasksEnded:
    """How the tasks of a run ended.

    Attributes:
        statuses: by task.
        cancelled: somebody asked for the end of the run.
        time: when.
    """

    statuses: Mapping[str, TaskStatus]
    cancelled: bool
    time: datetime

    @property
    def run_status(self) -> RunStatus:
        """What that makes of the run."""
        if all(status.is_success for status in self.statuses.values()):
            return RunStatus.SUCCEEDED
        return RunStatus.CANCELLED if self.cancelled else RunStatus.FAILED


class RunLoop:
    """Runs all tasks, once.

    Args:
        engine: executes jobs; closed by the caller.
        pages: makes pages of notebooks while the run goes on.
        interrupts: requests to stop.
    """

    def __init__(
        self, context: RunContext, engine: Executor, journal: Journal, pages: Pages, interrupts: Interrupts
    ) -> None:
        self._context = context
        self._clock = context.clock
        self._engine = engine
        self._journal = journal
        self._pages = pages
        self._interrupts = interrupts
        self._submission = Submission(context, engine)
        self._planned = {planned.name: planned for planned in context.record.tasks}
        self._plan = Plan(
            context.dag.upstream,
            {name: planned.options for name, planned in self._planned.items()},
            attempts_before={name: planned.attempts_before for name, planned in self._planned.items()},
            fail_fast=context.settings.fail_fast,
            reused=context.earlier.reused,
        )
        self._limit = RunLimit.of(context.settings.timeout_s, context.clock)
        self._decisions: deque[Decision] = deque()
        self._live: dict[str, LiveAttempt] = {}
        self._watched: dict[str, LiveAttempt] = {}  # of these, those whose process may have to be ended: they run
        self._verdicts = {name: list(verdicts) for name, verdicts in context.earlier.verdicts.items()}
        self._settled: dict[str, TaskStatus] = {}
        self._settled_records: deque[TaskRecord] = deque()
        self._cancelled = False

    def run_tasks(self) -> TasksEnded:
        """Run until every task is settled and every worker has finished its files; the engine may go then.

        Raises:
            EngineLost: the engine is gone, with all jobs.
        """
        self._begin()
        self._carry_out(self._plan.begin())
        while not self._plan.done or self._live:
            for event in self._engine.wait(self._wait_s()):
                self._take(event)
            self._carry_out(self._plan.due(self._clock.monotonic()))
            self._watch_clocks()
            self._journal.beat()
            if self._interrupts.count and not self._cancelled:
                self._cancel()
            if self._interrupts.count > 1:
                self._abandon()
        end = max(self._clock.now(), self._context.started)
        return TasksEnded(statuses=self._settled, cancelled=self._cancelled, time=end)

    def _begin(self) -> None:
        """Say that the run starts or goes on, take over what there is of it, and say what the user should know."""
        record, earlier = self._context.record, self._context.earlier
        if record.resumes:
            self._journal.say(resumed_event(record))
            for end in earlier.ends:
                self._journal.writer.event(end)
            self._submission.take_over()
            for page in earlier.pages_missing:
                self._make_page(page.task, page.number, page.outcome, page.failure)
        else:
            names = tuple(task.name for task in self._context.dag.tasks)
            run = {"pipeline": record.pipeline, "run_id": record.run_id}
            self._journal.say(events.RunStarted(time=record.start, tasks=names, **run))
        for note in self._context.notes:
            self._journal.warn(note)

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        """Do what the plan decided, and what follows from that."""
        self._decisions.extend(decisions)
        while self._decisions:
            match self._decisions.popleft():
                case Start(task=name, number=number):
                    self._start(name, number)
                case Settle(task=name, status=status, blocked_by=blocked_by):
                    self._settle(name, status, blocked_by)
                case Stop(task=name, number=number):
                    self._stop(f"{name}#{number}")
                case Retry():
                    pass  # told to listeners with the end of the attempt before it
        # Last, since what starts now does not wait for it: the end of the attempt stands in the events already.
        while self._settled_records:
            self._journal.writer.task(self._settled_records.popleft())

    def _start(self, name: str, number: int) -> None:
        task = self._context.dag.by_name[name]
        attempt = LiveAttempt(task=task, number=number, queued=self._clock.now(), limit=self._limit)
        self._live[attempt.key] = attempt
        try:
            self._submission.submit(attempt)
        except MissingInputError as error:
            self._fail_before_start(attempt, error)

    def _fail_before_start(self, attempt: LiveAttempt, error: MissingInputError) -> None:
        """What the attempt needs is not there; another attempt would not have it either."""
        why = failure("MissingOutput", str(error), redactor=self._context.redactor)
        self._attempt_ended(attempt, Outcome.FAILED, why, self._clock.now(), retry=False)
        del self._live[attempt.key]

    def _settle(self, name: str, status: TaskStatus, blocked_by: str | None) -> None:
        self._settled[name] = status
        now = self._clock.now()
        if name not in self._context.earlier.untouched:
            verdicts = self._verdicts.get(name, [])
            self._settled_records.append(task_record(self._planned[name], status, verdicts, blocked_by))
        self._journal.say(events.TaskSettled(time=now, task=name, status=status, blocked_by=blocked_by))

    def _stop(self, key: str) -> None:
        attempt = self._live.get(key)
        if attempt is not None:
            attempt.stopping = True
            attempt.force_at = self._clock.monotonic() + CANCEL_GRACE_S
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
                self._submission.take_kept(attempt, handle)
            case JobMessage(message=AttemptBegan(time=start, pid=pid)) if not attempt.ended:
                attempt.began(start, pid, self._clock.monotonic())
                self._watched[event.key] = attempt
                self._journal.say(attempt.started(start))
            case JobMessage(message=Waits(what=what)):
                self._journal.tell(attempt.waits(self._clock.now(), what))
            case JobMessage(message=LimitsOver()):
                if not attempt.stopping:
                    attempt.force_at = None
            case JobMessage(message=FilePart() as part):
                self._journal.writer.part(self._folder(attempt), part.path, part.data, last=part.last)
            case JobMessage(message=AttemptFinished() as finished) if not attempt.ended:
                self._submission.take_outputs(attempt, finished)
                why = attempt.explained(finished.outcome, finished.failure)
                self._attempt_ended(attempt, finished.outcome, why, finished.time)
            case JobEnded(lost_input=True) if not (attempt.ended or attempt.stopping):
                try:
                    self._submission.submit_again(attempt)
                except MissingInputError as error:
                    self._fail_before_start(attempt, error)
            case JobEnded() as job:
                self._job_ended(attempt, job)

    def _job_ended(self, attempt: LiveAttempt, job: JobEnded) -> None:
        """Nothing more comes from the attempt; if it did not say how it ended, its process died."""
        self._journal.writer.drop_parts(self._folder(attempt))
        if not attempt.ended:
            self._sweep(attempt)
            outcome, why = attempt.verdict_of_death(job, self._context.redactor)
            self._attempt_ended(attempt, outcome, why, self._clock.now())
        del self._live[attempt.key]
        self._watched.pop(attempt.key, None)

    def _sweep(self, attempt: LiveAttempt) -> None:
        """Take secrets out of the attempt's files, which its worker did not come to do."""
        try:
            sweep_after_death(self._folder(attempt), self._context.redactor)
        except OSError as error:
            self._journal.warn(f"secrets may be left in the files of {attempt.key}: {error}")

    def _attempt_ended(
        self, attempt: LiveAttempt, outcome: Outcome, why: Failure | None, end: datetime, *, retry: bool = True
    ) -> None:
        name = attempt.task.name
        attempt.ended = True
        end = max(end, attempt.start or end)  # the clock may have been set back meanwhile
        if not attempt.stopping:
            attempt.force_at = None
        verdict = AttemptVerdict(
            number=attempt.number, outcome=outcome, start=attempt.start, end=end, error=Error.of(why)
        )
        self._verdicts.setdefault(name, []).append(verdict)
        is_page_wanted = self._context.settings.html and attempt.start is not None
        if is_page_wanted and isinstance(attempt.task.source, NotebookSource):
            self._make_page(name, attempt.number, outcome, why)
        now = self._clock.monotonic()
        if outcome is Outcome.TIMED_OUT and attempt.run_limited and self._limit is not None and not self._limit.over:
            self._time_is_over(self._limit)  # its worker noticed first
        decisions = self._plan.ended(name, outcome, now, retry=retry, draw=self._context.chance())
        retry_at = next((decision.at for decision in decisions if isinstance(decision, Retry)), None)
        self._journal.say(
            events.AttemptEnded(
                time=end,
                task=name,
                number=attempt.number,
                outcome=outcome,
                start=attempt.start,
                failure=why,
                retry_at=None if retry_at is None else self._clock.now() + timedelta(seconds=retry_at - now),
            )
        )
        self._decisions.extend(decisions)
        if outcome is Outcome.CANCELLED and not attempt.stopping:
            self._cancel()  # an inline task gets the user's Ctrl-C itself
        self._carry_out(())

    def _make_page(self, name: str, number: int, outcome: Outcome, why: Failure | None) -> None:
        folder, task = paths.attempt_folder(self._context.folder, name, number), self._context.dag.by_name.get(name)
        pictures = attempts.pictures_of(task, self._context.base_dir)
        self._pages.make(f"{name}#{number}", folder, name, outcome, why, pictures)

    def _folder(self, attempt: LiveAttempt) -> Path:
        return paths.attempt_folder(self._context.folder, attempt.task.name, attempt.number)

    def _wait_s(self) -> float:
        """For how long nothing is to be done, unless the engine has something to report."""
        now = self._clock.monotonic()
        moments = [attempt.force_at for attempt in self._watched.values() if attempt.force_at is not None]
        if (retry_at := self._plan.next_retry_at) is not None:
            moments.append(retry_at)
        if self._limit is not None and not self._limit.over:
            moments.append(self._limit.at)
        return max(0.0, min([LONGEST_WAIT_S, *(moment - now for moment in moments)]))

    def _watch_clocks(self) -> None:
        """End the process of an attempt that is past its time and did not end by itself."""
        now = self._clock.monotonic()
        for attempt in list(self._watched.values()):
            if attempt.force_at is not None and now >= attempt.force_at:
                attempt.force_at = None
                self._engine.cancel(attempt.key, force=True)
        if self._limit is not None and not self._limit.over and now >= self._limit.at:
            self._time_is_over(self._limit)

    def _time_is_over(self, limit: RunLimit) -> None:
        """The run's own limit: attempts end themselves as at a task's timeout, and nothing more starts."""
        limit.over = True
        self._journal.warn(f"{limit.words}: what runs is ended, nothing more starts")
        self._carry_out(self._plan.start_no_more())
        for attempt in list(self._live.values()):
            if attempt.start is None and not attempt.stopping:
                attempt.stop_reason = f"{limit.words} before it started"
                self._stop(attempt.key)

    def _cancel(self) -> None:
        """The first request to stop: nothing more starts, what runs may save its notebook."""
        self._cancelled = True
        self._carry_out(self._plan.cancel())
        for attempt in self._live.values():
            if attempt.ended:  # only its finishing work is under way; it may take as long as a cancelled one
                attempt.force_at = self._clock.monotonic() + CANCEL_GRACE_S

    def _abandon(self) -> None:
        """The second request to stop: do not wait for workers any more; closing the engine ends them."""
        for attempt in list(self._live.values()):
            if not attempt.ended:
                why = Failure(kind="Cancelled", message="the run was cancelled")
                self._attempt_ended(attempt, Outcome.CANCELLED, why, self._clock.now())
        self._live.clear()
        self._watched.clear()
