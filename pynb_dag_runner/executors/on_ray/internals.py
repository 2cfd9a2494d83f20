"""Everything of Ray that has no public name: private functions and options, facts about its programs and processes.

No run depends on any of it. Where a release has other names, other signatures or another behaviour, Ray starts and
works in its public way, and :attr:`RayPrivate.notes` says in one line what was not found and what happens instead.

What the private part of the start is worth, in seconds, with Ray 2.60 on 2 cores:

===============================================================  ==========  =========
what                                                             start       end
===============================================================  ==========  =========
``ray.init`` as it is                                            2.8         1.35
a first attempt to reach the object store is repeated at once    2.55        1.35
no autoscaler and no log monitor                                 2.5         0.33
no API server: with no dashboard it only counts usage            1.8         0.33
the node is looked for every 20 ms instead of every second       1.4         0.33
===============================================================  ==========  =========

What is left of the start are two agents of Ray's, programs in Python that each node needs.
"""

import contextlib
import importlib.util
import inspect
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTED_RELEASES = ("2.40", "2.60")
"""The oldest and the newest minor release with which the quickstart ran, as it did with all between them."""

SERVER_NAMES = ("gcs_server", "raylet")
"""What the system calls the processes of Ray without which nothing goes on."""

SYSTEM_CONFIG: Mapping[str, int] = {
    # The node asks for its object store before that listens. Ray's own values, 10 times after 1000 ms, in other steps.
    "raylet_client_connect_timeout_milliseconds": 10,
    "raylet_client_num_connect_attempts": 1000,
}
"""For ``ray.init``'s ``_system_config``. Ray ignores a name that it does not know."""

LOOPBACK = "127.0.0.1"
_TOKENS_SINCE = (2, 52)
_HIDES_GPUS = ((2, 50), (2, 56))
"""From the first of these releases until before the other Ray hides all GPUs from a task that asks for none, and warns
of that at each start, unless a variable says that it shall not. Later it does not, and earlier it always does."""
_PORT_FILES_SINCE = (2, 54)
_LOOK_S = 0.02
_LOOK_BOUND_S = 30.0
"""Ray's own look, which also knows how to fail, comes after it."""
_REFUSED = ("InvalidAuthToken", "AuthenticationError", "Unauthenticated")
"""In what Ray's commands say, where the cluster wants another token; without one they would try again for 20 s."""
_ERROR = re.compile(r"^(?:[\w.]*\.)?(\w*(?:Error|Exception)): +(?=\S)|\bERR\b.*? -- |^Error: ")
_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+\s+\w+ \S+ -- |^\[\d{4}-[^]]*\] \S+:\d+: ")


@dataclass(frozen=True)
class Start:
    """A way to start a private Ray.

    Attributes:
        options: for ``ray.init``, beside its public ones.
        variables: for the environment, while it starts.
        lean: functions of Ray's are exchanged while it starts.
        lacks: what it has not, of what the way before it has; a clause.
    """

    options: Mapping[str, Any]
    variables: Mapping[str, str] = field(default_factory=dict)
    lean: bool = False
    lacks: str = ""


