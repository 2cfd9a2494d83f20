"""Ray alone, started as this project starts it: ``python raw_ray.py start|fan|chain [NUMBER]``.

Prints a JSON object: ``first_task``, when a task first ran (seconds since 1970), or ``run_s`` of the first and
``again_s`` of a second time, in seconds without Ray's start, and of a chain ``gaps_s`` between its tasks.
"""

import json
import logging
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import ray

from pynb_dag_runner.executors.ray_local import OBJECT_STORE_BYTES
from pynb_dag_runner.processes.machine import usable_cpus


def now() -> float:
    """Seconds since 1970."""
    return time.time()


def number_of(number: int) -> int:
    """Give back what came in."""
    return number


def count(*values: int) -> int:
    """Take values from many tasks."""
    return len(values)


def add_one(before: tuple[int, float, float]) -> tuple[int, float, float]:
    """Take a value from the task before; with it go the start and the end of the task."""
    start = time.time()
    return before[0] + 1, start, time.time()


def remote(function: Callable[..., Any]) -> Any:
    """As tasks run here: never retried by Ray."""
    return ray.remote(max_retries=0, num_cpus=1)(function)


def start(temporary: str) -> None:
    """Ray with the settings of ``pynb_dag_runner.executors.ray_local``."""
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    ray.init(
        address="local",
        num_cpus=usable_cpus(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=temporary,
    )


def fan(number: int) -> float:
    """Calls side by side, and one that takes all values; seconds."""
    call, collect = remote(number_of), remote(count)
    begin = time.perf_counter()
    if ray.get(collect.remote(*[call.remote(index) for index in range(number)])) != number:
        raise SystemExit("not all values arrived")
    return time.perf_counter() - begin


def chain(number: int) -> tuple[float, list[float]]:
    """Calls one after another; seconds, and those between the end of one and the start of the next."""
    call = remote(add_one)
    begin = time.perf_counter()
    links = [ray.put((0, now(), now()))]
    for _ in range(number):
        links.append(call.remote(links[-1]))
    ray.get(links[-1])
    run_s = time.perf_counter() - begin
    tasks = ray.get(links[1:])
    return run_s, [after[1] - before[2] for before, after in pairwise(tasks)]


def measured(what: str, number: int) -> dict[str, object]:
    """What is printed."""
    if what == "start":
        return {"first_task": ray.get(remote(now).remote())}
    if what == "fan":
        return {"run_s": fan(number), "again_s": fan(number)}
    run_s, gaps_s = chain(number)
    return {"run_s": run_s, "gaps_s": gaps_s, "again_s": chain(number)[0]}


def main() -> None:
    """Start Ray, measure, end Ray."""
    what, number = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as temporary:  # Ray's sockets need a short path
        start(temporary)
        print(json.dumps(measured(what, number)))
        ray.shutdown()


if __name__ == "__main__":
    main()
