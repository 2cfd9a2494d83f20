"""Record metrics, params, tags, files and outputs of a task. For use inside notebooks and functions.

Names and signatures are those of MLflow's fluent API; MLflow need not be installed. Inside a run each call writes files
into the attempt's folder. Outside a run (a notebook opened in Jupyter, a function called by hand) the same calls check
their arguments and show what they would log.

Standard library only, so that importing it costs a kernel next to nothing.
"""

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pynb_dag_runner.model.json_values import encode, json_problem
from pynb_dag_runner.processes.locks import lock

__all__ = [
    "log_artifact",
    "log_artifacts",
    "log_dict",
    "log_figure",
    "log_image",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_table",
    "log_text",
    "set_output",
    "set_tag",
    "set_tags",
]

ATTEMPT_DIR_VARIABLE = "PYNB_DAG_RUNNER_ATTEMPT_DIR"
"""Environment variable that names the attempt's folder; set by the runner."""

_METRICS = "metrics.jsonl"
_TRACKING = "tracking.json"
_ARTIFACTS = "artifacts"
_SCHEMA_VERSION = "1.1"
_thread_lock = threading.Lock()


def log_metric(key: str, value: float, step: int | None = None, timestamp: int | None = None) -> None:
    """Log one value of a metric.

    Args:
        key: the metric's name.
        value: a number; NaN and infinities are kept.
        step: position on the metric's own axis; None counts as 0.
        timestamp: milliseconds since 1970, UTC; None: now.

    Raises:
        TypeError: ``key`` is no string, ``value`` no number or ``step`` no whole number.
        ValueError: ``step`` has more than 64 bits, which no store holds.
    """
    log_metrics({key: value}, step=step, timestamp=timestamp)


def log_metrics(metrics: Mapping[str, float], step: int | None = None, timestamp: int | None = None) -> None:
    """Log values of several metrics at one step; arguments as in :func:`log_metric`."""
    now_ms = int(time.time() * 1000) if timestamp is None else int(timestamp)
    at = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    lines = []
    for key, value in metrics.items():
        number = _number(_key(key, "metric"), value)
        shown = encode(number)
        line = {"key": key, "value": shown["$float"] if isinstance(shown, dict) else shown}
        lines.append(json.dumps({**line, "step": _step(step), "timestamp": at}, ensure_ascii=False))
    folder = _attempt_dir()
    if folder is None:
        _show("metric", {key: metrics[key] for key in metrics} | ({} if step is None else {"step": step}))
        return
    # One write of whole lines to a file opened for appending: other threads and child processes can log as well.
    with open(folder / _METRICS, "ab", buffering=0) as file:
        file.write("".join(line + "\n" for line in lines).encode())


def log_param(key: str, value: Any) -> Any:
    """Log a parameter; its value is kept as text.

    Returns:
        ``value``.

    Raises:
        ValueError: the parameter was logged before with another value; params can't change, here as in MLflow.
    """
    log_params({key: value})
    return value


def log_params(params: Mapping[str, Any]) -> None:
    """Log several parameters; see :func:`log_param`."""
    texts = {_key(key, "param"): str(value) for key, value in params.items()}
    with _tracking("param", texts) as content:
        known = content["params"]
        for key, text in texts.items():
            if known.get(key, text) != text:
                raise ValueError(f"param {key!r} was logged as {known[key]!r} and can't change to {text!r}")
        known.update(texts)


def set_tag(key: str, value: Any) -> None:
    """Set a tag; its value is kept as text. Setting it again replaces the value."""
    set_tags({key: value})


def set_tags(tags: Mapping[str, Any]) -> None:
    """Set several tags; see :func:`set_tag`."""
    texts = {_key(key, "tag"): str(value) for key, value in tags.items()}
    with _tracking("tag", texts) as content:
        content["tags"].update(texts)


