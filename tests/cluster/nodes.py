"""What tests ask of the nodes of a cluster and do to them: who is in it, and who sees which disk."""

import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from tests.cluster.network import Network
from tests.cluster.ray_cluster import RayCluster, environment

JOIN_BOUND_S = 60.0

_WATCH = """
import json, sys, time
import ray

address, wanted, bound_s = sys.argv[1], set(json.loads(sys.argv[2])), float(sys.argv[3])
ray.init(address=address, log_to_driver=False)
give_up = time.monotonic() + bound_s
while True:
    alive = {node["NodeManagerHostname"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    if set(alive) == wanted or time.monotonic() > give_up:
        break
    time.sleep(0.1)
print(json.dumps(alive))
"""


def wait_for_nodes(
    cluster: RayCluster, wanted: Collection[str], *, seen_from: str = "head", bound_s: float = JOIN_BOUND_S
) -> Mapping[str, Mapping[str, float]]:
    """Wait until exactly these machines are nodes of the cluster, as one of them sees it.

    Args:
        wanted: names of machines.
        seen_from: the node that looks.
        bound_s: seconds to wait for them.

    Returns:
        for each node's machine its resources.

    Raises:
        AssertionError: other nodes are there at the end, or the cluster does not answer.
    """
    command = [sys.executable, "-c", _WATCH, cluster.address, json.dumps(sorted(wanted)), str(bound_s)]
    done = cluster.network.run(seen_from, command, environment())
    assert done.returncode == 0, done.stderr
    alive: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    assert set(alive) == set(wanted), f"nodes after {bound_s:g} s: {sorted(alive)}, expected {sorted(wanted)}"
    return alive


def restrict_disk(network: Network, name: str, *, read_only: Collection[Path], hidden: Collection[Path]) -> None:
    """What is not below ``/tmp`` is the same disk on all machines: keep one from writing to it, or from seeing it.

    Args:
        name: the machine.
        read_only: directories that it may read only.
        hidden: directories that are empty for it.

    Raises:
        AssertionError: what the mount program said.
    """
    commands = [["mount", "-t", "tmpfs", "tmpfs", str(path)] for path in hidden]
    for path in read_only:
        commands += [["mount", "--bind", str(path), str(path)], ["mount", "-o", "remount,bind,ro", str(path)]]
    for command in commands:
        done = network.run(name, command, environment())
        assert done.returncode == 0, done.stderr
