"""Captured databases of one upload: each is read once, as far as memory allows."""

from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from mlflow_bridge.model.captured_values import Captured, CapturedModel
from mlflow_bridge.source.captured_database import read_captured
from pynb_dag_runner.run_folder import AttemptRun

MAX_KEPT_VALUES = 500_000
"""Points of metrics, texts and spans; one takes some 300 bytes. To read what is more a second time costs less than the
memory."""


class Captures:
    """What attempts logged with MLflow's own calls; may be asked by several threads."""

    def __init__(self) -> None:
        self._kept: dict[Path, Captured] = {}
        self._room = MAX_KEPT_VALUES
        self._lock = Lock()

    def read(self, folder: Path, attempt: AttemptRun) -> Captured:
        """As :func:`~mlflow_bridge.source.captured_database.read_captured`."""
        with self._lock:
            kept = self._kept.get(attempt.folder)
        if kept is not None:
            return kept
        captured = read_captured(folder, attempt)
        size = sum(_sizes(captured))
        with self._lock:
            if size <= self._room:
                self._room -= size
                self._kept[attempt.folder] = captured
        return captured


def _sizes(captured: Captured) -> Iterator[int]:
    for run in captured.runs:
        yield len(run.metrics) + len(run.params) + len(run.tags) + len(run.files)
        yield from map(_size_of_model, run.models)
    yield from map(_size_of_model, captured.models)
    for trace in captured.traces:
        # A span is a text of any length.
        yield sum(map(len, trace.spans)) // 300 + len(trace.tags) + len(trace.metadata) + len(trace.assessments)


def _size_of_model(model: CapturedModel) -> int:
    return len(model.metrics) + len(model.params) + len(model.tags) + len(model.files)
