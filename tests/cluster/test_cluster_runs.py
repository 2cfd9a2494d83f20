"""Runs on real Ray clusters whose nodes share no disk with each other or with the driver."""

import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pynb_dag_runner import Outcome, Run, RunStatus, find_runs, read_run
from pynb_dag_runner.run_folder.reader import read_attempt_details
from tests.cluster.conftest import PROJECT
from tests.cluster.ray_cluster import LATER, RayCluster, environment

BOUND_S = 180.0
"""Ends a test that hangs: three nodes and a driver on two busy processors take their time."""
NODES = ("head", "worker")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(PROJECT, tmp_path / "project")
    return tmp_path / "project"


def run(cluster: RayCluster, project: Path, pipeline: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run a pipeline from the driver's machine."""
    command = ["pynb-dag-runner", "run", f"pipelines.py:{pipeline}", "--ray-address", cluster.address, *options]
    return cluster.network.run("laptop", command, environment(), project)


def run_of(project: Path) -> Run:
    (folder,) = find_runs(project / "runs")
    return read_run(folder)


def started(cluster: RayCluster, project: Path, pipeline: str, *options: str) -> "subprocess.Popen[str]":
    command = ["pynb-dag-runner", "run", f"pipelines.py:{pipeline}", "--ray-address", cluster.address, *options]
    return cluster.network.start("laptop", command, environment(), project)


def wait_for(condition: Callable[[], object], words: str) -> None:
    give_up = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < give_up, words
        time.sleep(0.1)


def left_on(cluster: RayCluster, *nodes: str) -> list[str]:
    """Processes of ours that run on the nodes: hosts, kernels, what tasks started."""
    found = []
    for node in nodes:
        for process in cluster.network.processes_of(node):
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if "pynb_dag_runner" in line or "4321" in line or "kernel" in line:
                found.append(f"{node}: {line[:100]}")
    return found


def directories_on(cluster: RayCluster, *nodes: str) -> list[str]:
    """Our temporary directories on the nodes."""
    command = ["find", "/tmp", "-maxdepth", "1", "-name", "pdr-*"]
    return [line for node in nodes for line in cluster.network.run(node, command, environment()).stdout.splitlines()]


def assert_nothing_is_left(cluster: RayCluster) -> None:
    wait_for(lambda: not left_on(cluster, *NODES), f"left behind: {left_on(cluster, *NODES)}")
    wait_for(lambda: not directories_on(cluster, *NODES), f"left behind: {directories_on(cluster, *NODES)}")


def test_sources_modules_and_parameters_travel_and_files_come_back(cluster: RayCluster, project: Path) -> None:
    done = run(cluster, project, "travel", "-p", "name=world")
    assert done.returncode == 0, done.stderr
    result = run_of(project)
    assert result.by_name["measure"].outputs["return"] == {"area": 49, "notebook": "worker", "here": "head"}
    notebook = result.by_name["where"].last_attempt
    assert notebook is not None
    assert notebook.host == "worker"
    assert notebook.notebook is not None
    assert notebook.html is not None
    assert notebook.log is not None
    assert "hello world" in (result.folder / notebook.log).read_text()
    details = read_attempt_details(result, notebook)
    assert [(metric.key, metric.value) for metric in details.metrics] == [("length", 5.0)]
    assert details.artifacts == (Path("texts/greeting.txt"),)
    assert (result.folder / notebook.folder / "artifacts/texts/greeting.txt").read_text() == "hello world"
    function = result.by_name["make_square"].last_attempt
    assert function is not None
    assert function.log is not None
    assert (result.folder / function.log).read_text() == "made on worker\n"
    assert_nothing_is_left(cluster)


def memory_of_machines(cluster: RayCluster) -> Mapping[str, int]:
    """Bytes of memory that the processes of each machine take, shared pages counted once."""
    sums = dict.fromkeys(("laptop", *NODES), 0)
    for machine in sums:
        for process in cluster.network.processes_of(machine):
            try:
                sums[machine] += process.memory_full_info().pss
            except psutil.Error:
                continue
    return sums


@contextmanager
def peak_memory(cluster: RayCluster) -> Iterator[dict[str, int]]:
    """The largest memory of each machine while the context lasts."""
    peaks = dict.fromkeys(("laptop", *NODES), 0)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            for machine, used in memory_of_machines(cluster).items():
                peaks[machine] = max(peaks[machine], used)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()


# Alone: how much is in memory depends on how often each side gets a processor, and a gigabyte slows down all others.
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_an_artifact_of_one_gigabyte_comes_back_in_little_memory(cluster: RayCluster, project: Path) -> None:
    with peak_memory(cluster) as small:
        assert run(cluster, project, "large", "--output-dir", "small", "-p", "megabytes=1").returncode == 0
    with peak_memory(cluster) as large:
        assert run(cluster, project, "large", "-p", "megabytes=1024").returncode == 0
    folder = run_of(project).folder / "tasks/log_large_file/attempt-1"
    assert (folder / "artifacts/large.bin").stat().st_size == 1024 << 20
    extra = {machine: (large[machine] - small[machine]) / 1e6 for machine in small}
    print("extra memory in MB:", extra)
    assert max(extra.values()) < 60  # nothing of it goes through the object store, whatever the speed of either side
    assert json.loads((folder / "attempt.json").read_text())["outcome"] == "SUCCEEDED"


def test_stuck_attempts_are_ended_where_they_run_and_their_files_come_back(cluster: RayCluster, project: Path) -> None:
    assert run(cluster, project, "stuck").returncode == 1
    result = run_of(project)
    function, notebook = (result.by_name[name].last_attempt for name in ("hold_the_lock", "stuck"))
    assert function is not None
    assert notebook is not None
    assert [function.outcome, notebook.outcome] == [Outcome.TIMED_OUT, Outcome.TIMED_OUT]
    assert notebook.failure is not None
    assert notebook.failure.message == "timed out in cell 2 after 8 s"
    assert function.log is not None
    assert (result.folder / function.log).read_text() == "holding\n"
    assert [metric.key for metric in read_attempt_details(result, function).metrics] == ["before"]
    assert notebook.notebook is not None
    assert "before" in (result.folder / notebook.notebook).read_text()
    assert_nothing_is_left(cluster)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_when_the_driver_is_stopped_nothing_is_left_on_any_node(
    cluster: RayCluster, project: Path, number: signal.Signals
) -> None:
    driver = started(cluster, project, "endless")
    wait_for(
        lambda: sum("4321" in line for line in left_on(cluster, *NODES)) == 2, "both tasks start what outlives them"
    )
    (program,) = [
        process
        for process in cluster.network.processes_of("laptop")
        if "pynb-dag-runner" in " ".join(process.cmdline()) and process.name() != "nsenter"
    ]
    program.send_signal(number)
    driver.communicate(timeout=BOUND_S)
    assert_nothing_is_left(cluster)
    if number is not signal.SIGKILL:  # of a driver on another machine, death is concluded after a minute only
        assert run_of(project).status is RunStatus.CANCELLED
        notebook = run_of(project).by_name["stuck"].last_attempt
        assert notebook is not None
        assert notebook.notebook is not None


def test_what_no_node_has_is_refused_before_the_run(cluster: RayCluster, project: Path) -> None:
    done = run(cluster, project, "too_much")
    assert done.returncode == 2
    assert "task 'make_square' asks for more than any node has: num_cpus=2 (there are 1)" in done.stderr
    assert "task 'fpga' asks for more than any node has: resource 'fpga'=1 (there are 0)" in done.stderr
    assert find_runs(project / "runs") == []


@pytest.mark.timeout(900)
def test_when_a_node_dies_its_tasks_crash_and_are_retried_elsewhere(
    make_cluster: Callable[[Mapping[str, Mapping[str, float]]], RayCluster], project: Path
) -> None:
    cluster = make_cluster({"head": {}, "worker": {}, "spare": {}})
    driver = started(cluster, project, "survive")
    wait_for(lambda: len(find_runs(project / "runs")) == 1, "the run starts")

    def hosts() -> set[str]:
        attempts = [task.last_attempt for task in run_of(project).tasks]
        return {attempt.host for attempt in attempts if attempt is not None and attempt.host}

    wait_for(lambda: len(hosts()) == 2, "both tasks run")
    victim = sorted(hosts() - {"head"})[0]
    cluster.network.kill(victim)
    for node in {"head", "worker", "spare"} - {victim}:
        cluster.network.run(node, ["touch", "/tmp/allowed"], environment())
    out, err = driver.communicate(timeout=4 * BOUND_S)
    assert driver.returncode == 0, out + err
    result = run_of(project)
    assert result.status is RunStatus.SUCCEEDED
    crashed = [attempt for task in result.tasks for attempt in task.attempts if attempt.outcome is Outcome.CRASHED]
    assert [attempt.host for attempt in crashed] == [victim]
    assert {task.outputs["return"] for task in result.tasks} <= {"head", "worker", "spare"} - {victim}
    cluster.close()


def test_a_task_waits_visibly_for_a_node_that_the_cluster_adds(
    make_cluster: Callable[[Mapping[str, Mapping[str, float]]], RayCluster], project: Path
) -> None:
    cluster = make_cluster({"head": {"left": 1}, "added": LATER})
    driver = started(cluster, project, "travel", "--wait-for-nodes")
    wait_for(lambda: find_runs(project / "runs"), "the run starts")
    wait_for(lambda: run_of(project).warnings, "it says that it waits")
    cluster.start_node("added", {"right": 1})
    out, err = driver.communicate(timeout=4 * BOUND_S)
    assert driver.returncode == 0, out + err
    assert "resource 'right'=1 (there are 0); it waits until the cluster has such a node" in run_of(project).warnings[0]
    cluster.close()
