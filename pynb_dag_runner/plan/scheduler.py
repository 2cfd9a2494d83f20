"""Decide which attempts start now, what is retried, and what a failure blocks: a pure state machine.

Nothing here reads a clock, touches a disk or starts a process. The runner tells what happened and when (seconds on any
monotonic clock) and gets decisions back. Over a whole run the work is proportional to tasks plus edges.
"""

import heapq
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pynb_dag_runner.model.outcomes import Outcome, TaskStatus
from pynb_dag_runner.model.task_options import TaskOptions


def retry_delay_s(options: TaskOptions, number: int, draw: float) -> float:
    """Seconds between the end of a task's attempt and the start of the next one.

    Args:
        number: of the attempt that ended, counted from 1; attempts from before the run was resumed do not count.
        draw: from 0 to 1, by chance, so that tasks that failed together do not all come back together; 0.5 changes
            nothing.
    """
    most = math.inf if options.retry_max_delay_s is None else options.retry_max_delay_s
    try:
        delay = options.retry_delay_s * options.retry_backoff ** (number - 1)
    except OverflowError:
        delay = math.inf
    return min(most, delay * (1 + options.retry_jitter * (2 * draw - 1)))


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
        attempts_before: attempts from before the run was resumed: they take numbers, but no retries.
        missing: how many of the tasks that it waits for have not succeeded yet.
        running: number of its running attempt; 0: there is none.
    """

    name: str
    position: int
    options: TaskOptions
    attempts_before: int
    is_reused: bool
    missing: int = 0
    running: int = 0
    is_settled: bool = False
    downstream: "list[_Node]" = field(default_factory=list)


class Plan:
    """The state of one run.

    Args:
        upstream: for each task the names of those it waits for; free of cycles.
        options: of tasks, which say when a task is tried again; a task without them is tried once.
        attempts_before: how many attempts of a task were made before the run was resumed, where there were any.
        fail_fast: cancel everything else as soon as a task did not succeed.
        reused: tasks that are taken over from before the run was resumed, with all that they need.
    """

    def __init__(
        self,
        upstream: Mapping[str, Iterable[str]],
        options: Mapping[str, TaskOptions],
        *,
        attempts_before: Mapping[str, int] = MappingProxyType({}),
        fail_fast: bool = False,
        reused: Collection[str] = (),
    ) -> None:
        self._fail_fast = fail_fast
        reused, usual = frozenset(reused), TaskOptions()
        self._nodes = {
            name: _Node(name, position, options.get(name, usual), attempts_before.get(name, 0), name in reused)
            for position, name in enumerate(upstream)
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
        counted = number - node.attempts_before
        if again and counted <= node.options.retries:
            at = now + retry_delay_s(node.options, counted, draw)
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
                    decisions.append(_start(node, node.attempts_before + 1))
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
