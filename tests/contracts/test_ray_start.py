"""A private Ray that is started lean: nothing of Ray's is changed for good, nothing that jobs need is missing."""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray

from pynb_dag_runner.executors import executor_factory
from pynb_dag_runner.executors.base import Executor, Job, JobEnded, JobEvent, JobKept, JobMessage, Keep
from pynb_dag_runner.executors.hosts.supervisor import Host
from pynb_dag_runner.executors.on_ray.internals import SYSTEM_CONFIG, RayPrivate
from pynb_dag_runner.processes.private_directory import MARK_VARIABLE, PrivateDirectory
from pynb_dag_runner.processes.process_table import with_mark

KNOWN = tuple(int(part) for part in ray.__version__.split(".")[:2])
EXCHANGED = {
    "node.Node": ("start_monitor", "start_log_monitor", "start_api_server"),
    "services": ("get_node", "resolve_ip_for_localhost"),
    "node": ("wait_for_persisted_port",) if KNOWN >= (2, 54) else (),
}


def private_functions() -> dict[str, Any]:
    """Ray's own, by where they are."""
    ray_private: Any = ray._private
    owners = {"node.Node": ray_private.node.Node, "services": ray_private.services, "node": ray_private.node}
    return {f"{owner}.{name}": getattr(owners[owner], name) for owner, names in EXCHANGED.items() for name in names}


BEFORE = private_functions()


@pytest.mark.skipif(KNOWN < (2, 54), reason="Ray writes such files from 2.54 on")
def test_the_wait_for_a_servers_file_lets_other_threads_run(tmp_path: Path) -> None:
    """Else nobody hears a signal, and a server that was killed is waited for."""
    ray_private: Any = ray._private
    node = "ab" * 28
    with RayPrivate(ray).lean(), ThreadPoolExecutor() as pool:
        found = pool.submit(
            ray_private.node.wait_for_persisted_port, str(tmp_path), node, "gcs_server", timeout_ms=5_000
        )
        (tmp_path / f"gcs_server_{node}").write_text("4321")
        assert found.result() == 4321
        with pytest.raises(RuntimeError, match="Timed out"):
            ray_private.node.wait_for_persisted_port(str(tmp_path), node, "other", timeout_ms=50)


AT_A_SIGNAL = """
import os, signal, sys, threading
from pynb_dag_runner.executors import executor_factory
from pynb_dag_runner.executors.hosts.supervisor import Host
from pynb_dag_runner.processes.private_directory import PrivateDirectory

heard = []
signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
executor = executor_factory("ray", num_cpus=1)(Host, PrivateDirectory())
os.kill(os.getpid(), signal.SIGTERM)
alarm_s = signal.alarm(0)  # Ray's own handler has one set, at which it aborts
closing = threading.Thread(target=executor.close)
closing.start()
closing.join()
os.kill(os.getpid(), signal.SIGTERM)
print(heard, alarm_s)
"""


