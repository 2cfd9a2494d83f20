"""The driver's memory: it must not grow with what tasks put out."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import ours
from benchmarks.comparing import Comparison, Quantities, Way
from benchmarks.groups.scale import Scale
from benchmarks.measuring import measure
from benchmarks.subjects import notebooks

FLOOR_COMMAND = (sys.executable, "-c", "import ray, time; time.sleep(0.1)")
"""The pause lets its memory be seen."""
FLOOR = "Python with Ray imported"


def comparisons(scale: Scale) -> Sequence[Comparison]:
    """Many tasks, and large notebooks."""
    tasks, large = scale.of(1000, 20), scale.of(4, 1)
    ways = [Way(FLOOR, floor)]
    for executor, words in (("ray", "on Ray"), ("process", "on processes")):
        title = f"{large} notebooks with 50 MB of outputs each {words}"
        ways += scale.ways(
            Way(f"{tasks:,} functions {words}", partial(functions, tasks, executor), slow=executor == "ray"),
            Way(title, partial(large_notebooks, large, executor), slow=executor == "ray"),
        )
    return [
        Comparison(
            title="Peak memory of the driver",
            reference=FLOOR,
            ways=ways,
            labels={"peak_bytes": "largest resident set"},
            note="Of the command's own process; workers and kernels are others.",
            rounds=scale.times(3),
        )
    ]


def floor(directory: Path) -> Quantities:
    """What the interpreter and Ray's module take."""
    return {"peak_bytes": measure(FLOOR_COMMAND, directory).peak_bytes}


def functions(number: int, executor: str, directory: Path) -> Quantities:
    """Many small tasks."""
    run = ours.run(f"{ours.PIPELINES}:fan", directory, "--executor", executor, parameters={"number": number})
    return {"peak_bytes": run.measured.peak_bytes}


def large_notebooks(number: int, executor: str, directory: Path) -> Quantities:
    """Few large ones; each file is checked to have its size."""
    notebook = notebooks.write_text(directory / "notebook.py", notebooks.large_outputs())
    given = {"notebook": notebook, "number": number}
    run = ours.run(f"{ours.PIPELINES}:notebooks", directory, "--executor", executor, parameters=given)
    notebooks.check_sizes(run.folder)
    return {"peak_bytes": run.measured.peak_bytes}
