"""Where runs are uploaded to: the tracking URI, checked."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from mlflow_bridge.errors import TargetError

DEFAULT_URI = "sqlite:///mlflow.db"
"""MLflow's own default: a file in the current directory."""
PAGES_VARIABLE = "PYNB_DAG_RUNNER_MLFLOW_UI"
"""Environment variable: where people's browsers find the server, if not at the tracking URI: it may be a name inside of
containers only, or an address behind a proxy."""
_SQLITE = "sqlite:///"
_EXPECTED = "expected sqlite:///FILE or http(s)://SERVER"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A store that can be uploaded to.

    Attributes:
        uri: what MLflow's client gets; of sqlite with an absolute path.
        shown: the same for people and records, without user name and password.
        database: absolute path of the sqlite file; None for a server.
        pages: where a browser finds the server; None: at ``shown``.
    """

    uri: str
    shown: str
    database: Path | None = None
    pages: str | None = None

    @property
    def artifact_root(self) -> Path | None:
        """Where artifacts of new experiments go; None if the server decides."""
        return self.database.parent / "mlruns" if self.database else None

    def url(self, link: str) -> str | None:
        """An address for the browser; None if no server is known."""
        return None if self.database else f"{self.pages or self.shown}/{link}"


def resolve_target(uri: str | None = None, environment: Mapping[str, str] = os.environ) -> Target:
    """The store that ``uri`` names; without it ``MLFLOW_TRACKING_URI``, and without that :data:`DEFAULT_URI`.

    Raises:
        TargetError: the URI is of a kind that the bridge does not upload to.
    """
    name = "the tracking URI" if uri else "MLFLOW_TRACKING_URI"
    text = uri or environment.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    if text.startswith(_SQLITE):
        return _sqlite(text.removeprefix(_SQLITE), f"{name} {text!r}")
    parts = _url(text, name, _EXPECTED)
    if parts.scheme in ("http", "https") and parts.hostname:
        # A URL copied from the browser ends with the page that was open.
        path = parts.path.rstrip("/")
        return Target(uri=f"{parts.scheme}://{parts.netloc}{path}", shown=_shown(parts), pages=_pages(environment))
    raise TargetError(f"{name} {_without_password(text)!r} can't be uploaded to; {_EXPECTED}{_hint(parts.scheme)}")


def _pages(environment: Mapping[str, str]) -> str | None:
    text, expected = (
        environment.get(PAGES_VARIABLE),
        "expected the address of MLflow's UI, such as http://localhost:5000",
    )
    if not text:
        return None
    parts = _url(text, PAGES_VARIABLE, expected)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TargetError(f"{PAGES_VARIABLE} is {_without_password(text)!r}; {expected}")
    return _shown(parts)


def _url(text: str, name: str, expected: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises where it is none
    except ValueError as error:
        raise TargetError(f"{name} {_without_password(text)!r} is no URL: {error}; {expected}") from None
    return parts


def _shown(parts: SplitResult) -> str:
    """An address without user name, password and the page that was open."""
    host = parts.hostname or ""
    server = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{server}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"


def _sqlite(path: str, shown: str) -> Target:
    if not path or path == ":memory:" or "?" in path:
        raise TargetError(f"{shown} names no file that could be kept; expected such as 'sqlite:///mlflow.db'")
    database = Path(path).resolve()
    if re.search("%[0-9A-Fa-f]{2}", str(database)):
        raise TargetError(
            f"the path {str(database)!r} holds a %, which MLflow reads as an escape; use another directory"
        )
    if database.is_dir():
        raise TargetError(f"{shown} names a directory; expected a file, which is made if it is not there")
    uri = f"{_SQLITE}{database}"
    return Target(uri=uri, shown=uri, database=database)


def _hint(scheme: str) -> str:
    if scheme in ("", "file"):
        return " (MLflow 3 has closed its file store)"
    if scheme in ("postgresql", "mysql", "mssql") or "+" in scheme:
        return " (start `mlflow server` on that database and upload to the server)"
    return ""


def _without_password(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", uri)
