"""Counterfeits of Ray: with names missing, other signatures, other behaviour. Runs succeed all the same, and say so."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest

from pynb_dag_runner.errors import ExecutorError
from pynb_dag_runner.executors.on_ray import internals, joining
from pynb_dag_runner.executors.on_ray.internals import NodeServer, RayPrivate
from pynb_dag_runner.executors.on_ray.tokens import Tokens
from pynb_dag_runner.processes.private_directory import MARK_VARIABLE

RUN = """
    import json, os, sys
    from types import SimpleNamespace

    import ray
    from pynb_dag_runner import Pipeline, pipeline, read_run
    from pynb_dag_runner.executors.on_ray import session
    from pynb_dag_runner.executors.on_ray.internals import NodeServer, RayPrivate

    class Counterfeit:
        '''Ray without its private names, but for those that are given.'''
        def __init__(self, **private):
            self.__dict__.update(private)
        def __getattr__(self, name):
            if name.startswith("_") and name != "__version__":
                raise AttributeError(name)
            return getattr(ray, name)

    def counterfeit(**private):
        session.RayPrivate = lambda _, dead_server: RayPrivate(Counterfeit(**private), dead_server)

    {counterfeit}

    def one():
        return 1

    def two(given):
        return given + 1

    @pipeline
    def small(p: Pipeline):
        p.function(two, parameters={{"given": p.function(one).output("return")}})

    result = small.run(executor="ray", output_dir=sys.argv[1], progress=False)
    print(json.dumps([result.status, read_run(result.folder).warnings]))
"""

NO_NAMES = "counterfeit()"

OTHER_BEHAVIOUR = """
def typeless(*_, **__):
    raise TypeError("missing 1 required keyword-only argument")

class OtherState:
    def _initialize_global_state(self, options):
        pass
    def node_table(self):
        return ["no", "rows"]

def wait(directory, node_id, port_name, *, deadline_s=30.0):
    return 0

counterfeit(
    _private=SimpleNamespace(
        node=SimpleNamespace(Node=ray._private.node.Node, wait_for_persisted_port=wait),
        services=ray._private.services,
        state=SimpleNamespace(GlobalState=OtherState),
        worker=SimpleNamespace(global_worker=SimpleNamespace(threads_stopped=None)),
    ),
    _raylet=SimpleNamespace(Config=SimpleNamespace(initialize=typeless)),
)
"""

TRIPS_OVER_EXCHANGED_FUNCTIONS = """
start = ray._private.node.Node.start_head_processes

def start_head_processes(self):
    start(self)
    url, process = self.start_api_server(include_dashboard=False, raise_on_failure=False)

def start_api_server(self, **options):
    return "url", "process"

ray._private.node.Node.start_api_server = start_api_server
ray._private.node.Node.start_head_processes = start_head_processes
"""

REFUSES_OPTIONS = """
init = ray.init

def refuses(**options):
    unknown = [name for name in options if name.startswith("_")]
    if unknown:
        raise RuntimeError(f"Unknown keyword argument(s): {', '.join(unknown)}")
    return init(**options)

