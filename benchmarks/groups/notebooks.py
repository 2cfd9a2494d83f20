"""Many notebooks side by side: ours, papermill, Ploomber, and the floor."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean

import nbformat

from benchmarks import ours
from benchmarks.comparing import Comparison, Quantities, Way
from benchmarks.groups.scale import WIDTH, Scale
from benchmarks.measuring import Measured, MeasurementFailed, measure
from benchmarks.peers import PROGRAMS, ploomber_environment
from benchmarks.subjects import notebooks

POOL = "papermill, pool"
PRELOADED = "preloaded.py"
_CALLING_NOBODY = {"PLOOMBER_STATS_ENABLED": "false", "PLOOMBER_VERSION_CHECK_DISABLED": "true"}

Evaluate = Callable[[Path, int], Measured]
"""Evaluates a number of notebooks in a directory."""


def comparisons(scale: Scale) -> Sequence[Comparison]:
    """Trivial notebooks, and notebooks that import large libraries."""
    return [trivial(scale), figures(scale)]


def trivial(scale: Scale) -> Comparison:
    """Two numbers of notebooks in each round, so that the cost of each further one is known."""
    few, many = scale.of(24, 1), scale.of(96, 2)

    def way(name: str, evaluate: Evaluate, *, slow: bool = False) -> Way:
        return Way(name, partial(few_and_many, evaluate, few, many), slow=slow)

    cells, target = notebooks.TRIVIAL, "pipelines.py:notebooks"
    return Comparison(
        title=f"{few} and {many} trivial notebooks",
        reference=POOL,
        ways=scale.ways(
            way("ours on Ray", partial(by_us, cells, target=target, executor="ray"), slow=True),
            way("ours on processes", partial(by_us, cells, target=target, executor="process")),
            way(POOL, partial(by_program, cells, "papermill_pool.py", WIDTH)),
            way("papermill, one after another", partial(by_program, cells, "papermill_pool.py", 1), slow=True),
            way("Ploomber, parallel executor", partial(by_ploomber, cells), slow=True),
            way("floor", partial(by_program, cells, "floor.py", WIDTH)),
        ),
        labels={
            "few_wall_s": f"{few} notebooks",
            "few_cpu_s": f"{few} notebooks, processor time",
            "many_wall_s": f"{many} notebooks",
            "many_cpu_s": f"{many} notebooks, processor time",
            "further_wall_s": "each further notebook",
            "further_cpu_s": "each further notebook, processor time",
        },
        note=f"Three cells that do next to nothing; {WIDTH} notebooks at once. Whole processes, Ray's start included.",
        rounds=scale.times(3),
    )


def few_and_many(evaluate: Evaluate, few: int, many: int, directory: Path) -> Quantities:
    """Evaluate both numbers, and see what each notebook more has cost."""
    found: dict[str, float] = {}
    measured = {}
    for name, number in (("few", few), ("many", many)):
        place = directory / name
        place.mkdir()
        measured[name] = evaluate(place, number)
        found |= {f"{name}_{quantity}": value for quantity, value in measured[name].times.items()}
    for quantity, value in measured["many"].times.items():
        found[f"further_{quantity}"] = (value - measured["few"].times[quantity]) / (many - few)
    return found


def figures(scale: Scale) -> Comparison:
    """Most of such a notebook's time is the import of its libraries."""
    number = scale.of(24, 2)

    def way(name: str, evaluate: Evaluate, *, slow: bool = False) -> Way:
        return Way(name, partial(whole_process, evaluate, number), slow=slow)

    cells, plain = notebooks.FIGURES, "pipelines.py:notebooks"
    return Comparison(
        title=f"{number} notebooks that import pandas and matplotlib and draw two figures",
        reference=POOL,
        ways=scale.ways(
            way("ours on Ray, preload", partial(by_us, cells, target=PRELOADED, executor="ray")),
            way("ours on Ray", partial(by_us, cells, target=plain, executor="ray"), slow=True),
            way("ours on processes, preload", partial(by_us, cells, target=PRELOADED, executor="process"), slow=True),
            way("ours on processes", partial(by_us, cells, target=plain, executor="process"), slow=True),
            way(POOL, partial(by_program, cells, "papermill_pool.py", WIDTH)),
        ),
        labels={"wall_s": "whole process", "cpu_s": "processor time"},
        note='With preload: `@pipeline(preload=["pandas", "matplotlib.pyplot"])`.',
        rounds=scale.times(3),
    )


def whole_process(evaluate: Evaluate, number: int, directory: Path) -> Quantities:
    """Evaluate so many."""
    return evaluate(directory, number).times


def by_us(cells: Sequence[str], directory: Path, number: int, *, target: str, executor: str) -> Measured:
    """With the command, from a text notebook."""
    notebook = notebooks.write_text(directory / "notebook.py", cells)
    given = {"notebook": notebook, "number": number}
    run = ours.run(ours.SUBJECTS / target, directory, "--executor", executor, parameters=given)
    check(list(run.folder.glob("tasks/*/attempt-1/notebook.ipynb")), number, cells)
    check_kernels(run, preloaded=target == PRELOADED)
    return run.measured


def by_program(cells: Sequence[str], program: str, width: int, directory: Path, number: int) -> Measured:
    """With one of the programs in ``peers``."""
    notebook = notebooks.write_ipynb(directory / "notebook.ipynb", cells)
    found = measure([sys.executable, PROGRAMS / program, notebook, str(number), str(width)], directory)
    check(list(directory.glob("out-*.ipynb")), number, cells)
    return found


def by_ploomber(cells: Sequence[str], directory: Path, number: int) -> Measured:
    """In its own environment; it wants a cell for parameters, and keeps files in the home directory."""
    notebook = notebooks.write_ipynb(directory / "notebook.ipynb", cells)
    content = nbformat.read(notebook, as_version=4)
    content.cells[0].metadata["tags"] = ["parameters"]
    content.cells[0].source = f"upstream = None\nproduct = None\n{content.cells[0].source}"
    nbformat.write(content, notebook)
    command: list[str | Path] = [
        ploomber_environment.python(),
        PROGRAMS / "ploomber_parallel.py",
        notebook,
        str(number),
        str(WIDTH),
    ]
    found = measure(command, directory, environment={**_CALLING_NOBODY, "HOME": str(directory)})
    check(list(directory.glob("out-*.ipynb")), number, cells)
    return found


def check(evaluated: Sequence[Path], number: int, cells: Sequence[str]) -> None:
    """All notebooks are there, and all cells have run.

    Raises:
        MeasurementFailed: something is missing.
    """
    if len(evaluated) != number:
        raise MeasurementFailed(f"{len(evaluated)} evaluated notebooks, expected {number}")
    for path in evaluated:
        content = nbformat.read(path, as_version=4)
        executed = [cell for cell in content.cells if cell.cell_type == "code" and cell.execution_count]
        outputs = mean(len(cell.outputs) for cell in executed) if executed else 0
        if len(executed) < len(cells) or not outputs:
            raise MeasurementFailed(f"{path}: {len(executed)} of {len(cells)} cells have run")


def check_kernels(run: ours.RunOfOurs, *, preloaded: bool) -> None:
    """All kernels came from the fork server, with the libraries that the pipeline names.

    Raises:
        MeasurementFailed: one was started, which is slower, and what it says of the reason.
    """
    for attempt in run.attempts:
        start = attempt["kernel_start"]
        if start["how"] != "forked" or bool(start["preloaded"]) is not preloaded:
            raise MeasurementFailed(f"the kernel of {attempt['task']} is not as it should be: {start}")
