"""A clock that a test moves and an engine that follows a script: a run of the loop takes milliseconds.

Time passes only while the loop waits for the engine, and as fast as the loop lets it: to the next thing that the script
lets happen, or to the end of the wait.
"""

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pynb_dag_runner import Pipeline, events
from pynb_dag_runner.execute.context import RunContext
from pynb_dag_runner.execute.journal import Journal
from pynb_dag_runner.execute.loop import RunLoop, TasksEnded
from pynb_dag_runner.execute.resume_state import Earlier
from pynb_dag_runner.execute.run_records import planned_tasks
from pynb_dag_runner.execute.signals import Interrupts
from pynb_dag_runner.executors.base import (
    EngineLost,
    Handle,
    Job,
    JobEnded,
    JobEvent,
    JobKept,
    JobMessage,
    JobStarted,
    Keep,
    Resources,
)
from pynb_dag_runner.executors.project import PackedProject
from pynb_dag_runner.model.graph import Dag
from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.reports.pages.queue import PageProblem, Pages, PagesLeft
from pynb_dag_runner.run_folder.records import ResumeRecord, RunRecord
from pynb_dag_runner.run_folder.writer import RunWriter
from pynb_dag_runner.secrets.masking import NO_SECRETS, Redactor
from pynb_dag_runner.worker.messages import AttemptBegan, AttemptFinished
from tests.factories import START, make_driver, make_run_record

_ALMOST_S = 1e-9
"""Sums of seconds are not exact."""
_MOST_WAITS = 2_000
"""A loop that waits more often waits for what will never happen."""