ray.init = refuses
"""


@pytest.mark.alone  # Ray's plain start has more processes, and gives up when they are slow
@pytest.mark.parametrize(
    ("counterfeit", "said"),
    [
        (
            NO_NAMES,
            [
                "no node.Node.start_monitor: Ray starts a process that nobody needs; no node.Node.start_log_monitor: ",
                "no node.Node.start_api_server: ",
                "no services.get_node: the start waits up to a second longer; ",
                "no services.resolve_ip_for_localhost: Ray may listen on all interfaces; ",
                "no worker.global_worker.gcs_error_subscriber: Ray's own messages may appear in the output",
            ],
        ),
        (OTHER_BEHAVIOUR, ["no services.get_node, state.GlobalState: the start waits up to a second longer"]),
        (
            TRIPS_OVER_EXCHANGED_FUNCTIONS,
            ["no start in a faster way (TypeError: cannot unpack", "it starts and ends more slowly"],
        ),
        (
            REFUSES_OPTIONS,
            [
                "no start in a faster way (RuntimeError: Unknown keyword argument(s): _temp_dir",
                "no start in a faster way (RuntimeError: Unknown keyword argument(s): _temp_dir, _node_ip_address)",
            ],
        ),
    ],
    ids=["no names", "other behaviour", "trips over exchanged functions", "refuses private options"],
)
def test_a_run_on_a_counterfeit_ray_succeeds_and_says_what_was_missing(
    counterfeit: str, said: list[str], tmp_path: Path
) -> None:
    program = dedent(RUN).format(counterfeit=dedent(counterfeit))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    status, warnings = json.loads(done.stdout.splitlines()[-1])
    assert status == "SUCCEEDED"
    (line,) = [warning for warning in warnings if "other internals" in warning]
    assert line.startswith("Ray 2.")
    assert " (tested: 2.40 to 2.60): no " in line
    for part in said:
        assert part in line


all_servers = internals.node_servers
RENAMED = "open('/proc/self/comm', 'w').write('raylet'); print(flush=True); __import__('sys').stdin.read()"


def of_release(release: str, **private: Any) -> RayPrivate:
    return RayPrivate(SimpleNamespace(__version__=release, **private))


@pytest.mark.parametrize(
    ("release", "has_it"),
    [("2.51.2", False), ("2.54.0", True), ("3.0.0.dev0", True)],
)
def test_what_a_release_never_had_is_not_missed(release: str, has_it: bool) -> None:
    private = of_release(release)
    with private.lean():
        assert private.read_token_again() is not has_it
    assert any("wait_for_persisted_port" in note for note in private.notes) is has_it


@pytest.mark.parametrize(
    "original",
    [
        lambda directory, node, name, *, deadline_s=30.0: 4321,
        lambda *where: 4321,
        int,  # no signature can be read from it in every Python
    ],
)
def test_a_wait_with_another_signature_is_ray_s_own(original: Callable[..., Any]) -> None:
    node = SimpleNamespace(wait_for_persisted_port=original, Node=SimpleNamespace())
    private = of_release("2.61.0", _private=SimpleNamespace(node=node))
    with private.lean():
        assert node.wait_for_persisted_port is original
    assert any("wait_for_persisted_port(timeout_ms, poll_interval_ms)" in note for note in private.notes)


@pytest.mark.parametrize(
    "given", [(("a", "b", "c"), {}), (("a",), {"node_id": "b", "port_name": "c", "timeout_ms": 50})]
)
def test_the_wait_takes_its_arguments_as_ray_s_own_does(given: tuple[tuple[str, ...], dict[str, Any]]) -> None:
    """Ray 2.54 to 2.56 leave the bound out, 2.57 and later name it."""
    calls = []

    def original(dir: str, node_id: str, port_name: str, timeout_ms: int = 30_000, poll_interval_ms: int = 100) -> int:  # noqa: A002
        calls.append((dir, node_id, port_name))
        return 4321

    node = SimpleNamespace(wait_for_persisted_port=original, Node=SimpleNamespace())
    where, named = given
    with of_release("2.54.0", _private=SimpleNamespace(node=node)).lean():
        assert node.wait_for_persisted_port(*where, **named) == 4321
    assert calls == [("a", "b", "c")]


def test_the_loopback_address_stays_however_it_is_handed_over() -> None:
    services = SimpleNamespace(resolve_ip_for_localhost=lambda address: "192.0.2.1", get_node=lambda *where: where)
    with of_release("2.60.0", _private=SimpleNamespace(services=services)).lean():
        assert services.resolve_ip_for_localhost("127.0.0.1") == "127.0.0.1"
        assert services.resolve_ip_for_localhost(address="127.0.0.1") == "127.0.0.1"
        assert services.get_node("address", "node") == ("address", "node")
    assert services.resolve_ip_for_localhost("127.0.0.1") == "192.0.2.1"


def test_nobody_looks_for_the_node_of_a_server_that_has_ended() -> None:
    state = SimpleNamespace(_initialize_global_state=lambda options: None, node_table=lambda: [{"NodeID": "other"}])
    services = SimpleNamespace(get_node=lambda *where: where, _get_gcs_client_options=lambda address: address)
    module = SimpleNamespace(
        __version__="2.60.0",
        _private=SimpleNamespace(services=services, state=SimpleNamespace(GlobalState=lambda: state)),
    )
    said = iter([None, "raylet ended (exit code 1)", "raylet ended (exit code 1)"])
    private = RayPrivate(module, lambda: next(said))
    with private.lean(), pytest.raises(ConnectionError, match="its raylet ended"):
        services.get_node("address", "node")


def test_a_ray_without_backpressure_streams_without_it() -> None:
    def remote(**options: Any) -> Callable[[Any], Any]:
        if any(name.startswith("_") for name in options):
            raise ValueError(f"Invalid option keyword: {options}")
        return lambda function: (function, options)

    private = of_release("2.61.0", remote=remote)
    function, options = private.remote_generator(len, 64)
    assert (function, options) == (len, {"max_retries": 0, "num_returns": "streaming"})
    assert "no _generator_backpressure_num_objects" in str(private.notes)


@pytest.mark.parametrize(
    ("health", "status", "error"),
    [
        ("exit 0", "exit 3", None),
        ("echo 'Error: No such command health-check.'; exit 2", "exit 0", None),
        ("echo 'Error: No such command health-check.'; exit 2", "echo 'Error: nobody is there'; exit 1", "nobody"),
        ("echo 'Error: it is ill'; exit 1", "exit 0", "it is ill"),
    ],
)
def test_a_ray_without_a_health_check_is_asked_for_its_status(
    health: str, status: str, error: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ray"
    program.write_text(f'#!/bin/sh\ncase "$1" in health-check) {health} ;; status) {status} ;; esac\n')
    program.chmod(0o755)
    monkeypatch.setattr(internals, "command", lambda: (str(program),))
    monkeypatch.setattr(internals, "knows_its_cluster", lambda: True)  # whatever runs on this machine
    tokens = Tokens()
    if error is None:
        assert joining.join("auto", str(tmp_path), tokens) == "auto"
    else:
        with pytest.raises(ExecutorError, match=error):
            joining.join("auto", str(tmp_path), tokens)
    tokens.give_back()


def test_the_command_line_is_found_where_its_module_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert internals.command() == (sys.executable, "-m", "ray.scripts.scripts")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert internals.command() == (str(Path(sys.executable).with_name("ray")),)


@contextmanager
def node_server(*options: str, **variables: str) -> Iterator[NodeServer]:
    """A process that looks like the server of a node."""
    command = [sys.executable, "-c", RENAMED, *options]
    known = {server.pid for server in all_servers()}
    environment = {name: value for name, value in os.environ.items() if name != MARK_VARIABLE} | variables
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield next(server for server in all_servers() if server.pid not in known)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--node_id=ab", "--gcs-address=192.0.2.1:1"], ("ab", "192.0.2.1:1")),
        (["--node-id=ab", "--gcs_address=192.0.2.1:1"], ("ab", "192.0.2.1:1")),
        ([], ("", "")),
    ],
)
def test_a_node_s_server_is_known_by_its_options_however_they_are_written(
    options: list[str], found: tuple[str, str]
) -> None:
    with node_server(*options) as server:
        assert (server.node, server.cluster) == found


def test_the_private_ray_of_another_run_is_not_this_machine_s_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine: set[int] = set()
    monkeypatch.setattr(internals, "node_servers", lambda: [server for server in all_servers() if server.pid in mine])
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with (
        node_server("--gcs-address=192.0.2.1:1", **{MARK_VARIABLE: "1"}) as of_a_run,
        node_server("--gcs-address=192.0.2.2:2") as of_a_cluster,
        node_server("--gcs-address=192.0.2.3:3") as of_another,
    ):
        mine.update({of_a_run.pid, of_a_cluster.pid})
        assert joining.cluster_here() == "192.0.2.2:2"
        mine.add(of_another.pid)
        assert joining.cluster_here() == "auto"
        mine.remove(of_another.pid)
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray/ray_current_cluster").write_text("192.0.2.4:4")
        assert joining.cluster_here() == "auto"
