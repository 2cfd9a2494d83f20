"""Every name in a run folder, once.

::

    <output directory>/<pipeline>/<run id>/
      run.json  events.jsonl  report.html  summary.md  .lock
      tasks/<task>/task.json
      tasks/<task>/attempt-<n>/attempt.json  notebook.ipynb  notebook.html  output.log  metrics.jsonl  tracking.json
      tasks/<task>/attempt-<n>/artifacts/...  outputs/return.pkl  mlflow/mlflow.db  mlflow/artifacts/...
"""

import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

RUN = "run.json"
EVENTS = "events.jsonl"
REPORT = "report.html"
SUMMARY = "summary.md"
TASKS = "tasks"
TASK = "task.json"
ATTEMPT = "attempt.json"
NOTEBOOK = "notebook.ipynb"
NOTEBOOK_HTML = "notebook.html"
LOG = "output.log"
METRICS = "metrics.jsonl"
TRACKING = "tracking.json"
ARTIFACTS = "artifacts"
RETURN_PICKLE = "outputs/return.pkl"
MLFLOW_DATABASE = "mlflow/mlflow.db"
MLFLOW_ARTIFACTS = "mlflow/artifacts"
LOCK = ".lock"

_ATTEMPT_PREFIX = "attempt-"
_UNSAFE = re.compile(r'[\x00-\x1f\x7f"%*/:<>?\\|]|^[. ]|[. ]$')
"""What some file system refuses or treats specially, and % itself so that encoding can be undone."""
_WINDOWS_DEVICE = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_MAX_FILE_NAME_BYTES = 255


def encode_name(name: str) -> str:
    """A file name for any task or pipeline name; :func:`decode_name` gives the name back.

    Letters of every script stay readable; what file systems refuse is percent-encoded (RFC 3986, section 2.1).

    Raises:
        ValueError: the encoded name is longer than a file system's 255 bytes.
    """
    encoded = _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match.group().encode()), name)
    if _WINDOWS_DEVICE.match(encoded):
        encoded = f"%{ord(encoded[0]):02X}{encoded[1:]}"
    if not encoded or len(encoded.encode()) > _MAX_FILE_NAME_BYTES:
        raise ValueError(f"the name {name[:40]!r} can't be a folder's name: {len(encoded.encode())} bytes when encoded")
    return encoded


def decode_name(encoded: str) -> str:
    """The name that :func:`encode_name` was given."""
    return unquote(encoded)


def href(relative: Path) -> str:
    """A link, relative to the run folder, that opens ``relative`` in a browser."""
    return quote(relative.as_posix())


def new_run_id(now: datetime) -> str:
    """A run id that sorts by time, such as ``20261123T054712Z-9f3c``."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def run_folder(output_dir: Path, pipeline: str, run_id: str) -> Path:
    """Where a run is kept."""
    return output_dir / encode_name(pipeline) / run_id


def task_folder(run: Path, task: str) -> Path:
    """Folder of a task below the run folder ``run``."""
    return run / task_place(task)


def task_place(task: str) -> str:
    """Where a task's folder lies in any run folder; a text, since a reader of many tasks waits for paths."""
    return f"{TASKS}/{encode_name(task)}"


def attempt_number(name: str) -> int | None:
    """Number of the attempt whose folder has this name; None if it is no attempt's."""
    found = re.fullmatch(rf"{_ATTEMPT_PREFIX}([1-9]\d{{0,17}})", name, re.ASCII)
    return int(found[1]) if found else None


def attempt_folder(run: Path, task: str, number: int) -> Path:
    """Folder of an attempt; ``number`` counts from 1."""
    return run / attempt_place(task_place(task), number)


def attempt_place(task_place: str, number: int) -> str:
    """Where an attempt of the task at :func:`task_place` lies."""
    return f"{task_place}/{_ATTEMPT_PREFIX}{number}"
