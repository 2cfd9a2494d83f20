"""This project's command, measured, and what its run folders say."""

import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.measuring import Measured, MeasurementFailed, measure

COMMAND = Path(sys.executable).with_name("pynb-dag-runner")
SUBJECTS = Path(__file__).with_name("subjects")
PIPELINES = SUBJECTS / "pipelines.py"


@dataclass(frozen=True)
class RunOfOurs:
    """A run that was measured.

    Attributes:
        measured: the whole process.
        folder: its run folder.
    """

    measured: Measured
    folder: Path

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """``run.json``."""
        return _json(self.folder / "run.json")

    @cached_property
    def attempts(self) -> list[Mapping[str, Any]]:
        """``attempt.json`` of each task's first attempt."""
        return [_json(path) for path in sorted(self.folder.glob("tasks/*/attempt-1/attempt.json"))]

    @property
    def run_s(self) -> float:
        """From when the engine is ready until all tasks are settled; the last pages and the report come after."""
        return seconds(self.record["end"]) - seconds(self.record["start"])

    @property
    def to_first_task_s(self) -> float:
        """From the command's start until the first task ran."""
        return min(seconds(attempt["start"]) for attempt in self.attempts) - self.measured.started

    def gaps_s(self) -> list[float]:
        """For each task with upstream tasks: from the end of the last of them to its start."""
        by_name = {attempt["task"]: attempt for attempt in self.attempts}
        return [
            seconds(by_name[task["name"]]["start"]) - max(seconds(by_name[name]["end"]) for name in task["upstream"])
            for task in self.record["tasks"]
            if task["upstream"]
        ]


def run(
    target: str | Path,
    directory: Path,
    *options: str,
    parameters: Mapping[str, object] | None = None,
    status: str = "SUCCEEDED",
) -> RunOfOurs:
    """Run a pipeline by the command, into ``directory``.

    Args:
        status: that the run is expected to have.

    Raises:
        MeasurementFailed: it ended otherwise, or without files of all tasks.
    """
    given = [text for name, value in (parameters or {}).items() for text in ("-p", f"{name}={value}")]
    command = [COMMAND, "run", target, "--output-dir", directory / "runs", "--no-progress", *options, *given]
    measured = measure(command, directory, exit_codes=[0 if status == "SUCCEEDED" else 1])
    found = RunOfOurs(measured, Path(measured.stdout.strip().splitlines()[-1]))
    if found.record["status"] != status:
        raise MeasurementFailed(f"{target}: {found.record['status']}, expected {status}")
    if len(found.attempts) != len(found.record["tasks"]):
        raise MeasurementFailed(f"{target}: {len(found.attempts)} attempts of {len(found.record['tasks'])} tasks")
    return found


def seconds(time: str) -> float:
    """A time of the run folder, in seconds since 1970."""
    return datetime.fromisoformat(time).timestamp()


def median(values: list[float]) -> float:
    """Of measurements, of which there must be some.

    Raises:
        MeasurementFailed: there are none.
    """
    if not values:
        raise MeasurementFailed("nothing was measured")
    return statistics.median(values)


def _json(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text())
    return found
