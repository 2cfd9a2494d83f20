"""Runs on a cluster that was started with ``ray start --head``, as people type it, with and without the right token."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pynb_dag_runner.errors import ExecutorError
from pynb_dag_runner.executors.on_ray.internals import error_in
from pynb_dag_runner.executors.on_ray.joining import address_by_own_node
from pynb_dag_runner.executors.on_ray.tokens import Tokens
from tests.end_to_end.cli_process import environment, pynb, write
from tests.ray_head import ray_head

PIPELINE = """
from pynb_dag_runner import Pipeline, pipeline

def one():
    return 1

@pipeline
def small(p: Pipeline):
    p.function(one)
"""


@dataclass(frozen=True)
class Cluster:
    """A head on this machine, and a project to run there."""

    port: int
    home: Path
    project: Path

    def run(self, address: str, home: Path | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run the pipeline there."""
        env = {"HOME": str(home or self.home), "RAY_TMPDIR": str(self.home), **variables}
        return pynb("run", "pipeline.py", "--no-progress", "--ray-address", address, cwd=self.project, env=env)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_head() as head:
        yield Cluster(head.port, head.home, write(head.home, {"pipeline.py": PIPELINE}))


def own_address() -> str:
    return next(
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family is socket.AF_INET
    )


def test_an_address_of_this_machines_own_node_however_written(cluster: Cluster) -> None:
    hosts = ["127.0.0.1", "localhost", "0.0.0.0", "127.7.7.7", own_address()]
    known = {address_by_own_node(f"{host}:{cluster.port}") for host in hosts}
    assert len(known) == 1
    assert str(known.pop()).endswith(f":{cluster.port}")
    assert address_by_own_node("127.0.0.1:1") is None
    done = cluster.run(f"localhost:{cluster.port}")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_cluster_refuses_a_wrong_token_and_none(cluster: Cluster, tmp_path: Path) -> None:
    address = f"127.0.0.1:{cluster.port}"
    none = cluster.run(address, home=tmp_path)
    assert none.returncode == 2
    assert re.fullmatch(
        r"error: the Ray cluster at \S+ asks for a token, and there is none here: put it into RAY_AUTH_TOKEN, .*\n",
        none.stderr,
    )
    wrong = cluster.run(address, RAY_AUTH_TOKEN="f0" * 32)
    assert wrong.returncode == 2
    assert re.fullmatch(r"error: the Ray cluster at \S+ does not accept the token in RAY_AUTH_TOKEN\n", wrong.stderr)
    right = cluster.run(address, home=tmp_path, RAY_AUTH_TOKEN_PATH=str(cluster.home / ".ray/auth_token"))
    assert right.returncode == 0, right.stderr


TWO_RUNS = """
import os, sys
sys.path.insert(0, os.getcwd())
from pipeline import small
before = dict(os.environ)
for options in ({}, {"ray_address": sys.argv[1]}):
    result = small.run(executor="ray", progress=False, output_dir="both", **options)
    assert result.status == "SUCCEEDED", result
changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}
print(sorted(name for name in changed if name.startswith("RAY_AUTH")))
"""


def test_a_private_rays_token_is_not_the_next_ones(cluster: Cluster) -> None:
    """One process: a run on a private Ray, then one on the cluster."""
    env = environment({"HOME": str(cluster.home), "RAY_TMPDIR": str(cluster.home)})
    command = [sys.executable, "-c", TWO_RUNS, f"127.0.0.1:{cluster.port}"]
    done = subprocess.run(
        command, cwd=cluster.project, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_private_ray_has_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the user's")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    tokens = Tokens()
    tokens.make_one()
    assert (os.environ["RAY_AUTH_MODE"], len(os.environ["RAY_AUTH_TOKEN"])) == ("token", 64)
    tokens.give_back()
    assert (os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]) == ("disabled", "the user's")


@pytest.mark.parametrize(
    ("content", "variables", "problem"),
    [
        (
            None,
            {"RAY_AUTH_TOKEN_PATH": "FILE"},
            r"the token in \S+ \(RAY_AUTH_TOKEN_PATH\) can't be read: No such file.*",
        ),
        (b"\n", {"RAY_AUTH_TOKEN_PATH": "FILE"}, r"the token in \S+ \(RAY_AUTH_TOKEN_PATH\) is empty"),
        (b"\xff\x00", {"RAY_AUTH_TOKEN_PATH": "FILE"}, r"\S+ \(RAY_AUTH_TOKEN_PATH\) holds no token, but other bytes"),
        (None, {"RAY_AUTH_TOKEN": " "}, "the token in RAY_AUTH_TOKEN is empty"),
        (None, {"RAY_AUTH_MODE": "token"}, "RAY_AUTH_MODE=token, but there is no token here: put it into .*"),
    ],
)
def test_a_token_that_can_not_be_sent_is_refused(
    content: bytes | None,
    variables: dict[str, str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray would abort its process, and tell of it in a stack of C++."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / "token") if value == "FILE" else value)
    tokens = Tokens()
    with pytest.raises(ExecutorError) as refused:
        tokens.use_rays_own()
    assert re.fullmatch(problem, str(refused.value))
    tokens.give_back()


@pytest.mark.parametrize(
    ("output", "error"),
    [
        (
            "2026-11-27 13:10:37,230\tINFO scripts.py:1234 -- Local node IP: 192.0.2.2\n"
            "Traceback (most recent call last):\n"
            '  File "scripts.py", line 1245, in start\n'
            "ray.exceptions.RpcError: the version of Ray differs\n"
            "2026-11-27 13:10:38,001\tINFO scripts.py:1240 -- See the documentation\n",
            "ray.exceptions.RpcError: the version of Ray differs",
        ),
        (
            "2026-11-27 13:10:37,230\tERR scripts.py:1200 -- Invalid value for `--labels`\n",
            "Invalid value for `--labels`",
        ),
        ("Usage: ray start\n\nError: No such option: --x\n", "Error: No such option: --x"),
        ("2026-11-27 13:10:37,230\tINFO scripts.py:1234 -- nothing but this\n", "nothing but this"),
        ("", None),
    ],
)
def test_of_what_ray_says_the_error_is_quoted(output: str, error: str | None) -> None:
    assert error_in(output) == error