def set_output(name: str, value: Any) -> None:
    """Hand ``value`` to downstream tasks under ``name``; setting it again replaces the value.

    Args:
        name: what ``task.output(name)`` asks for.
        value: what JSON holds without loss: None, bool, int, float, str, lists and dicts with string keys of these.

    Raises:
        TypeError: JSON can't hold the value; the message names the place in it.
    """
    if problem := json_problem(value, f"output {_key(name, 'output')!r}"):
        raise TypeError(f"{problem}; an output holds None, bool, int, float, str, lists and dicts of these")
    with _tracking("output", {name: value}) as content:
        content["outputs"][name] = encode(value)


def log_text(text: str, artifact_file: str) -> None:
    """Write ``text`` to ``artifact_file`` (a relative path) among the attempt's artifacts, as UTF-8."""
    with _artifact(artifact_file) as path:
        path.write_text(text, encoding="utf-8")


def log_dict(dictionary: Mapping[str, Any] | list[Any], artifact_file: str) -> None:
    """Write ``dictionary`` as JSON, or as YAML if the name ends in .yml or .yaml; other values as their ``str``."""
    if artifact_file.endswith((".yml", ".yaml")):
        import yaml

        text = yaml.safe_dump(json.loads(json.dumps(dictionary, default=str)), sort_keys=False, allow_unicode=True)
    else:
        text = json.dumps(dictionary, indent=2, default=str, ensure_ascii=False)
    log_text(text, artifact_file)


def log_figure(figure: Any, artifact_file: str, *, save_kwargs: dict[str, Any] | None = None) -> None:
    """Save a matplotlib figure (``savefig``) or a plotly figure (``write_html``, ``write_image``) as the ending says.

    Args:
        save_kwargs: further arguments of the figure's own saving method.
    """
    options = dict(save_kwargs or {})
    with _artifact(artifact_file) as path:
        if hasattr(figure, "savefig"):
            figure.savefig(path, **options)
        elif hasattr(figure, "write_html") and path.suffix == ".html":
            figure.write_html(path, **options)
        elif hasattr(figure, "write_image"):
            figure.write_image(path, **options)
        else:
            raise TypeError(f"log_figure takes a matplotlib or plotly figure, got a {type(figure).__name__}")


def log_image(image: Any, artifact_file: str) -> None:
    """Save an image: a PIL image, or a numpy array of shape (height, width[, 1, 3 or 4]); floats from 0 to 1."""
    with _artifact(artifact_file) as path:
        if not hasattr(image, "save"):
            import numpy
            from PIL import Image

            pixels = numpy.asarray(image)
            if pixels.ndim == 3 and pixels.shape[2] == 1:
                pixels = pixels[:, :, 0]
            if pixels.dtype.kind == "f":
                pixels = (numpy.clip(pixels, 0, 1) * 255).round()
            image = Image.fromarray(pixels.astype(numpy.uint8))
        image.save(path)


