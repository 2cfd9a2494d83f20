"""The scheduler without anything around it: ``python plan_alone.py NUMBER``; prints seconds and bytes as JSON."""

import json
import random
import sys
import time
import tracemalloc
from collections import deque

from pynb_dag_runner.model.outcomes import Outcome
from pynb_dag_runner.model.task_options import TaskOptions
from pynb_dag_runner.plan.scheduler import Plan, Start

LAYER, EDGES = 100, 3
AT_LEAST_S = 0.5
"""Small plans are made again until this time has passed: a single one takes a few milliseconds."""


def upstream_of(number: int) -> dict[str, tuple[str, ...]]:
    """Layers with random edges from each to the next."""
    chance = random.Random(1)
    names = [f"task-{index:07d}" for index in range(number)]
    found = {}
    for index, name in enumerate(names):
        first = (index // LAYER - 1) * LAYER
        before = chance.sample(range(first, first + LAYER), EDGES) if first >= 0 else ()
        found[name] = tuple(names[position] for position in before)
    return found


def run(upstream: dict[str, tuple[str, ...]], options: dict[str, TaskOptions]) -> None:
    """Make a plan and tell it that each attempt that it starts succeeds."""
    plan = Plan(upstream, options)
    started = deque(plan.begin())
    while started:
        decision = started.popleft()
        if isinstance(decision, Start):
            started.extend(plan.ended(decision.task, Outcome.SUCCEEDED, 0.0))
    if not plan.done:
        raise SystemExit("not all tasks are settled")


def seconds(upstream: dict[str, tuple[str, ...]], options: dict[str, TaskOptions]) -> float:
    """Processor time of one run, the least of several if they are short."""
    times: list[float] = []
    while sum(times) < AT_LEAST_S:
        begin = time.process_time()
        run(upstream, options)
        times.append(time.process_time() - begin)
    return min(times)


def peak_bytes(upstream: dict[str, tuple[str, ...]], options: dict[str, TaskOptions]) -> int:
    """The most that the plan held beside its input."""
    tracemalloc.start()
    run(upstream, options)
    _, peak = tracemalloc.get_traced_memory()
    return peak


def main() -> None:
    """Measure and print."""
    upstream = upstream_of(int(sys.argv[1]))
    options = dict.fromkeys(upstream, TaskOptions())
    print(json.dumps({"run_s": seconds(upstream, options), "peak_bytes": peak_bytes(upstream, options)}))


if __name__ == "__main__":
    main()