class RayPrivate:
    """The internals of one release of Ray, as far as it has them.

    Args:
        ray: the module.
        dead_server: says which of Ray's servers has ended; None: none has.
    """

    def __init__(self, ray: Any, dead_server: Callable[[], str | None] = lambda: None) -> None:
        self._ray = ray
        self._dead_server = dead_server
        self._missed: dict[str, str] = {}

    @property
    def release(self) -> str:
        """Such as ``2.60.0``."""
        return str(getattr(self._ray, "__version__", "of an unknown release"))

    @property
    def knows_tokens(self) -> bool:
        """Whether this release can ask those who connect for a token."""
        return self._minor >= _TOKENS_SINCE

    @property
    def variables(self) -> Mapping[str, str]:
        """For the environment of a Ray: a job that asks for no GPU finds ``CUDA_VISIBLE_DEVICES`` as it is."""
        first, end = _HIDES_GPUS
        return {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"} if first <= self._minor < end else {}

    @property
    def _minor(self) -> tuple[int, ...]:
        return tuple(int(number) for number in re.findall(r"\d+", self.release)[:2]) or (sys.maxsize,)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not found until now, and what happens instead, in one line; nothing if all was found."""
        if not self._missed:
            return ()
        oldest, newest = TESTED_RELEASES
        missed = "; ".join(f"no {what}: {instead}" for what, instead in self._missed.items())
        return (f"Ray {self.release} has other internals than expected (tested: {oldest} to {newest}): {missed}",)

    def miss(self, what: str, instead: str) -> None:
        """Remember for the notes that something is not as expected.

        Args:
            what: is missing, or does not work as it did.
            instead: what happens now; a clause.
        """
        self._missed.setdefault(what, instead)

    def starts(self, directory: str) -> tuple[Start, ...]:
        """Ways to start a private Ray, the fastest first; each needs less of Ray's internals than the one before.

        Args:
            directory: for Ray's files.
        """
        documented = {"_temp_dir": directory, "_node_ip_address": LOOPBACK}
        return (
            Start({**documented, "_system_config": dict(SYSTEM_CONFIG)}, lean=True),
            Start(documented, lacks="it starts and ends more slowly, and listens on all interfaces"),
            Start({}, {"RAY_TMPDIR": str(Path(directory).parent)}, lacks="it has its files where it wants them"),
        )

    @contextlib.contextmanager
    def ready_for(self, start: Start) -> Iterator[None]:
        """In here Ray starts in this way."""
        before = {name: os.environ.get(name) for name in start.variables}
        os.environ.update(start.variables)
        try:
            with self.lean() if start.lean else contextlib.nullcontext():
                yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

    @contextlib.contextmanager
    def lean(self) -> Iterator[None]:
        """A Ray that starts in here starts without what it has no use for, and without waits for larger machines.

        Ray has no settings for it, so some of its functions are exchanged as long as this lasts.
        """
        with contextlib.ExitStack() as stack:
            for name in ("start_monitor", "start_log_monitor", "start_api_server"):
                self._exchange(stack, "node.Node", name, lambda _: _nothing, "Ray starts a process that nobody needs")
            self._exchange(stack, "services", "get_node", self._impatient, "the start waits up to a second longer")
            if self._minor >= _PORT_FILES_SINCE:
                instead = "an interruption of the start may take half a minute"
                self._exchange(stack, "node", "wait_for_persisted_port", self._sharing, instead)
            # Ray takes the loopback address for a mistake, and listens to the whole network instead.
            instead = "Ray may listen on all interfaces"
            self._exchange(stack, "services", "resolve_ip_for_localhost", lambda _: _itself, instead)
            yield

    def _exchange(
        self,
        stack: contextlib.ExitStack,
        path: str,
        name: str,
        made_of: Callable[[Callable[..., Any]], Callable[..., Any]],
        instead: str,
    ) -> None:
        """Exchange one function until ``stack`` ends, if it is there."""
        owner = self._private(path)
        original = getattr(owner, name, None)
        if not callable(original):
            self.miss(f"{path}.{name}", instead)
            return
        setattr(owner, name, made_of(original))
        stack.callback(setattr, owner, name, original)

    def _private(self, path: str) -> Any:
        found = getattr(self._ray, "_private", None)
        for name in path.split("."):
            found = getattr(found, name, None)
        return found

    def _impatient(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Ray's ``get_node``, called when the node is there: before that it would sleep a whole second."""

        def get_node(*where: Any, **named: Any) -> Any:
            try:
                self._await_node(*where, **named)
            except Exception:  # noqa: BLE001 - whatever is different: Ray's own look, which comes now, is the plain way
                self.miss("services.get_node, state.GlobalState", "the start waits up to a second longer")
            if (dead := self._dead_server()) is not None:
                raise ConnectionError(f"its {dead}")  # Ray would go on looking for half a minute
            return original(*where, **named)

        return get_node

    def _await_node(self, gcs_address: str, node_id: str) -> None:
        state = self._ray._private.state.GlobalState()
        state._initialize_global_state(self._ray._private.services._get_gcs_client_options(gcs_address))
        give_up = time.monotonic() + _LOOK_BOUND_S
        while node_id not in {row["NodeID"] for row in state.node_table()}:
            if time.monotonic() >= give_up or self._dead_server() is not None:
                return
            time.sleep(_LOOK_S)

    def _sharing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Ray's wait for a file of a server's, in short looks: it lets no other thread run.

        Where the server was killed, since the user has interrupted the start, it would keep this process for half a
        minute.
        """
        try:
            signature = inspect.signature(original)
            default_ms = signature.parameters["timeout_ms"].default
            signature.bind_partial(timeout_ms=1, poll_interval_ms=1)
        except (KeyError, TypeError, ValueError):
            instead = "an interruption of the start may take half a minute"
            self.miss("node.wait_for_persisted_port(timeout_ms, poll_interval_ms)", instead)
            return original

        def wait_for_persisted_port(*where: Any, **named: Any) -> Any:
            call = signature.bind(*where, **named)
            give_up = time.monotonic() + call.arguments.get("timeout_ms", default_ms) / 1000
            call.arguments.update(timeout_ms=1, poll_interval_ms=1)
            while time.monotonic() < give_up:
                with contextlib.suppress(RuntimeError, TimeoutError):  # not there yet
                    return original(*call.args, **call.kwargs)
                time.sleep(_LOOK_S)
            call.arguments["timeout_ms"] = 0
            return original(*call.args, **call.kwargs)

        return wait_for_persisted_port

    def silence(self) -> None:
        """Stop Ray's thread that prints messages of its servers to standard output; they reach us as errors, too."""
        try:
            worker = self._ray._private.worker.global_worker
            worker.threads_stopped.set()
            worker.gcs_error_subscriber.close()
        except Exception:  # noqa: BLE001 - whatever is different: the messages are merely printed
            self.miss("worker.global_worker.gcs_error_subscriber", "Ray's own messages may appear in the output")

    def read_token_again(self) -> bool:
        """Have Ray read from the environment again whether there is a token, and which; whether it could be told to."""
        if not self.knows_tokens:
            return True
        try:
            self._ray._raylet.Config.initialize("")
            self._ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
        except Exception:  # noqa: BLE001 - whatever is different: it has read it once, when it was imported
            return False
        return True

    def remote_generator(self, function: Callable[..., Any], most_ahead: int) -> Any:
        """A task that streams what it yields and is never repeated.

        Args:
            most_ahead: what it yields before somebody has listened.
        """
        options = {"max_retries": 0, "num_returns": "streaming"}
        try:
            return self._ray.remote(**options, _generator_backpressure_num_objects=most_ahead)(function)
        except (TypeError, ValueError):
            self.miss("_generator_backpressure_num_objects", "large files of a task may fill the store of its node")
            return self._ray.remote(**options)(function)


def _nothing(*_: Any, **__: Any) -> None:
    """Stands where a process would be started."""


def _itself(*host: Any, **named: Any) -> Any:
    """Stands where an address would be replaced."""
    return (*host, *named.values())[0]


def command() -> tuple[str, ...]:
    """Ray's command line: of this Python's Ray, which need not be the one on ``PATH``."""
    if importlib.util.find_spec("ray.scripts") and importlib.util.find_spec("ray.scripts.scripts"):
        return sys.executable, "-m", "ray.scripts.scripts"
    beside = Path(sys.executable).with_name("ray")
    return (str(beside) if beside.exists() else "ray",)


def health_checks(address: str) -> tuple[tuple[str, ...], ...]:
    """Arguments for Ray's command line that ask a cluster whether it is there: the quick way, and the public one.

    Args:
        address: ``host:port``, or ``auto``.
    """
    where = () if address == "auto" else (f"--address={address}",)
    return ("health-check", *where), ("status", *where)


def is_unknown_command(output: str) -> bool:
    """Whether Ray's command line has no such command, going by what it said."""
    return "No such command" in output


def is_refusal(line: str) -> bool:
    """Whether one of Ray's commands says in this line that the cluster does not take the token."""
    return any(word in line for word in _REFUSED)


def error_in(output: str) -> str | None:
    """The error in what a command of Ray's said, without time and place in the source; if there is none, its end."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in reversed(lines):
        if _ERROR.search(line):
            return _PREFIX.sub("", line)
    return _PREFIX.sub("", lines[-1]) if lines else None


def knows_its_cluster() -> bool:
    """Whether Ray has been told which cluster ``auto`` is; else it takes one whose processes run on this machine."""
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - Ray's own place
    return "RAY_ADDRESS" in os.environ or Path(temporary, "ray", "ray_current_cluster").exists()


@dataclass(frozen=True)
class NodeServer:
    """The server of a Ray node on this machine, as its command line tells of it; empty: it tells nothing."""

    pid: int
    node: str
    cluster: str


def node_servers() -> Iterator[NodeServer]:
    """Servers of nodes on this machine. Ray has no public list of them; without it a node of ours more is started."""
    import psutil  # only where a cluster is joined

    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet":
            pairs = (option.partition("=")[::2] for option in process.info["cmdline"] or [])
            options = {name.lstrip("-").replace("_", "-"): value for name, value in pairs}
            yield NodeServer(process.pid, options.get("node-id", ""), options.get("gcs-address", ""))
