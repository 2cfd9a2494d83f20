"""Which attempts may start now, what is retried, what a failure blocks: a pure state machine.

Nothing here reads a clock, touches a disk or starts a process. The runner tells what happened and when (seconds on any
monotonic clock) and gets decisions back. Over a whole run the work is proportional to tasks plus edges.
"""

import heapq
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pynb_dag_runner.outcome import Outcome, TaskStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryRule:
    """How often and after how many seconds a task is tried again.

    Attributes:
        retries: further attempts after the first one.
        delay_s: seconds before the first of them.
        backoff: factor by which the delay grows with each further attempt.
        max_delay_s: the delay grows no further, chance included; None: no limit.
        jitter: largest share of the delay, from 0 to 1, that chance adds or takes away, so that tasks that failed
            together do not all come back together.
        attempts_before: attempts from before the run was resumed: they take numbers, but no retries.
    """

    retries: int = 0
    delay_s: float = 0.0
    backoff: float = 1.0
    max_delay_s: float | None = None
    jitter: float = 0.0
    attempts_before: int = 0

    def wait_s(self, number: int, draw: float) -> float:
        """Seconds between the end of attempt ``number`` and the start of the next one.

        Args:
            draw: from 0 to 1, by chance; 0.5 changes nothing.
        """
        most = math.inf if self.max_delay_s is None else self.max_delay_s
        try:
            wait = self.delay_s * self.backoff ** (number - self.attempts_before - 1)
        except OverflowError:
            wait = math.inf
        return min(most, wait * (1 + self.jitter * (2 * draw - 1)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Start this attempt now."""

    task: str
    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """The attempt that just ended is followed by another one at ``at`` (seconds, the caller's clock)."""

    task: str
    number: int
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Settle:
    """The task has its final status."""

    task: str
    status: TaskStatus
    blocked_by: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """End this running attempt; the plan expects to be told that it ended."""

    task: str
    number: int


Decision = Start | Retry | Settle | Stop


class Plan:
    """The state of one run.

    Args:
        upstream: for each task the names of those it waits for; free of cycles.
        rules: retries of tasks; a task without a rule is tried once.
        fail_fast: cancel everything else as soon as a task did not succeed.
        reused: tasks that are taken over from before the run was resumed, with all that they need.
    """

    def __init__(
        self,
        upstream: Mapping[str, Iterable[str]],
        rules: Mapping[str, RetryRule],
        *,
        fail_fast: bool = False,
        reused: Collection[str] = (),
    ) -> None:
        self._rules = rules
        self._fail_fast = fail_fast
        self._reused = frozenset(reused)
        self._order = {name: position for position, name in enumerate(upstream)}
        self._downstream: dict[str, list[str]] = {name: [] for name in upstream}
        self._missing: dict[str, int] = {}  # of the tasks that each one waits for
        for name, needed in upstream.items():
            found = 0
            for other in needed:
                self._downstream[other].append(name)
                found += 1
            self._missing[name] = found
        self._unsettled = dict.fromkeys(upstream)
        self._running: dict[str, int] = {}
        self._retries: list[tuple[float, int, str, int]] = []
        self._cancelled = False

    @property
    def done(self) -> bool:
        """Every task has its final status."""
        return not self._unsettled

    @property
    def next_retry_at(self) -> float | None:
        """When :meth:`due` has something to say again; None if no retry waits."""
        return self._retries[0][0] if self._retries else None

    def begin(self) -> list[Decision]:
        """The first decisions. Tasks that are taken over are settled before any other starts."""
        ready = [name for name, missing in self._missing.items() if not missing]
        return sorted(self._ready(ready), key=lambda decision: isinstance(decision, Start))

    def due(self, now: float) -> list[Decision]:
        """Attempts whose retry delay is over."""
        decisions: list[Decision] = []
        while self._retries and self._retries[0][0] <= now:
            _, _, task, number = heapq.heappop(self._retries)
            decisions.append(self._start(task, number))
        return decisions

    def ended(
        self, task: str, outcome: Outcome, now: float, *, retry: bool = True, draw: float = 0.5
    ) -> list[Decision]:
        """The running attempt of ``task`` ended.

        Args:
            retry: False where another attempt could only end in the same way.
            draw: a number from 0 to 1, by chance, for a retry's delay.
        """
        number = self._running.pop(task)
        if outcome is Outcome.SUCCEEDED:
            return [self._settle(task, TaskStatus.SUCCEEDED), *self._ready(self._freed_by(task))]
        rule = self._rule(task)
        again = retry and not self._cancelled and outcome is not Outcome.CANCELLED
        if again and number - rule.attempts_before <= rule.retries:
            at = now + rule.wait_s(number, draw)
            heapq.heappush(self._retries, (at, self._order[task], task, number + 1))
            return [Retry(task=task, number=number, at=at)]
        decisions: list[Decision] = [self._settle(task, TaskStatus(outcome.value)), *self._skip_below(task)]
        if self._fail_fast and not self._cancelled:
            decisions += self.cancel()
        return decisions

    def cancel(self) -> list[Decision]:
        """Start nothing more, stop what runs. Tasks that were waiting are CANCELLED at once."""
        stops = [Stop(task=task, number=number) for task, number in self._running.items()]
        return [*self.start_no_more(), *stops]

    def start_no_more(self) -> list[Decision]:
        """Tasks that were waiting are CANCELLED at once; what runs is left to end by itself."""
        self._cancelled = True
        self._retries.clear()
        waiting = [name for name in self._unsettled if name not in self._running]
        return [self._settle(name, TaskStatus.CANCELLED) for name in waiting]

    def _freed_by(self, task: str) -> list[str]:
        """Tasks that waited for nothing else than ``task``, in plan order."""
        freed = []
        for name in self._downstream[task]:
            self._missing[name] -= 1
            if not self._missing[name]:
                freed.append(name)
        return freed

    def _ready(self, ready: list[str]) -> list[Decision]:
        """Start these tasks; those that are taken over are settled, and what they free comes after."""
        if self._cancelled:
            return []
        decisions: list[Decision] = []
        while ready:
            freed: list[str] = []
            for task in ready:
                if task in self._reused:
                    decisions.append(self._settle(task, TaskStatus.REUSED))
                    freed += self._freed_by(task)
                else:
                    decisions.append(self._start(task, self._rule(task).attempts_before + 1))
            ready = sorted(freed, key=self._order.__getitem__)
        return decisions

    def _rule(self, task: str) -> RetryRule:
        return self._rules.get(task, RetryRule())

    def _start(self, task: str, number: int) -> Start:
        self._running[task] = number
        return Start(task=task, number=number)

    def _settle(self, task: str, status: TaskStatus, blocked_by: str | None = None) -> Settle:
        del self._unsettled[task]
        return Settle(task=task, status=status, blocked_by=blocked_by)

    def _skip_below(self, task: str) -> list[Settle]:
        """Settle everything that needs ``task``, directly or not; each task is visited once in a run."""
        settled = []
        stack = list(reversed(self._downstream[task]))
        while stack:
            name = stack.pop()
            if name in self._unsettled:
                settled.append(self._settle(name, TaskStatus.SKIPPED, blocked_by=task))
                stack.extend(reversed(self._downstream[name]))
        return settled
