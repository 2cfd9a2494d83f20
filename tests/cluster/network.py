"""Several machines on one: network namespaces that see each other, private mounts, host names of their own.

Everything lives in one user and pid namespace: when its first process dies, all of it dies. The addresses exist inside
it alone.
"""

import contextlib
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.living import living, name_of

_VARIABLE = "PYNB_TEST_MACHINE"
_SUBNET = "10.77.0"
_BOUND_S = 120.0

_NETWORK = f"""
set -e
ip link add bridge0 type bridge
ip link set bridge0 up
number=0
for name in $MACHINES; do
    number=$((number + 1))
    env {_VARIABLE}=$TOKEN-$name unshare --mount --net --uts --pid --fork --kill-child --mount-proc \\
        sh -c "hostname $name; exec sleep infinity" &
    holder=$!
    until [ "$(readlink /proc/$holder/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
    ip link add port$number type veth peer name eth0 netns $holder
    ip link set port$number master bridge0 up
    nsenter -t $holder --net sh -c "
        ip link set lo up
        ip address add {_SUBNET}.$number/24 dev eth0
        ip link set eth0 up
        ip route add default dev eth0"
    nsenter -t $holder --mount sh -c "mount -t tmpfs tmpfs /dev/shm"
    [ $name = {{driver}} ] || nsenter -t $holder --mount sh -ec "$EMPTY_TMP"
done
echo ready
read -r end
"""


def _empty_tmp() -> str:
    """Shell commands that empty ``/tmp``, but for these sources and this Python, should they lie there."""
    installed = {Path(__file__).parents[2], Path(sys.prefix), Path(sys.base_prefix)}
    below = [place for place in installed if place.is_relative_to("/tmp")]
    kept = [place for place in below if not any(other in place.parents for other in below)]
    before, after = [], []
    for number, place in enumerate(kept):
        aside, quoted = f"/dev/shm/kept{number}", shlex.quote(str(place))
        before += [f"mkdir {aside}", f"mount --bind {quoted} {aside}"]
        after += [f"mkdir -p {quoted}", f"mount --move {aside} {quoted}", f"rmdir {aside}"]
    return "\n".join([*before, "mount -t tmpfs tmpfs /tmp", *after])


def problem() -> str | None:
    """Why there can be no network here; None if there can."""
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"there is no program {program!r}"
    tried = subprocess.run(
        [*_UNSHARE, "ip", "link", "add", "bridge0", "type", "bridge"], capture_output=True, text=True
    )
    return None if tried.returncode == 0 else f"no namespaces: {tried.stderr.strip()}"


_UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--mount-proc"]


_KEPT = ("sleep", "unshare", "")


def _end(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself
        process.kill()


class Network:
    """Machines with one network and no disk in common. Close it.

    The driver's machine keeps this one's ``/tmp``, where tests have their projects; the others have an empty one, but
    for these sources.

    Args:
        driver: name of the machine that pipelines are started on.
        others: names of further machines.
    """

    def __init__(self, driver: str, others: Sequence[str]) -> None:
        self._names = (driver, *others)
        self._token = secrets.token_hex(4)
        self._shell = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", _NETWORK.format(driver=driver)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "MACHINES": " ".join(self._names), "TOKEN": self._token, "EMPTY_TMP": _empty_tmp()},
        )
        assert self._shell.stdout is not None
        assert self._shell.stdout.readline() == "ready\n"

    def address(self, name: str) -> str:
        """The machine's address on the network."""
        return f"{_SUBNET}.{self._names.index(name) + 1}"

    def command(self, name: str, command: Sequence[str], directory: Path = Path("/")) -> list[str]:
        """A command line that runs ``command`` on a machine, in ``directory``."""
        holder = next(process for process in self.processes_of(name) if name_of(process) == "sleep")
        spaces = ["--user", "--preserve-credentials", "--mount", "--net", "--uts", "--pid"]
        return [
            "nsenter",
            "--target",
            str(holder.pid),
            *spaces,
            "env",
            f"--chdir={directory}",
            f"{_VARIABLE}={self._token}-{name}",
            *command,
        ]

    def run(
        self, name: str, command: Sequence[str], env: Mapping[str, str], directory: Path = Path("/")
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on a machine to its end."""
        process = self.start(name, command, env, directory)
        out, err = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def start(
        self, name: str, command: Sequence[str], env: Mapping[str, str], directory: Path = Path("/")
    ) -> "subprocess.Popen[str]":
        """Start a command on a machine."""
        return subprocess.Popen(
            self.command(name, command, directory),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self, name: str) -> None:
        """A machine loses its power: all its processes but the one that holds its place die at once."""
        give_up = time.monotonic() + _BOUND_S
        while victims := [process for process in self.processes_of(name) if name_of(process) not in _KEPT]:
            for process in victims:
                _end(process)
            living(victims, timeout_s=1)
            assert time.monotonic() < give_up

    def processes_of(self, name: str) -> list[psutil.Process]:
        """Everything that runs on a machine, its place holder included."""
        return [process for process in psutil.process_iter() if _machine(process) == f"{self._token}-{name}"]

    def close(self) -> None:
        """End everything on all machines."""
        self._shell.kill()
        for process in psutil.process_iter():
            if (_machine(process) or "").startswith(self._token):
                _end(process)
        self._shell.communicate()


def _machine(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(_VARIABLE)
    except psutil.Error:
        return None
