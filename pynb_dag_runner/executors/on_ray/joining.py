"""Joining a Ray cluster from a machine that may be no node of it, or saying in one sentence why that can't be."""

import contextlib
import ipaddress
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from pynb_dag_runner.errors import ExecutorError
from pynb_dag_runner.executors.on_ray import internals
from pynb_dag_runner.executors.on_ray.tokens import Tokens
from pynb_dag_runner.processes.private_directory import MARK_VARIABLE

ADDRESS_BOUND_S = 10.0
JOIN_BOUND_S = 120.0
MEMBER_STORE_BYTES = 200 * 1024 * 1024
"""Of this machine's store, while it is a member that runs no tasks."""


class _CommandFailed(Exception):
    """One of Ray's commands failed; ``output`` is what it said."""

    def __init__(self, output: str, code: int) -> None:
        super().__init__()
        self.output = output
        self.reason = internals.error_in(output) or f"exit code {code}"


def check_address(address: str) -> None:
    """Refuse an address that nothing answers at: Ray itself would try for minutes, and say so on the terminal.

    Raises:
        ExecutorError: with what was expected.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ExecutorError(
            f"Ray address {address!r}: expected host:port of a cluster's head node, or 'auto' for this machine's"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ADDRESS_BOUND_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ExecutorError(f"no Ray cluster answers at {address}: {reason}") from error


def join(address: str, temporary: str, tokens: Tokens) -> str:
    """See to it that this machine is a node of the cluster; if it is none, it becomes one that runs no tasks.

    Without a node here ``ray.init`` fails after a minute, or aborts the whole process (both seen with Ray 2.60).

    Args:
        address: as :func:`check_address` takes it.
        temporary: directory for what Ray starts here; the watchdog ends that.
        tokens: are in the environment.

    Returns:
        The address for ``ray.init``.

    Raises:
        ExecutorError: it can't join.
    """
    known = cluster_here() if address == "auto" else address_by_own_node(address)
    try:
        if known is not None:
            # What ray.init would say in this process of a refused token is 20 lines on the terminal.
            _check_health(known, tokens)
            return known
        member = ["--num-cpus=0", "--num-gpus=0", f"--object-store-memory={MEMBER_STORE_BYTES}"]
        _ask(["start", f"--address={address}", *member, f"--temp-dir={temporary}"], address, tokens)
    except _CommandFailed as failed:
        raise ExecutorError(f"this machine can't join the Ray cluster at {address}: {failed.reason}") from failed
    return address


def _check_health(address: str, tokens: Tokens) -> None:
    """Ask whether the cluster is there and takes the token."""
    quick, public = internals.health_checks(address)
    try:
        _ask(quick, address, tokens)
    except _CommandFailed as failed:
        if not internals.is_unknown_command(failed.output):
            raise
        _ask(public, address, tokens)


def cluster_here() -> str:
    """The address of the cluster that this machine is a node of, or ``auto`` if that is for Ray to say.

    Ray itself might take the private Ray of another run for it.
    """
    if internals.knows_its_cluster():
        return "auto"
    found = {server.cluster for server in internals.node_servers() if server.cluster and not _is_of_a_run(server.pid)}
    return found.pop() if len(found) == 1 else "auto"


def _is_of_a_run(pid: int) -> bool:
    """Whether a process was started by an executor: it has its mark."""
    with contextlib.suppress(OSError):  # another user's, or gone
        return f"{MARK_VARIABLE}=".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    return False


def node_servers(node: str) -> list[int]:
    """Pids of the node's server, if it is on this machine.

    Args:
        node: its id, as Ray writes it.
    """
    return [server.pid for server in internals.node_servers() if server.node == node]


def address_by_own_node(address: str) -> str | None:
    """The cluster's address as a node of it on this machine has it; None: there is no such node."""
    host, _, port = address.rpartition(":")
    wanted = {str(found[4][0]) for found in socket.getaddrinfo(host.strip("[]"), int(port))}
    for server in internals.node_servers():
        known_host, _, known_port = server.cluster.rpartition(":")
        same_host = known_host.strip("[]") in wanted or (_is_here(wanted) and _is_here({known_host.strip("[]")}))
        if server.cluster == address or (known_port == port and same_host):
            return server.cluster
    return None


def _is_here(hosts: set[str]) -> bool:
    """Whether one of these addresses is this machine's own."""
    import psutil

    own = {entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries}
    for host in hosts:
        try:
            read = ipaddress.ip_address(host)
        except ValueError:
            continue
        if read.is_loopback or read.is_unspecified or host in own:
            return True
    return False


def _ask(arguments: Sequence[str], address: str, tokens: Tokens) -> None:
    """Run one of Ray's commands to its end.

    Raises:
        ExecutorError: the cluster does not take the token, or does not answer in time.
        _CommandFailed: with what the command said.
    """
    process = subprocess.Popen(
        [*internals.command(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    give_up = time.monotonic() + JOIN_BOUND_S
    clock = threading.Timer(JOIN_BOUND_S, process.kill)
    clock.start()
    said = []
    try:
        with process.stdout:
            for line in process.stdout:
                said.append(line)
                if internals.is_refusal(line):
                    raise ExecutorError(f"the Ray cluster at {address} {tokens.refusal}")
        process.wait()
    finally:
        clock.cancel()
        process.kill()
        process.wait()
    if time.monotonic() >= give_up:
        raise ExecutorError(f"this machine did not join the Ray cluster at {address} within {JOIN_BOUND_S:g} s")
    if process.returncode != 0:
        raise _CommandFailed("".join(said), process.returncode)