def log_table(data: Any, artifact_file: str) -> None:
    """Write a table as JSON in the split form that MLflow's viewer shows: ``{"columns": [...], "data": [[...]]}``.

    Args:
        data: a dict of columns (lists of equal length, or single values) or a pandas DataFrame.
        artifact_file: a name that ends in ``.json``.
    """
    if not artifact_file.endswith(".json"):
        raise ValueError(f"log_table writes JSON: got {artifact_file!r}, expected a name that ends in .json")
    if hasattr(data, "to_json"):
        log_text(data.to_json(orient="split", index=False, date_format="iso"), artifact_file)
        return
    columns = {key: list(column) if isinstance(column, list | tuple) else [column] for key, column in data.items()}
    lengths = {key: len(column) for key, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of a table have one length; got {lengths}")
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    log_text(json.dumps({"columns": list(columns), "data": rows}, default=str, ensure_ascii=False), artifact_file)


def log_artifact(local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
    """Copy a file among the attempt's artifacts, below the folder ``artifact_path`` if one is given.

    Raises:
        FileNotFoundError: there is no such file.
    """
    source = Path(local_path)
    if source.is_dir():
        log_artifacts(source, f"{artifact_path}/{source.name}" if artifact_path else source.name)
        return
    if not source.is_file():
        raise FileNotFoundError(f"log_artifact: there is no file {str(source)!r} in {Path.cwd()}")
    with _artifact(f"{artifact_path}/{source.name}" if artifact_path else source.name) as path:
        shutil.copyfile(source, path)


def log_artifacts(local_dir: str | os.PathLike[str], artifact_path: str | None = None) -> None:
    """Copy all files below a directory among the attempt's artifacts.

    Raises:
        NotADirectoryError: there is no such directory.
    """
    top = Path(local_dir)
    if not top.is_dir():
        raise NotADirectoryError(f"log_artifacts: there is no directory {str(top)!r} in {Path.cwd()}")
    for source in sorted(top.rglob("*")):
        if source.is_file():
            relative = source.relative_to(top).as_posix()
            with _artifact(f"{artifact_path}/{relative}" if artifact_path else relative) as path:
                shutil.copyfile(source, path)


def _attempt_dir() -> Path | None:
    """The attempt's folder; None outside a run."""
    value = os.environ.get(ATTEMPT_DIR_VARIABLE)
    return Path(value) if value else None


def _show(kind: str, values: Mapping[str, Any]) -> None:
    shown = ", ".join(f"{key} = {value!r}" for key, value in values.items())
    print(f"[tracking] {kind}: {shown}")  # noqa: T201 - what a user by hand wants to see


def _key(key: Any, kind: str) -> str:
    if not isinstance(key, str) or not key:
        raise TypeError(f"the name of a {kind} must be a text that is not empty, got {key!r}")
    return key


def _step(step: Any) -> int:
    if step is None:
        return 0
    try:
        number = int(step.__index__())
    except AttributeError:
        raise TypeError(f"step must be a whole number, got {step!r}") from None
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"step must be a whole number of 64 bits, got {number!r}")
    return number


def _number(key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"metric {key!r} must be a number, got {value!r} of type {type(value).__name__}") from None


@contextlib.contextmanager
def _tracking(kind: str, values: Mapping[str, Any]) -> Iterator[dict[str, dict[str, Any]]]:
    """The content of ``tracking.json``, to be changed; written back whole. Threads and processes take turns."""
    folder = _attempt_dir()
    empty: dict[str, dict[str, Any]] = {"params": {}, "tags": {}, "outputs": {}}
    if folder is None:
        _show(kind, values)
        yield empty
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with _thread_lock:  # on NFS the lock of the folder keeps out other processes, but not other threads
            lock(descriptor)
            path = folder / _TRACKING
            content: dict[str, dict[str, Any]] = json.loads(path.read_bytes()) if path.exists() else empty
            yield content
            text = json.dumps({"schema_version": _SCHEMA_VERSION} | content, ensure_ascii=False, indent=1)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            temporary.write_bytes(f"{text}\n".encode())
            os.replace(temporary, path)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _artifact(artifact_file: str) -> Iterator[Path]:
    """Where to write an artifact; a part appears under its own name only when it is whole."""
    name = PurePosixPath(artifact_file)
    if (
        not artifact_file
        or name.is_absolute()
        or ".." in name.parts
        or "\0" in artifact_file
        or name == PurePosixPath()
    ):
        raise ValueError(f"an artifact's name is a relative path without '..', got {artifact_file!r}")
    folder = _attempt_dir()
    if folder is None:
        import tempfile

        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, name.name)
            yield path
            _show("artifact", {str(name): f"{path.stat().st_size} bytes"})
        return
    path = folder / _ARTIFACTS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not among the artifacts: a task that is killed here must not leave a part that passes for one of them. The ending
    # stays: savefig and PIL choose the format by it.
    temporary = folder / f".{os.getpid()}.{threading.get_ident()}.tmp{path.suffix}"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
