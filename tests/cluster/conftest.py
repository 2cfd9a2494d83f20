"""Clusters for tests, and the project that runs on them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.cluster import network
from tests.cluster.ray_cluster import RayCluster

PROJECT = Path(__file__).parent / "project"


@pytest.fixture(scope="session")
def make_cluster() -> Iterator[Callable[[Mapping[str, Mapping[str, float]]], RayCluster]]:
    """Starts clusters that are closed at the end of the session, if not before."""
    if problem := network.problem():
        pytest.skip(f"machines can't be made of namespaces here: {problem}")
    clusters = []

    def make(nodes: Mapping[str, Mapping[str, float]]) -> RayCluster:
        clusters.append(RayCluster(nodes))
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.close()


@pytest.fixture(scope="module")
def cluster(make_cluster: Callable[[Mapping[str, Mapping[str, float]]], RayCluster]) -> Iterator[RayCluster]:
    """Two nodes, and the driver's machine, which is none of them."""
    two = make_cluster({"head": {"left": 1}, "worker": {"right": 1}})
    yield two
    two.close()
