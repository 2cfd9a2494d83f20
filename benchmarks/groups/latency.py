"""How soon a task starts when what it waits for has ended, while slots are free."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import ours
from benchmarks.comparing import Comparison, Quantities, Way
from benchmarks.groups.functions import RAY
from benchmarks.groups.scale import Scale
from benchmarks.measuring import measure
from benchmarks.peers import PROGRAMS
from benchmarks.subjects import notebooks


def comparisons(scale: Scale) -> Sequence[Comparison]:
    """In a chain every task but one waits, and all slots but one are free."""
    functions, evaluated = scale.of(100, 5), scale.of(20, 3)
    return [
        Comparison(
            title=f"From one task's end to the next one's start, {functions} functions or {evaluated} notebooks",
            reference=RAY,
            ways=scale.ways(
                Way(RAY, partial(by_ray, functions), slow=True),
                Way("functions on Ray", partial(of_functions, functions, "ray"), slow=True),
                Way("functions on processes", partial(of_functions, functions, "process")),
                Way("notebooks on Ray", partial(of_notebooks, evaluated, "ray"), slow=True),
                Way("notebooks on processes", partial(of_notebooks, evaluated, "process")),
            ),
            labels={"gap_s": "median in a run", "longest_gap_s": "longest in a run"},
            note="Times of `attempt.json`. An attempt ends when its outcome is known, and before its kernel has ended.",
            rounds=scale.times(5),
        )
    ]


def by_ray(number: int, directory: Path) -> Quantities:
    """Ray's tasks note their own times."""
    measured = measure([sys.executable, PROGRAMS / "raw_ray.py", "chain", str(number)], directory)
    return quantities(json.loads(measured.stdout)["gaps_s"])


def of_functions(number: int, executor: str, directory: Path) -> Quantities:
    """A chain of functions."""
    given = {"number": number}
    return quantities(ours.run(f"{ours.PIPELINES}:chain", directory, "--executor", executor, parameters=given).gaps_s())


def of_notebooks(number: int, executor: str, directory: Path) -> Quantities:
    """A chain of notebooks."""
    notebook = notebooks.write_text(directory / "notebook.py", notebooks.TRIVIAL)
    given = {"notebook": notebook, "number": number}
    run = ours.run(f"{ours.PIPELINES}:notebook_chain", directory, "--executor", executor, parameters=given)
    return quantities(run.gaps_s())


def quantities(gaps_s: list[float]) -> Quantities:
    """What is told of them."""
    return {"gap_s": ours.median(gaps_s), "longest_gap_s": max(gaps_s)}
