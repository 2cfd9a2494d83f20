"""MLflow's rules for names, sizes and batches, and how values that break them are made to fit. Pure.

The figures are those of ``mlflow/utils/validation.py`` in MLflow 3.17 and 3.18, unless a line says otherwise.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from mlflow_bridge.model.values import Batch, MetricPoint

MAX_KEY_CHARACTERS = 250
MAX_RUN_NAME_CHARACTERS = 250
"""Width of the column in MLflow's tables; longer names are not refused on sqlite, but on other databases."""
MAX_EXPERIMENT_NAME_CHARACTERS = 256
"""Width of the column: MLflow itself would take 500, which PostgreSQL refuses."""
MAX_PARAM_CHARACTERS = 6000
"""A longer one is cut without a word, at the end of a warning in a log."""
MAX_TAG_CHARACTERS = 8000
MAX_USER_CHARACTERS = 256
"""Width of the column that a run's tag ``mlflow.user`` goes to as well."""
MAX_EXPERIMENT_TAG_CHARACTERS = 20000
MAX_BATCH_PARAMS = 100
MAX_BATCH_TAGS = 100
MAX_BATCH_ENTITIES = 1000
"""Metrics, parameters and tags of one request together."""
MAX_FILE_NAME_BYTES = 255
"""Of Linux file systems (limits.h); a longer part makes the server fail and the client retry for minutes."""

CUT_MARK = " […cut]"

_ILLEGAL_IN_KEY = re.compile(r"[^\w./\- :]")
"""Colons are legal, except on a server that runs on Windows."""
_LOST_IN_ARTIFACT = re.compile("[#?%\\\\\x00-\x1f\x7f\ud800-\udfff]")
"""MLflow's HTTP client does not quote names: of ``a#b`` and ``a?b`` only ``a`` arrives, ``a%20b`` becomes ``a b``.

Control characters are escaped by the server, a backslash is refused, and lone surrogates (bytes of a file name that
are no UTF-8) can't be sent.
"""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""PostgreSQL keeps no NUL, and no database half a character."""
_RESERVED_ARTIFACT = ".artifact.uploading."
"""Prefix of the temporary files of MLflow's local artifact store."""


def cut(text: str, limit: int) -> str:
    """``text``, at most ``limit`` characters long, with a visible mark where something is missing.

    Characters that not every database keeps are replaced by others that can be seen.
    """
    kept = storable(text)
    return kept if len(kept) <= limit else kept[: limit - len(CUT_MARK)] + CUT_MARK


def storable(text: str) -> str:
    """``text`` with characters that every database keeps; not shorter or longer."""
    return _UNSTORABLE.sub(lambda found: "␀" if found[0] == "\x00" else "\ufffd", text)


def legal_keys(keys: Iterable[str]) -> dict[str, str]:
    """A key that MLflow takes for each of ``keys``; no two get the same one.

    Legal keys keep their names. In others, what MLflow refuses becomes ``_``; where that makes two keys equal, or a key
    had to be cut, it ends with a hash of the original name.
    """
    wanted = dict.fromkeys(keys)
    legal = {key: key for key in wanted if key == _legal_key(key) and len(key) <= MAX_KEY_CHARACTERS}
    taken = set(legal)
    for key in wanted:
        if key not in legal:
            candidate = _legal_key(key)
            if candidate in taken or len(candidate) > MAX_KEY_CHARACTERS:
                candidate = f"{candidate[: MAX_KEY_CHARACTERS - 9]}_{_short_hash(key)}"
            legal[key] = candidate
            taken.add(candidate)
    return legal


def _legal_key(key: str) -> str:
    """``key`` with legal characters, and parts that a file system would not resolve to something else."""
    parts = _ILLEGAL_IN_KEY.sub("_", key).split("/")
    plain = "/".join("_" if part in ("", ".", "..") else part for part in parts)
    return re.sub(r"^\.\.", "__", plain)


def artifact_name(path: PurePosixPath) -> str:
    """The name under which MLflow keeps a file; the same as ``path`` unless MLflow would lose or refuse it.

    A part that had to be changed ends with a hash of the original, before its suffix: viewers go by the suffix.
    """
    return "/".join(_artifact_part(part) for part in path.parts)


def _artifact_part(part: str) -> str:
    plain = _LOST_IN_ARTIFACT.sub("_", part)
    if plain.startswith(_RESERVED_ARTIFACT):
        plain = f"_{plain}"
    if plain == part and len(part.encode()) <= MAX_FILE_NAME_BYTES:
        return part
    suffix = PurePosixPath(plain).suffix[:20]
    end = f"_{_short_hash(part)}{suffix}"
    stem = plain.removesuffix(suffix).encode()[: MAX_FILE_NAME_BYTES - len(end.encode())]
    return stem.decode(errors="ignore") + end


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def batches(params: Mapping[str, str], metrics: Iterable[MetricPoint], tags: Mapping[str, str]) -> Iterator[Batch]:
    """All of a run's data in requests that MLflow takes.

    Tags come last, in their order: a store writes parameters, metrics and tags of a request in this order, each in a
    transaction of its own. So the last tag is only there if all else is.
    """
    params_left, metrics_left, tags_left = list(params.items()), list(metrics), list(tags.items())
    params_at = metrics_at = tags_at = 0
    while params_at < len(params_left) or metrics_at < len(metrics_left) or tags_at < len(tags_left):
        some_params = params_left[params_at : params_at + MAX_BATCH_PARAMS]
        params_at += len(some_params)
        some_metrics = metrics_left[metrics_at : metrics_at + MAX_BATCH_ENTITIES - len(some_params)]
        metrics_at += len(some_metrics)
        some_tags: list[tuple[str, str]] = []
        if params_at == len(params_left) and metrics_at == len(metrics_left):
            room = min(MAX_BATCH_TAGS, MAX_BATCH_ENTITIES - len(some_params) - len(some_metrics))
            some_tags = tags_left[tags_at : tags_at + room]
            tags_at += len(some_tags)
        yield Batch(params=tuple(some_params), metrics=tuple(some_metrics), tags=tuple(some_tags))