def test_who_had_sigterm_before_ray_started_has_it_once_it_runs_and_once_it_has_ended() -> None:
    done = subprocess.run([sys.executable, "-c", AT_A_SIGNAL], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[15, 15] 0\n", "")


@pytest.fixture(scope="module")
def lean(directory: PrivateDirectory) -> Iterator[Executor]:
    started = executor_factory("ray", num_cpus=2)(Host, directory)
    yield started
    started.close()


def finish(executor: Executor, *jobs: Job) -> list[JobEvent]:
    for job in jobs:
        executor.submit(job)
    events: list[JobEvent] = []
    keys = {job.key for job in jobs}
    while {event.key for event in events if isinstance(event, JobEnded)} < keys:
        events += [event for event in executor.wait(1.0) if event.key in keys]
    return events


def keep_much() -> Generator[object]:
    """More than goes through Ray's messages: it must be in the object store."""
    yield Keep(b"x" * 20_000_000)


def measure(*values: bytes) -> Generator[object]:
    yield [len(value) for value in values]


def sees() -> Generator[object]:
    yield os.environ.get("CUDA_VISIBLE_DEVICES")


def gpus() -> Generator[object]:
    yield "there"


def test_ray_has_all_of_the_names_that_are_exchanged() -> None:
    """Where this fails with another Ray, its start is slow again, and internals.py has to look elsewhere."""
    assert all(callable(function) for function in BEFORE.values())
    assert set(SYSTEM_CONFIG) <= set(_configuration_names())


def _configuration_names() -> list[str]:
    """Ray refuses none that it does not know, so the names are looked for in its library."""
    library = next(Path(ray.__file__).parent.glob("_raylet*.so")).read_bytes()
    return [name for name in SYSTEM_CONFIG if name.encode() in library]


def test_inside_they_are_others_and_afterwards_the_original_ones() -> None:
    with RayPrivate(ray).lean():
        assert all(function is not BEFORE[name] for name, function in private_functions().items())
    assert private_functions() == BEFORE


def test_they_are_the_original_ones_also_after_a_start_that_fails() -> None:
    with pytest.raises(RuntimeError, match="no start"), RayPrivate(ray).lean():
        raise RuntimeError("no start")
    assert private_functions() == BEFORE


def test_after_a_start_they_are_the_original_ones(lean: Executor) -> None:
    assert lean.capacity()
    assert private_functions() == BEFORE


def test_processes_that_nobody_needs_are_not_there(lean: Executor) -> None:
    commands = [" ".join(process.cmdline()) for process in with_mark(f"{MARK_VARIABLE}={os.environ[MARK_VARIABLE]}")]
    assert any("raylet" in command for command in commands)
    for name in ("monitor.py", "log_monitor.py", "dashboard/dashboard.py"):
        assert not any(name in command for command in commands), name


def test_large_values_go_through_the_object_store(lean: Executor) -> None:
    kept = [event.handle for event in finish(lean, Job(key="keep", call=keep_much)) if isinstance(event, JobKept)]
    inputs = (kept[0], lean.put(b"y" * 3_000_000))
    assert JobMessage(key="use", message=[20_000_000, 3_000_000]) in finish(
        lean, Job(key="use", call=measure, inputs=inputs)
    )


WITH_RESOURCES = """
import json, ray
from pynb_dag_runner.executors.ray_local import LocalRayExecutor
from pynb_dag_runner.processes.private_directory import PrivateDirectory
init = ray.init
ray.init = lambda **options: init(**{**options, "num_gpus": 2, "resources": {"disk": 2}})
from pynb_dag_runner.executors.base import Job, JobMessage, Resources
from tests.contracts.test_ray_start import finish, gpus, sees
executor = LocalRayExecutor(PrivateDirectory(), num_cpus=2)
events = finish(executor, Job(key="gpu", call=gpus, resources=Resources(num_gpus=1)),
                Job(key="disk", call=gpus, resources=Resources(num_cpus=0, custom={"disk": 2})))
# One after the other, in workers that have served tasks with others: each sees those that it holds.
for amount in (1, 0, 2, 1, 0):
    events += finish(executor, Job(key=f"sees {amount}", call=sees, resources=Resources(num_gpus=amount)))
said = {event.key: event.message for event in events if isinstance(event, JobMessage)}
(here,) = executor.capacity()
executor.close()
print(json.dumps([said, here.num_gpus, here.custom["disk"]]))
"""


def test_gpus_and_custom_resources_are_shared_out() -> None:
    """This machine may have none, so Ray is told that it has; in a process of its own, which has no other Ray."""
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", WITH_RESOURCES],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = {"sees 0": None if KNOWN >= (2, 50) else "", "sees 1": "0", "sees 2": "0,1"}
    assert json.loads(done.stdout) == [{"gpu": "there", "disk": "there", **seen}, 2, 2]
