"""Joining a Ray cluster from a machine that may be no node of it, or saying in one sentence why that can't be."""

import ipaddress
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from pynb_dag_runner.errors import ExecutorError
from pynb_dag_runner.executors.ray_tokens import Tokens

ADDRESS_BOUND_S = 10.0
JOIN_BOUND_S = 120.0
MEMBER_STORE_BYTES = 200 * 1024 * 1024
"""Of this machine's store, while it is a member that runs no tasks."""

_REFUSED = ("InvalidAuthToken", "AuthenticationError", "Unauthenticated")
"""In what Ray says, where the cluster wants another token; without one it would try again for 20 s."""
_ERROR = re.compile(r"^(?:[\w.]*\.)?(\w*(?:Error|Exception)): +(?=\S)|\bERR\b.*? -- |^Error: ")
_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+\s+\w+ \S+ -- |^\[\d{4}-[^]]*\] \S+:\d+: ")
_RAY = (sys.executable, "-m", "ray.scripts.scripts")


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
        temporary: directory for what Ray starts here; the watchdog ends that.

    Returns:
        The address for ``ray.init``.

    Raises:
        ExecutorError: it can't join.
    """
    tokens.use_rays_own()
    # What ray.init would say in this process of a refused token is 20 lines on the terminal, so it is tried in another.
    if address == "auto":
        _asked([*_RAY, "health-check"], "auto", tokens)
        return address
    if (known := address_by_own_node(address)) is not None:
        _asked([*_RAY, "health-check", f"--address={known}"], known, tokens)
        return known
    command = [*_RAY, "start", f"--address={address}", "--num-cpus=0", "--num-gpus=0"]
    _asked([*command, f"--object-store-memory={MEMBER_STORE_BYTES}", f"--temp-dir={temporary}"], address, tokens)
    return address


def node_servers(node: str) -> list[int]:
    """Pids of the node's server, if it is on this machine.

    Args:
        node: its id, as Ray writes it.
    """
    return [pid for pid, options in _raylets() if node in (options.get("--node-id"), options.get("--node_id"))]


def address_by_own_node(address: str) -> str | None:
    """The cluster's address as a node of it on this machine has it; None: there is no such node."""
    host, _, port = address.rpartition(":")
    wanted = {str(found[4][0]) for found in socket.getaddrinfo(host.strip("[]"), int(port))}
    for _, options in _raylets():
        known = options.get("--gcs-address", options.get("--gcs_address", ""))
        known_host, _, known_port = known.rpartition(":")
        same_host = known_host.strip("[]") in wanted or (_is_here(wanted) and _is_here({known_host.strip("[]")}))
        if known == address or (known_port == port and same_host):
            return known
    return None


def _raylets() -> Iterator[tuple[int, dict[str, str]]]:
    """Servers of nodes on this machine, with their options."""
    import psutil  # only where a cluster is joined

    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet":
            pairs = (option.partition("=")[::2] for option in process.info["cmdline"] or [])
            yield process.pid, dict(pairs)


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


def _asked(command: Sequence[str], address: str, tokens: Tokens) -> None:
    """Run one of Ray's commands to its end.

    Raises:
        ExecutorError: with what is wrong.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
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
                if any(word in line for word in _REFUSED):
                    raise ExecutorError(f"the Ray cluster at {address} {tokens.refusal}")
        process.wait()
    finally:
        clock.cancel()
        process.kill()
        process.wait()
    if time.monotonic() >= give_up:
        raise ExecutorError(f"this machine did not join the Ray cluster at {address} within {JOIN_BOUND_S:g} s")
    if process.returncode != 0:
        reason = error_in("".join(said)) or f"exit code {process.returncode}"
        raise ExecutorError(f"this machine can't join the Ray cluster at {address}: {reason}")


def error_in(output: str) -> str | None:
    """The error in what a command of Ray's said, without time and place in the source; if there is none, its end."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in reversed(lines):
        if _ERROR.search(line):
            return _PREFIX.sub("", line)
    return _PREFIX.sub("", lines[-1]) if lines else None
