"""Functions that do nothing: what a task costs, against Ray that writes nothing."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import ours
from benchmarks.comparing import Comparison, Quantities, Way
from benchmarks.groups.scale import Scale
from benchmarks.measuring import measure
from benchmarks.peers import PROGRAMS

RAY = "Ray alone"


def comparisons(scale: Scale) -> Sequence[Comparison]:
    """Side by side, and one after another."""
    return [
        functions(scale, "fan", scale.of(1000, 20), "functions side by side, and one that takes all their values"),
        functions(
            scale, "chain", scale.of(100, 5), "functions one after another, each with the value of the one before"
        ),
    ]


def functions(scale: Scale, shape: str, number: int, words: str) -> Comparison:
    """The same calls in both."""
    return Comparison(
        title=f"{number:,} {words}",
        reference=RAY,
        ways=scale.ways(
            Way(RAY, partial(by_ray, shape, number)),
            Way("ours on Ray", partial(by_us, shape, number, "ray"), slow=shape == "chain"),
            Way("ours on processes", partial(by_us, shape, number, "process")),
        ),
        labels={
            "run_s": "the calls",
            "again_s": "the same calls a second time",
            "wall_s": "whole process",
            "cpu_s": "processor time",
        },
        note=(
            "The calls: Ray alone from the first call to the last value, right after `ray.init`, nothing written; "
            "ours from `start` to `end` of `run.json`, all files of all tasks included; only the report comes after."
        ),
        rounds=scale.times(5),
    )


def by_ray(shape: str, number: int, directory: Path) -> Quantities:
    """Ray's first calls, and the same again when its workers are warm."""
    measured = measure([sys.executable, PROGRAMS / "raw_ray.py", shape, str(number)], directory)
    told = json.loads(measured.stdout)
    return {"run_s": told["run_s"], "again_s": told["again_s"], **measured.times}


def by_us(shape: str, number: int, executor: str, directory: Path) -> Quantities:
    """A run with its folder."""
    run = ours.run(f"{ours.PIPELINES}:{shape}", directory, "--executor", executor, parameters={"number": number})
    return {"run_s": run.run_s, **run.measured.times}
