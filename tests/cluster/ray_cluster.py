"""A Ray cluster whose nodes are separate machines."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.network import Network

PORT = 6379
LATER: Mapping[str, float] = {"later": 1}
"""Stands for the resources of a machine on which Ray is started later."""
_PROGRAM = [sys.executable, "-m", "ray.scripts.scripts"]


class RayCluster:
    """Ray's head on one machine and workers on others, none of them on the driver's. Close it.

    Args:
        nodes: for each machine its custom resources; the first one is the head. Each has one processor.
    """

    def __init__(self, nodes: Mapping[str, Mapping[str, float]]) -> None:
        self.network = Network("laptop", list(nodes))
        head = next(iter(nodes))
        self.address = f"{self.network.address(head)}:{PORT}"
        self._head = head
        for name, resources in nodes.items():
            if resources is not LATER:
                self.start_node(name, resources)

    def start_node(self, name: str, resources: Mapping[str, float]) -> None:
        """Start Ray on a machine."""
        role = ["--head", f"--port={PORT}", "--include-dashboard=false"]
        self._start(name, role if name == self._head else [f"--address={self.address}"], resources)

    def _start(self, name: str, role: Sequence[str], resources: Mapping[str, float]) -> None:
        options = [
            f"--node-ip-address={self.network.address(name)}",
            "--num-cpus=1",
            f"--resources={json.dumps(resources)}",
            f"--object-store-memory={200 * 1024 * 1024}",
            "--disable-usage-stats",
        ]
        started = self.network.run(name, [*_PROGRAM, "start", *role, *options], env=environment())
        assert started.returncode == 0, started.stdout + started.stderr

    def close(self) -> None:
        """End it all."""
        self.network.close()


def environment() -> dict[str, str]:
    """For commands on the machines: no settings of the one below, and a home of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYNB_", "HOME"))}
    return {**kept, "HOME": "/tmp", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
