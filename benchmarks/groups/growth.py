"""Whether a task costs the same in a large run as in a small one, and how long a large run takes to look at."""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks import ours
from benchmarks.comparing import Comparison, Quantities, Row, Way
from benchmarks.groups.scale import Scale
from benchmarks.measuring import MeasurementFailed, measure
from benchmarks.peers import PROGRAMS
from benchmarks.subjects.pipelines import LAYER
from benchmarks.tables import spread

FROM = 1000
"""Tasks from which on the cost of each must not grow."""


def comparisons(scale: Scale) -> Sequence[Comparison]:
    """Runs on both executors, the scheduler alone, commands on a large run."""
    return [
        runs(scale, "ray", "Ray"),
        runs(scale, "process", "processes"),
        scheduler(scale),
        commands(scale),
    ]


def runs(scale: Scale, executor: str, words: str) -> Comparison:
    """Whole runs."""
    sizes = (LAYER,) if scale.short else (100, 1000, 10_000)
    return Comparison(
        title=f"Functions in layers of {LAYER} with random edges, on {words}",
        reference=f"{sizes[len(sizes) // 2]:,} tasks",
        ways=[Way(f"{size:,} tasks", partial(whole_run, size, executor)) for size in sizes],
        labels={
            "task_s": "time per task",
            "task_bytes": "driver's memory per task, above that of a run of one task",
            "run_s": "time of the run",
            "report_s": "from the run's end to the command's: report, Ray's end",
            "peak_bytes": "driver's peak memory",
        },
        note="Time of the run: from `start` to `end` of `run.json`.",
        rounds=scale.times(3),
        conclude=partial(largest_over_smallest, sizes=sizes),
    )


def largest_over_smallest(rows: Sequence[Row], *, sizes: Sequence[int]) -> Sequence[str]:
    """A sentence on each quantity per task."""
    large = [f"{size:,} tasks" for size in sizes if size >= FROM]
    words = {"task_s": "time", "task_bytes": "memory"}
    return [
        f"Largest over smallest {word} per task from {FROM:,} tasks on: {found:.2f}."
        for quantity, word in words.items()
        if len(large) > 1 and (found := spread(rows, quantity, large)) is not None
    ]


def whole_run(number: int, executor: str, directory: Path) -> Quantities:
    """Time and memory of a run of so many tasks."""
    smallest = ours.run(f"{ours.PIPELINES}:chain", directory, "--executor", executor, parameters={"number": 1})
    run = layers(number, executor, directory)
    ended = run.measured.started + run.measured.wall_s
    return {
        "run_s": run.run_s,
        "task_s": run.run_s / number,
        "report_s": ended - ours.seconds(run.record["end"]),
        "peak_bytes": run.measured.peak_bytes,
        "task_bytes": (run.measured.peak_bytes - smallest.measured.peak_bytes) / number,
    }


def layers(number: int, executor: str, directory: Path, *, status: str = "SUCCEEDED") -> ours.RunOfOurs:
    """A run of so many tasks; its last layer fails while there is a file ``broken`` in the directory."""
    given = {"number": number, "broken": directory / "broken"}
    options = ("--executor", executor)
    return ours.run(f"{ours.PIPELINES}:layers", directory, *options, parameters=given, status=status)


def scheduler(scale: Scale) -> Comparison:
    """The plan, told that each attempt has ended; no executor, no files."""
    sizes = (1000, 2000) if scale.short else (1000, 10_000, 100_000, 1_000_000)
    return Comparison(
        title="The scheduler alone",
        reference=f"{sizes[0]:,} tasks",
        ways=[Way(f"{size:,} tasks", partial(plan_of, size)) for size in sizes],
        labels={"task_s": "time per task", "task_bytes": "memory per task", "run_s": "all decisions of the run"},
        note="The same layers and edges; from its making to its last decision. Processor time; peak of its memory.",
        rounds=scale.times(5),
        conclude=partial(largest_over_smallest, sizes=sizes),
    )


def plan_of(number: int, directory: Path) -> Quantities:
    """In a process of its own."""
    told = json.loads(measure([sys.executable, PROGRAMS / "plan_alone.py", str(number)], directory).stdout)
    return {
        "run_s": told["run_s"],
        "task_s": told["run_s"] / number,
        "task_bytes": told["peak_bytes"] / number,
    }


def commands(scale: Scale) -> Comparison:
    """What a user does with a large run afterwards."""
    sizes = (2 * LAYER,) if scale.short else (1000, 10_000)
    return Comparison(
        title="Commands on a run",
        reference=f"{sizes[0]:,} tasks",
        ways=[Way(f"{size:,} tasks", partial(all_commands, size)) for size in sizes],
        labels={
            "show_s": "`show`",
            "report_s": "`report`",
            "mermaid_s": "`graph` of the run, as mermaid",
            "svg_s": "`graph` of the run, as SVG",
            "resume_failed_s": f"`resume`: the {LAYER} tasks of the last layer had failed and run again",
            "resume_done_s": "`resume` of a run that has succeeded: nothing to do",
            "report_html_bytes": "`report.html`",
        },
        note="The same layers on processes, of which the last one had failed. Whole processes.",
        rounds=scale.times(3),
    )


def all_commands(number: int, directory: Path) -> Quantities:
    """One after another, since each takes the folder as the one before has left it."""
    broken = directory / "broken"
    broken.touch()
    folder = layers(number, "process", directory, status="FAILED").folder
    found = timed(folder, directory, {"show_s": ["show"], "report_s": ["report"]})
    graphs = {"mermaid_s": "mermaid", "svg_s": "svg"}
    found |= timed(folder, directory, {name: ["graph", "--format", kind] for name, kind in graphs.items()})
    broken.unlink()
    for name in ("resume_failed_s", "resume_done_s"):
        found |= timed(folder, directory, {name: ["resume", "--no-progress"]})
        status = json.loads((folder / "run.json").read_text())["status"]
        if status != "SUCCEEDED":
            raise MeasurementFailed(f"{name}: the resumed run is {status}")
    return {**found, "report_html_bytes": (folder / "report.html").stat().st_size}


def timed(folder: Path, directory: Path, commands: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Seconds of each command on the run."""
    return {
        name: measure([ours.COMMAND, *words, folder], directory, exit_codes=(0, 1)).wall_s
        for name, words in commands.items()
    }
