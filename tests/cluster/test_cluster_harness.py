"""The machines that the tests of clusters are made of: separate, one network, killed and removed for certain."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from tests.cluster import network
from tests.cluster.network import Network
from tests.cluster.nodes import restrict_disk, wait_for_nodes
from tests.cluster.ray_cluster import RayCluster, environment

ROOT = Path(__file__).parents[2]
BOUND_S = 60.0
MACHINES = ("laptop", "head", "worker")
MakeCluster = Callable[[Mapping[str, Mapping[str, float]]], RayCluster]

_OWNER = """
import sys
from tests.cluster.network import Network

machines = Network("laptop", ["head", "worker"])
machines.start("worker", ["setsid", "sleep", "7654"], {"PATH": "/usr/bin:/bin"})
print(machines.processes_of("worker")[0].environ()["PYNB_TEST_MACHINE"].partition("-")[0], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def machines() -> Iterator[Network]:
    """Three machines without Ray."""
    if problem := network.problem():
        pytest.skip(f"machines can't be made of namespaces here: {problem}")
    three = Network(MACHINES[0], MACHINES[1:])
    yield three
    three.close()


def said(machines: Network, name: str, *command: str) -> str:
    done = machines.run(name, command, environment())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fails(machines: Network, name: str, *command: str) -> bool:
    return machines.run(name, command, environment()).returncode != 0


def wait_for(condition: Callable[[], bool], words: str) -> None:
    give_up = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < give_up, words
        time.sleep(0.05)


def running(*words: str) -> list[psutil.Process]:
    """Processes on any machine with all these words in their command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            text = " ".join([*process.cmdline(), *process.environ().values()])
            if process.status() != psutil.STATUS_ZOMBIE and all(word in text for word in words):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_machines_have_names_and_addresses_of_their_own_and_reach_each_other(machines: Network) -> None:
    assert [said(machines, name, "hostname") for name in MACHINES] == list(MACHINES)
    assert len({machines.address(name) for name in MACHINES}) == len(MACHINES)
    serve = [sys.executable, "-m", "http.server", "8765", "--bind", machines.address("worker")]
    server = machines.start("worker", serve, environment())
    connect = f"import socket; socket.create_connection(('{machines.address('worker')}', 8765), 1)"
    for name in MACHINES:
        wait_for(lambda name=name: not fails(machines, name, sys.executable, "-c", connect), f"{name} reaches worker")
    machines.kill("worker")
    server.communicate(timeout=BOUND_S)
    assert fails(machines, "laptop", sys.executable, "-c", connect)


def test_machines_are_on_no_network_of_this_one(machines: Network) -> None:
    here = "import psutil; print(sorted(psutil.net_if_addrs()))"
    for name in MACHINES:
        assert said(machines, name, sys.executable, "-c", here) == "['eth0', 'lo']"
    assert not any(
        address.address.startswith("10.77.0.") for found in psutil.net_if_addrs().values() for address in found
    )


@pytest.mark.parametrize("directory", ["/tmp", "/dev/shm"])
def test_what_one_machine_writes_no_other_sees(machines: Network, directory: str) -> None:
    for name in MACHINES:
        said(machines, name, "touch", f"{directory}/harness-{name}")
    for name in MACHINES:
        seen = said(machines, name, "find", directory, "-maxdepth", "1", "-name", "harness-*")
        assert seen == f"{directory}/harness-{name}"
    said(machines, "laptop", "rm", f"{directory}/harness-laptop")


def test_only_the_drivers_machine_sees_the_project(machines: Network, tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("")
    assert not fails(machines, "laptop", "test", "-e", str(tmp_path / "pipeline.py"))
    for name in MACHINES[1:]:
        assert fails(machines, name, "test", "-e", str(tmp_path / "pipeline.py"))


def test_a_machine_can_be_kept_from_seeing_and_from_writing_what_is_on_the_common_disk(machines: Network) -> None:
    examples = ROOT / "examples"
    restrict_disk(machines, "worker", read_only=[ROOT], hidden=[])
    restrict_disk(machines, "head", read_only=[], hidden=[examples])
    assert fails(machines, "worker", "touch", str(ROOT / "tests/cluster/written-by-worker"))
    assert not fails(machines, "worker", sys.executable, "-c", "import pynb_dag_runner")
    assert said(machines, "head", "ls", str(examples)) == ""
    assert any(examples.iterdir())
    assert said(machines, "laptop", "ls", str(examples)) != ""


@pytest.mark.parametrize("command", [["sleep", "8765"], ["env", "-i", "setsid", "sleep", "8765"]])
def test_a_killed_machine_runs_nothing_any_more(machines: Network, command: Sequence[str]) -> None:
    victim = machines.start("worker", command, environment())
    wait_for(lambda: any(process.name() == "sleep" for process in running("sleep", "8765")), "it runs")
    other = machines.start("head", ["sleep", "8766"], environment())
    wait_for(lambda: any(process.name() == "sleep" for process in running("sleep", "8766")), "the other one runs")
    machines.kill("worker")
    wait_for(lambda: not running("sleep", "8765"), "what ran there is gone")
    victim.communicate(timeout=BOUND_S)
    assert other.poll() is None
    machines.kill("head")
    other.communicate(timeout=BOUND_S)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, None])
def test_machines_end_with_the_process_that_made_them(machines: Network, ending: signal.Signals | None) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    token = owner.stdout.readline().strip()
    assert token
    wait_for(lambda: any(process.name() == "sleep" for process in running("sleep", "7654")), "it runs")
    assert len(running(token)) > len(MACHINES)
    if ending is not None:
        owner.send_signal(ending)
    owner.communicate(timeout=BOUND_S)
    wait_for(lambda: not running(token) and not running("sleep", "7654"), f"left: {running(token)}")
    assert said(machines, "laptop", "hostname") == "laptop"  # other machines are left alone


@pytest.mark.parametrize("names", [("head", "worker"), ("head", "worker", "spare")])
def test_nodes_of_a_cluster_join_die_and_leave_nothing(make_cluster: MakeCluster, names: Sequence[str]) -> None:
    cluster = make_cluster({name: {f"on_{name}": 1} for name in names})
    nodes = wait_for_nodes(cluster, names)
    for name in names:
        assert (nodes[name]["CPU"], nodes[name][f"on_{name}"]) == (1, 1)
    cluster.network.kill(names[-1])
    assert set(wait_for_nodes(cluster, names[:-1])) == set(names[:-1])
    everything = [process for name in ("laptop", *names) for process in cluster.network.processes_of(name)]
    cluster.close()
    gone, left = psutil.wait_procs(everything, timeout=BOUND_S)
    assert (len(gone), left) == (len(everything), [])
