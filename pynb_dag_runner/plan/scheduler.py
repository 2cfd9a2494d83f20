"""Decide which attempts start now, what is retried, and what a failure blocks: a pure state machine.

Nothing here reads a clock, touches a disk or starts a process. The runner tells what happened and when (seconds on any
monotonic clock) and gets decisions back. Over a whole run the work is proportional to tasks plus edges.
"""

import heapq
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from pynb_dag_runner.model.outcomes import Outcome, TaskStatus


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


@dataclass(eq=False, slots=True)
class _Node:
    """A task as the plan sees it. Nodes know each other: with a million tasks, looking each up by its name takes longer
    than all the rest, since it is somewhere else in memory every time.

    Attributes:
        position: in the order of definition.
        missing: how many of the tasks that it waits for have not succeeded yet.
        running: number of its running attempt; 0: there is none.
    """

    name: str
    position: int
    rule: RetryRule
    is_reused: bool
    missing: int = 0
    running: int = 0
    is_settled: bool = False
    downstream: "list[_Node]" = field(default_factory=list)


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
        self._fail_fast = fail_fast
        reused, once = frozenset(reused), RetryRule()
        self._nodes = {
            name: _Node(name, position, rules.get(name, once), name in reused) for position, name in enumerate(upstream)
        }
        for node, needed in zip(self._nodes.values(), upstream.values(), strict=True):
            for other in needed:
                self._nodes[other].downstream.append(node)
                node.missing += 1
        self._unsettled = len(self._nodes)
        self._retries: list[tuple[float, int, _Node, int]] = []
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
        ready = [node for node in self._nodes.values() if not node.missing]
        return sorted(self._ready(ready), key=lambda decision: isinstance(decision, Start))

    def due(self, now: float) -> list[Decision]:
        """Attempts whose retry delay is over."""
        decisions: list[Decision] = []
        while self._retries and self._retries[0][0] <= now:
            _, _, node, number = heapq.heappop(self._retries)
            decisions.append(_start(node, number))
        return decisions

    def ended(
        self, task: str, outcome: Outcome, now: float, *, retry: bool = True, draw: float = 0.5
    ) -> list[Decision]:
        """The running attempt of ``task`` ended.

        Args:
            retry: False where another attempt could only end in the same way.
            draw: a number from 0 to 1, by chance, for a retry's delay.

        Raises:
            KeyError: no attempt of it runs.
        """
        node = self._nodes[task]
        number, node.running = node.running, 0
        if not number:
            raise KeyError(task)
        if outcome is Outcome.SUCCEEDED:
            return [self._settle(node, TaskStatus.SUCCEEDED), *self._ready(_freed_by(node))]
        again = retry and not self._cancelled and outcome is not Outcome.CANCELLED
        if again and number - node.rule.attempts_before <= node.rule.retries:
            at = now + node.rule.wait_s(number, draw)
            heapq.heappush(self._retries, (at, node.position, node, number + 1))
            return [Retry(task=task, number=number, at=at)]
        decisions: list[Decision] = [self._settle(node, TaskStatus(outcome.value)), *self._skip_below(node)]
        if self._fail_fast and not self._cancelled:
            decisions += self.cancel()
        return decisions

    def cancel(self) -> list[Decision]:
        """Start nothing more, stop what runs. Tasks that were waiting are CANCELLED at once."""
        stops = [Stop(task=node.name, number=node.running) for node in self._nodes.values() if node.running]
        return [*self.start_no_more(), *stops]

    def start_no_more(self) -> list[Decision]:
        """Tasks that were waiting are CANCELLED at once; what runs is left to end by itself."""
        self._cancelled = True
        self._retries.clear()
        waiting = [node for node in self._nodes.values() if not (node.is_settled or node.running)]
        return [self._settle(node, TaskStatus.CANCELLED) for node in waiting]

    def _ready(self, ready: list[_Node]) -> list[Decision]:
        """Start these tasks; those that are taken over are settled, and what they free comes after."""
        if self._cancelled:
            return []
        decisions: list[Decision] = []
        while ready:
            freed: list[_Node] = []
            for node in ready:
                if node.is_reused:
                    decisions.append(self._settle(node, TaskStatus.REUSED))
                    freed += _freed_by(node)
                else:
                    decisions.append(_start(node, node.rule.attempts_before + 1))
            ready = sorted(freed, key=lambda node: node.position)
        return decisions

    def _settle(self, node: _Node, status: TaskStatus, blocked_by: str | None = None) -> Settle:
        node.is_settled = True
        self._unsettled -= 1
        return Settle(task=node.name, status=status, blocked_by=blocked_by)

    def _skip_below(self, failed: _Node) -> list[Settle]:
        """Settle everything that needs a task, directly or not; each task is visited once in a run."""
        settled = []
        stack = failed.downstream[::-1]
        while stack:
            node = stack.pop()
            if not node.is_settled:
                settled.append(self._settle(node, TaskStatus.SKIPPED, blocked_by=failed.name))
                stack += node.downstream[::-1]
        return settled


def _start(node: _Node, number: int) -> Start:
    node.running = number
    return Start(task=node.name, number=number)


def _freed_by(node: _Node) -> list[_Node]:
    """Tasks that waited for nothing else than this one, in plan order."""
    freed = []
    for other in node.downstream:
        other.missing -= 1
        if not other.missing:
            freed.append(other)
    return freed
