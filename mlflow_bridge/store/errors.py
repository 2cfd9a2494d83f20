"""Errors of MLflow's client, and of what lies below it, become one sentence of ours."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlflow_bridge import mlflow_internals
from mlflow_bridge.errors import StoreError, TooLargeError, UnknownCallError
from mlflow_bridge.store.target import Target

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

_STATUSES = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}
_KINDS = {404: UnknownCallError, 405: UnknownCallError, 413: TooLargeError}
_SAYS_WHO = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@contextmanager
def translated(target: Target) -> Iterator[None]:
    """Errors of MLflow and of what lies below it as one sentence.

    Raises:
        TooLargeError: the answer was 413.
        UnknownCallError: it was 404 or 405, and not MLflow's own.
        StoreError: anything else.
    """
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise _ours(target, error, _status(error)) from error
    except requests.RequestException as error:
        raise _ours(target, error, error.response.status_code if error.response is not None else None) from error
    except OSError as error:
        raise StoreError(f"{target.shown} can't be written: {error.strerror or error}") from error


def _status(error: "MlflowException") -> int | None:
    # MLflow's own answers are JSON and have an error code.
    return mlflow_internals.http_status(error) or _STATUSES.get(error.error_code)


def _ours(target: Target, error: Exception, status: int | None) -> StoreError:
    kind = _KINDS.get(status or 0, StoreError)
    return kind(_by_cause(target, error) or _by_status(target, status) or _other(target, error))


def _by_cause(target: Target, error: BaseException) -> str | None:
    """What went wrong with the connection, or again and again, if that was it."""
    import requests
    import urllib3.exceptions

    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, requests.exceptions.SSLError):
            return _of_tls(target, cause)
        if isinstance(cause, requests.exceptions.ProxyError):
            return (
                f"can't reach {target.shown} through the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names; "
                "set NO_PROXY for hosts that need none"
            )
        if isinstance(cause, requests.exceptions.RetryError):
            status = re.search(r"too many (\d{3}) error responses", str(cause))
            return f"{target.shown} answers with an error again and again{f' ({status[1]})' if status else ''}"
    # After the last retry, `requests` calls a late answer a broken connection.
    if any(isinstance(cause, requests.Timeout | urllib3.exceptions.ReadTimeoutError) for cause in causes):
        return f"no answer from {target.shown} in time"
    broken = next((cause for cause in causes if isinstance(cause, requests.ConnectionError)), None)
    if broken:
        return f"can't reach an MLflow server at {target.shown}: {_of_connection(broken)}"
    if any("TLS CA certificate bundle" in str(cause) for cause in causes if type(cause) is OSError):
        path = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", "")
        return f"MLFLOW_TRACKING_SERVER_CERT_PATH: got {path!r}, expected a file with certificates"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _of_tls(target: Target, error: Exception) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = re.search(r"certificate verify failed: (.+?)(?: \(_ssl|'|$)", text)
        return (
            f"the certificate of {target.shown} was not accepted{f' ({reason[1]})' if reason else ''}: set "
            "MLFLOW_TRACKING_SERVER_CERT_PATH to a file with the certificate that it or its authority has, "
            "or MLFLOW_TRACKING_INSECURE_TLS=true to trust anyone who answers"
        )
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        return f"{target.shown} answers, but not with TLS: is it an http:// address?"
    return f"no secure connection to {target.shown}: {_first_line(error)}"


def _of_connection(error: Exception) -> str:
    text = str(error)
    for sign, words in (
        ("refused", "connection refused"),
        ("Failed to resolve", "nobody knows a host of this name"),
        ("unreachable", "no way leads there"),
        ("No route to host", "no way leads there"),
        ("Connection aborted", "it broke the connection off"),
    ):
        if sign in text:
            return words
    return _first_line(error)


def _by_status(target: Target, status: int | None) -> str | None:
    match status:
        case 401:
            return _not_authenticated(target)
        case 403:
            return f"{target.shown} refuses this: no permission, or a host name that it was not told to accept (403)"
        case 404 | 405:
            return f"{target.shown} answers, but not as an MLflow server ({status})"
        case 413:
            return f"{target.shown}, or a proxy before it, refuses a request as too large (413)"
    return None


def _not_authenticated(target: Target) -> str:
    if "@" in target.uri or any(os.environ.get(name) for name in _SAYS_WHO):
        return (
            f"{target.shown} does not accept the user name and password, or token, that it was given: check "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN (401)"
        )
    return (
        f"{target.shown} asks who you are: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
        "or MLFLOW_TRACKING_TOKEN (401)"
    )


def _other(target: Target, error: BaseException) -> str:
    return f"{target.shown} refuses this: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
