"""The end of a private Ray in one thread while another goes on: dropped references would end the whole process."""

import subprocess
import sys
from textwrap import dedent

PROGRAM = """
    import threading

    from pynb_dag_runner.executors import executor_factory
    from pynb_dag_runner.executors.base import Job, JobEnded, JobKept, Keep, Resources
    from pynb_dag_runner.executors.hosts.supervisor import Host
    from pynb_dag_runner.processes.private_directory import PrivateDirectory

    def keep():
        yield Keep({1})

    def collect(executor, keys):
        events = []
        while {event.key for event in events if isinstance(event, JobEnded)} < keys:
            events += executor.wait(1.0)
        return [event.handle for event in events if isinstance(event, JobKept)]

    executor = executor_factory("ray", num_cpus=2)(Host, PrivateDirectory())
    # Two kinds of resources: the lanes of the first are closed for those of the second.
    executor.submit(Job(key="one", call=keep, resources=Resources(num_cpus=2)))
    handles = collect(executor, {"one"})
    for number in range(4):
        executor.submit(Job(key=f"use-{number}", call=lambda given: keep(), inputs=(handles[0],)))
    handles += collect(executor, {f"use-{number}" for number in range(4)})
    assert len(handles) == 5
    handles += [executor.put(number) for number in range(400)]
    closing = threading.Thread(target=executor.close)
    closing.start()
    dropped = 0
    while closing.is_alive():
        if handles:
            handles.pop()
            dropped += 1
        closing.join(0.001)
    assert dropped > 20, dropped
    print("lived on")
"""


def test_handles_may_be_dropped_while_ray_is_shut_down() -> None:
    done = subprocess.run(
        [sys.executable, "-c", dedent(PROGRAM)], capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stdout) == (0, "lived on\n"), done.stderr
