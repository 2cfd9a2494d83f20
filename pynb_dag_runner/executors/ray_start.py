"""Starting a private Ray without what it has no use for, and without waits that are for larger machines.

Ray offers no setting for most of it, so this exchanges some of its private functions while it starts. Where a release
of Ray has no such function, Ray starts as it always does, only slower. Measured with Ray 2.60 on 2 cores, in seconds:

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
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

CONFIGURATION: Mapping[str, int] = {
    # The node asks for its object store before that listens. Ray's own values, 10 times after 1000 ms, in other steps.
    "raylet_client_connect_timeout_milliseconds": 10,
    "raylet_client_num_connect_attempts": 1000,
}
"""For ``ray.init``'s ``_system_config``."""

_LOOK_S = 0.02
_LOOK_BOUND_S = 30.0
"""Ray's own look, which also knows how to fail, comes after it."""


@contextlib.contextmanager
def lean(ray: Any) -> Iterator[None]:
    """A Ray that is started in here is started lean.

    Args:
        ray: the module.
    """
    with contextlib.ExitStack() as stack:
        node = _private(ray, "node.Node")
        for name in ("start_monitor", "start_log_monitor", "start_api_server"):
            _exchange(stack, node, name, lambda _: _nothing)
        _exchange(stack, _private(ray, "services"), "get_node", lambda original: _impatient(ray, original))
        _exchange(stack, _private(ray, "node"), "wait_for_persisted_port", _sharing)
        # Ray takes the loopback address for a mistake, and listens to the whole network instead.
        _exchange(stack, _private(ray, "services"), "resolve_ip_for_localhost", lambda _: _itself)
        yield


def _private(ray: Any, path: str) -> Any:
    found = getattr(ray, "_private", None)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def _exchange(
    stack: contextlib.ExitStack, owner: Any, name: str, made_of: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Exchange one function until ``stack`` ends, if it is there."""
    original = getattr(owner, name, None)
    if original is not None:
        setattr(owner, name, made_of(original))
        stack.callback(setattr, owner, name, original)


def _nothing(*_: Any, **__: Any) -> None:
    """Stands where a process would be started."""


def _itself(host: str) -> str:
    """Stands where an address would be replaced."""
    return host


def _impatient(ray: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    """Ray's ``get_node``, called when the node is there: before that it would sleep a whole second."""

    def get_node(gcs_address: str, node_id: str) -> Any:
        with contextlib.suppress(AttributeError):
            state = ray._private.state.GlobalState()
            state._initialize_global_state(ray._private.services._get_gcs_client_options(gcs_address))
            give_up = time.monotonic() + _LOOK_BOUND_S
            while time.monotonic() < give_up and node_id not in {row["NodeID"] for row in state.node_table()}:
                time.sleep(_LOOK_S)
        return original(gcs_address, node_id)

    return get_node


def _sharing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Ray's wait for a file of a server's, in short looks: it lets no other thread run.

    Where the server was killed, since the user has interrupted the start, it would keep this process for half a minute.
    """

    def wait_for_persisted_port(*where: Any, timeout_ms: int, **options: Any) -> Any:
        give_up = time.monotonic() + timeout_ms / 1000
        while time.monotonic() < give_up:
            with contextlib.suppress(RuntimeError):  # not there yet
                return original(*where, timeout_ms=1, poll_interval_ms=1)
            time.sleep(_LOOK_S)
        return original(*where, timeout_ms=0, **options)

    return wait_for_persisted_port
