"""Errors of MLflow's client, and of what lies below it, become one sentence of ours."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlflow_bridge.errors import StoreError
from mlflow_bridge.target import Target

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

_STATUSES = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}


@contextmanager
def translated(target: Target) -> Iterator[None]:
    """Errors of MLflow and of what lies below it as one sentence."""
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise StoreError(_sentence(target, error)) from error
    except requests.RequestException as error:
        status = error.response.status_code if error.response is not None else None
        raise StoreError(_by_status(target, status) or _by_cause(target, error) or _other(target, error)) from error
    except OSError as error:
        raise StoreError(f"{target.shown} can't be written: {error.strerror or error}") from error


def _sentence(target: Target, error: "MlflowException") -> str:
    # MLflow's own answers are JSON and have an error code; of others the text names the status.
    foreign = re.search(r"failed with error code (\d{3}) ", error.message)
    status = int(foreign.group(1)) if foreign else _STATUSES.get(error.error_code)
    return _by_cause(target, error) or _by_status(target, status) or _other(target, error)


def _by_cause(target: Target, error: BaseException) -> str | None:
    """What went wrong with the connection, if that was it."""
    import requests

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, requests.exceptions.SSLError):
            return f"the certificate of {target.shown} was not accepted: {_first_line(cause)}"
        if isinstance(cause, requests.Timeout):
            return f"no answer from {target.shown} in time"
        if isinstance(cause, requests.ConnectionError):
            refused = "connection refused" if "refused" in str(cause) else _first_line(cause)
            return f"can't reach an MLflow server at {target.shown}: {refused}"
        cause = cause.__cause__ or cause.__context__
    return None


def _by_status(target: Target, status: int | None) -> str | None:
    match status:
        case 401:
            return (
                f"{target.shown} asks who you are: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
                "or MLFLOW_TRACKING_TOKEN (401)"
            )
        case 403:
            return f"{target.shown} refuses this: no permission, or a host name that it was not told to accept (403)"
        case 404 | 405:
            return f"{target.shown} answers, but not as an MLflow server ({status})"
        case 413:
            return f"{target.shown}, or a proxy before it, refuses a request as too large (413)"
    return None


def _other(target: Target, error: BaseException) -> str:
    return f"{target.shown} refuses this: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