class FakeClock:
    """Says what it was told. The time of day can be set back; the other clock only goes forward."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.set_back_s = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds - self.set_back_s)

    def monotonic(self) -> float:
        return 1000 + self.seconds


Say = Callable[[datetime], object]
"""Makes what a job says, from the time; or does something else, such as pressing Ctrl-C, and returns None."""
Script = Sequence[tuple[float, Say]]
"""What a job does: how many seconds after it was submitted, or asked to stop, and what."""


def started(now: datetime) -> object:
    """Its process has it."""
    return JobStarted(key="", host="there", pid=7)


def began(now: datetime) -> object:
    """The task itself begins."""
    return AttemptBegan(time=now, pid=7)


def finished(outcome: Outcome = Outcome.SUCCEEDED, why: str = "", **outputs: Any) -> Say:
    """The task itself is over."""
    failure = Failure(kind="Error", message=why) if why else None
    return lambda now: AttemptFinished(time=now, outcome=outcome, failure=failure, outputs=outputs)


def ended(**how: Any) -> Say:
    """The job is over."""
    return lambda now: JobEnded(key="", **how)


def says(message: object) -> Say:
    """Any message."""
    return lambda now: message


def succeeds(after: float = 1, **outputs: Any) -> Script:
    return [(0, started), (0, began), (after, finished(**outputs)), (after, ended())]


def fails(after: float = 1, outcome: Outcome = Outcome.FAILED, why: str = "no") -> Script:
    return [(0, started), (0, began), (after, finished(outcome, why)), (after, ended())]


def hangs() -> Script:
    return [(0, started), (0, began)]


def dies(after: float = 1, death: str = "killed by SIGKILL", **how: Any) -> Script:
    return [(0, started), (0, began), (after, ended(death=death, **how))]


class FakeEngine:
    """Runs no job: it lets happen what the scripts say. A job without a script succeeds after a second.

    Args:
        trace: gets a line for each call.
        scripts: what happens once a job was submitted, by its key.
        when_cancelled: what happens once it was asked to stop; by default nothing, until it is ended by force.
    """

    def __init__(
        self,
        clock: FakeClock,
        trace: Callable[[str], None],
        scripts: Mapping[str, Script],
        when_cancelled: Mapping[str, Script],
        capacity: float = 100,
    ) -> None:
        self.in_process = False
        self.jobs: list[Job] = []
        self.is_closed = False
        self._clock = clock
        self._trace = trace
        self.scripts = {key: [script] for key, script in scripts.items()}
        self._when_cancelled = when_cancelled
        self._capacity = capacity
        self._coming: list[tuple[float, int, str, Say]] = []
        self._number = itertools.count()
        self._waits = 0

    def capacity(self) -> tuple[Resources, ...]:
        return (Resources(num_cpus=self._capacity),)

    def share(self, project: Callable[[], PackedProject]) -> tuple[str, ...]:
        return ()

    def submit(self, job: Job) -> None:
        given = f" with {', '.join(map(str, job.inputs))}" if job.inputs else ""
        self._trace(f"submit {job.key}{given}")
        self.jobs.append(job)
        scripts = self.scripts.get(job.key, [succeeds()])
        self._follow(job.key, scripts.pop(0) if len(scripts) > 1 else scripts[0])

    def put(self, value: Any) -> Handle:
        return Handle(f"put {value}")

    def wait(self, timeout_s: float) -> list[JobEvent]:
        assert timeout_s >= 0
        self._waits += 1
        assert self._waits < _MOST_WAITS, "nothing happens any more"
        happened: list[JobEvent] = []
        until = self._clock.seconds + timeout_s
        if self._coming and self._coming[0][0] <= until + _ALMOST_S:
            until = max(self._clock.seconds, self._coming[0][0])
        self._clock.seconds = until
        while self._coming and self._coming[0][0] <= until + _ALMOST_S:
            _, _, key, say = heapq.heappop(self._coming)
            said = say(self._clock.now())
            if said is not None:
                happened.append(_event(key, said))
        return happened

    def cancel(self, key: str, *, force: bool = False) -> None:
        self._trace(f"{'force' if force else 'cancel'} {key}")
        self._follow(key, [(0, ended(death="killed by SIGKILL"))] if force else self._when_cancelled.get(key, ()))

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True
        self._trace("close the engine")

    def let(self, script: Script) -> None:
        """Let something happen that no job does; seconds are those of the run."""
        self._follow("", script)

    def _follow(self, key: str, script: Script) -> None:
        for after, say in script:
            heapq.heappush(self._coming, (self._clock.seconds + after, next(self._number), key, say))


def _event(key: str, said: object) -> JobEvent:
    if isinstance(said, JobStarted | JobEnded):
        return replace(said, key=said.key or key)
    if isinstance(said, JobMessage | JobKept):
        return said
    return JobKept(key=key, handle=Handle(said.value)) if isinstance(said, Keep) else JobMessage(key=key, message=said)


def engine_lost(now: datetime) -> object:
    """The engine is gone."""
    raise EngineLost("the node is gone")


class FakePages(Pages):
    """Makes no page, and says what it was told to.

    Attributes:
        asked: titles of the pages that were asked for, with the attempt.
        patience_s: what it was told each time that it asked how long to wait.
    """

    def __init__(self, clock: FakeClock, says: Sequence[tuple[float, PageProblem | PagesLeft]] = ()) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.patience_s: list[float | None] = []
        self._clock = clock
        self._says = says

    def make(self, key: str, *details: Any, **more: Any) -> None:
        self.asked.append(key)

    def finish(self, patience_s: Callable[[], float | None] = lambda: None) -> Iterator[PageProblem | PagesLeft]:
        for after, said in self._says:
            self._clock.seconds += after
            self.patience_s.append(patience_s())
            yield said


class WatchedWriter(RunWriter):
    """Says when it shows that the driver is alive."""

    on_touch: Callable[[], None]

    def touch(self) -> None:
        self.on_touch()
        super().touch()


@dataclass
class Stage:
    """A loop with all that it needs, and what came of it.

    Args:
        folder: for the run folder; made here.
        pipeline: what runs.
        settings: of the run.
        scripts, when_cancelled: see :class:`FakeEngine`.
        earlier, attempts_before: of a resumed run; None: the run is new.
        notes: what is said before the first task.
        redactor: knows the secrets.
        chance: what is drawn for retries, from 0 to 1.
    """

    folder: Path
    pipeline: Pipeline
    scripts: Mapping[str, Script] = field(default_factory=dict)
    when_cancelled: Mapping[str, Script] = field(default_factory=dict)
    settings: RunSettings = field(default_factory=lambda: RunSettings(executor="process"))
    earlier: Earlier = field(default_factory=Earlier)
    attempts_before: Mapping[str, int] | None = None
    notes: Sequence[str] = ()
    redactor: Redactor = NO_SECRETS
    chance: float = 0.5

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.trace: list[str] = []
        self.signs_of_life: list[float] = []
        self.heard: list[events.Event] = []
        self.interrupts = Interrupts()
        self.pages = FakePages(self.clock)
        self.engine = FakeEngine(self.clock, self.note, self.scripts, self.when_cancelled)

    def run(self) -> TasksEnded:
        """Run the loop to its end."""
        dag = self.pipeline.build()
        record = self._record(dag)
        (self.folder / "tasks").mkdir(exist_ok=True)
        context = RunContext(
            dag=dag,
            folder=self.folder,
            record=record,
            base_dir=self.folder,
            clock=self.clock,
            listeners=[self.listen],
            redactor=self.redactor,
            earlier=self.earlier,
            notes=self.notes,
            chance=lambda: self.chance,
        )
        writer = WatchedWriter(self.folder, record)
        writer.on_touch = lambda: self.signs_of_life.append(self.clock.seconds)
        try:
            return RunLoop(context, self.engine, Journal(context, writer), self.pages, self.interrupts).run_tasks()
        finally:
            writer.close()

    def script(self, key: str, *scripts: Script) -> None:
        """Say what a job does the first time that it is submitted, the second time, and so on."""
        self.engine.scripts[key] = list(scripts)

    def _record(self, dag: Dag) -> RunRecord:
        planned = planned_tasks(dag, self.folder)
        if self.attempts_before is None:
            return make_run_record(*planned, status="RUNNING", end=None, settings=self.settings)
        numbered = [
            task.model_copy(update={"attempts_before": self.attempts_before.get(task.name, 0)}) for task in planned
        ]
        resume = ResumeRecord(start=START, previous_status=RunStatus.FAILED, previous_end=START, driver=make_driver())
        return make_run_record(*numbered, status="RUNNING", end=None, settings=self.settings, resumes=(resume,))

    def press_ctrl_c(self, now: datetime) -> None:
        """For a script."""
        self.interrupts.count += 1

    def set_back(self, seconds: float) -> Say:
        """For a script: somebody sets the clock."""

        def set_clock(now: datetime) -> None:
            self.clock.set_back_s = seconds

        return set_clock

    def note(self, what: str) -> None:
        self.trace.append(f"{self.clock.seconds:g} {what}")

    def listen(self, event: events.Event) -> None:
        self.heard.append(event)
        if (said := _said(event)) is not None:
            self.note(said)


def _said(event: events.Event) -> str | None:
    """An event in few words; times are said by whoever notes it."""
    match event:
        case events.AttemptStarted(task=task, number=number):
            return f"{task}#{number} starts"
        case events.AttemptEnded(task=task, number=number, outcome=outcome, retry_at=retry_at, time=time):
            after = f", again in {(retry_at - time).total_seconds():g} s" if retry_at else ""
            why = f": {event.failure.message}" if event.failure else ""
            return f"{task}#{number} {outcome}{why}{after}"
        case events.TaskSettled(task=task, status=status, blocked_by=blocked_by):
            return f"{task} is {status}{f' by {blocked_by}' if blocked_by else ''}"
        case events.Warned(message=message):
            return f"warning: {message}"
        case events.AttemptWaits(task=task, reason=reason):
            return f"{task} waits: {reason}"
        case events.PagesBeingMade(left=left, total=total):
            return f"{left} of {total} pages left"
    return None
