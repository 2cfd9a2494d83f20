"""Settings that MLflow's client takes from environment variables only, and reads again with each request."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_FIRST_CONTACT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""MLflow's own 7 retries of 120 s each would keep a user with a mistyped address waiting for minutes."""
_PATIENCE = {
    # Tries again after 0, 4, 8 and 16 s and up to 3 s of chance: a server that is started again needs 5 to 20 s.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "2",
    # Seconds, of one try. A server that passes a large file on to other storage answers when that is done.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    # An hour, if it says so: longer than anyone waits. The next upload goes on where this one stops.
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
"""How long an upload waits for a server that it has reached: half a minute if it refuses, 5.5 if it hangs."""
_OURS = _PATIENCE | {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Without this, MLflow prints two lines on stdout and asks the server once more, for each run.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_lock = Lock()
_users = 0
_set: frozenset[str] = frozenset()


@contextmanager
def upload_settings() -> Iterator[None]:
    """Set what an upload needs and the user has not set; the last of several threads takes it away again."""
    global _users, _set
    with _lock:
        if not _users:
            _set = frozenset(_OURS.keys() - os.environ.keys())
            os.environ.update({name: _OURS[name] for name in _set})
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                for name in _set:
                    os.environ.pop(name, None)


@contextmanager
def first_contact() -> Iterator[None]:
    """Less patience, within :func:`upload_settings`; what the user has set stays."""
    ours = {name: value for name, value in _FIRST_CONTACT.items() if name in _set}
    os.environ.update(ours)
    try:
        yield
    finally:
        os.environ.update({name: _PATIENCE[name] for name in ours})
