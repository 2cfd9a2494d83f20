"""What is paid once: the start of a run, one notebook alone, commands that only tell something."""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks import ours
from benchmarks.comparing import Comparison, Quantities, Way
from benchmarks.groups.notebooks import check
from benchmarks.groups.scale import Scale
from benchmarks.measuring import measure
from benchmarks.peers import PROGRAMS
from benchmarks.subjects import notebooks

WHOLE_PROCESS = {"wall_s": "whole process", "cpu_s": "processor time"}


def comparisons(scale: Scale) -> Sequence[Comparison]:
    """From the longest to the shortest."""
    return [first_task(scale), one_notebook(scale), commands(scale)]


def first_task(scale: Scale) -> Comparison:
    """Ray's own start is the limit of ours."""
    return Comparison(
        title="From the command to the first task",
        reference="Ray alone",
        ways=scale.ways(
            Way("Ray alone", ray_start),
            Way("ours on Ray, a function", partial(our_start, "ray")),
            Way("ours on Ray, a notebook", partial(our_notebook_start, "ray"), slow=True),
            Way("ours on processes, a function", partial(our_start, "process")),
            Way("ours on processes, a notebook", partial(our_notebook_start, "process")),
        ),
        labels={"first_task_s": "until the first task runs", **WHOLE_PROCESS},
        note=(
            "Ray alone: Python, `import ray`, `ray.init` with the same arguments (no dashboard, a small object store), "
            "one task without work."
        ),
        rounds=scale.times(7),
    )


def ray_start(directory: Path) -> Quantities:
    """Ray and one task."""
    measured = measure([sys.executable, PROGRAMS / "raw_ray.py", "start"], directory)
    return {"first_task_s": json.loads(measured.stdout)["first_task"] - measured.started, **measured.times}


def our_start(executor: str, directory: Path) -> Quantities:
    """A pipeline of one function."""
    run = ours.run(f"{ours.PIPELINES}:chain", directory, "--executor", executor, parameters={"number": 1})
    return {"first_task_s": run.to_first_task_s, **run.measured.times}


def our_notebook_start(executor: str, directory: Path) -> Quantities:
    """A notebook alone."""
    run = ours.run(
        notebooks.write_text(directory / "notebook.py", notebooks.TRIVIAL), directory, "--executor", executor
    )
    return {"first_task_s": run.to_first_task_s, **run.measured.times}


def one_notebook(scale: Scale) -> Comparison:
    """The command that a user of papermill would compare ours with."""
    return Comparison(
        title="One trivial notebook",
        reference="papermill",
        ways=scale.ways(
            Way("papermill", by_papermill),
            Way("papermill, then nbconvert", by_papermill_and_nbconvert),
            Way("ours", by_us),
            Way("ours with `--executor ray`", partial(by_us, options=("--executor", "ray")), slow=True),
        ),
        labels=WHOLE_PROCESS,
        note=(
            "`pynb-dag-runner run notebook.py` against `papermill notebook.ipynb out.ipynb`, which makes no page; "
            "with `jupyter nbconvert --to html out.ipynb` after it there is one."
        ),
        rounds=scale.times(7),
    )


def by_papermill(directory: Path) -> Quantities:
    """papermill's own command."""
    notebook = notebooks.write_ipynb(directory / "notebook.ipynb", notebooks.TRIVIAL)
    papermill = Path(sys.executable).with_name("papermill")
    measured = measure([papermill, "--no-progress-bar", notebook, directory / "out.ipynb"], directory)
    check([directory / "out.ipynb"], 1, notebooks.TRIVIAL)
    return measured.times


def by_papermill_and_nbconvert(directory: Path) -> Quantities:
    """The same, and a page as ours makes one."""
    evaluated = by_papermill(directory)
    jupyter = Path(sys.executable).with_name("jupyter")
    converted = measure([jupyter, "nbconvert", "--to", "html", directory / "out.ipynb"], directory)
    assert (directory / "out.html").stat().st_size
    return {name: seconds + converted.times[name] for name, seconds in evaluated.items()}


def by_us(directory: Path, options: Sequence[str] = ()) -> Quantities:
    """Our command, which runs a single notebook on processes unless it is told otherwise."""
    notebook = notebooks.write_text(directory / "notebook.py", notebooks.TRIVIAL)
    run = ours.run(notebook, directory, *options)
    check(list(run.folder.glob("tasks/*/attempt-1/notebook.ipynb")), 1, notebooks.TRIVIAL)
    return run.measured.times


def commands(scale: Scale) -> Comparison:
    """A shell's user notices more than 0.3 s."""
    click = [sys.executable, "-c", "import click"]
    shown = ShownRun(scale.of(24, 2))
    ways: dict[str, Callable[[Path], Sequence[str | Path]]] = {
        "`python -c 'import click'`": lambda _: click,
        "`--help`": lambda _: [ours.COMMAND, "--help"],
        "`run --help`": lambda _: [ours.COMMAND, "run", "--help"],
        "`show RUN`": lambda directory: [ours.COMMAND, "show", shown.folder(directory)],
    }
    return Comparison(
        title="Commands that only tell something",
        reference="`python -c 'import click'`",
        ways=[Way(name, partial(whole_process, command)) for name, command in ways.items()],
        labels=WHOLE_PROCESS,
        note=f"`show` of a run of {shown.number + 1} functions.",
        rounds=scale.times(15),
    )


def whole_process(command: Callable[[Path], Sequence[str | Path]], directory: Path) -> Quantities:
    """One of the commands; what it needs is made before."""
    return measure(command(directory), directory).times


class ShownRun:
    """A run to look at, made anew in each directory.

    Args:
        number: of its functions.
    """

    def __init__(self, number: int) -> None:
        self.number = number

    def folder(self, directory: Path) -> Path:
        """Its folder."""
        given = {"number": self.number}
        return ours.run(f"{ours.PIPELINES}:fan", directory, "--executor", "inline", parameters=given).folder
