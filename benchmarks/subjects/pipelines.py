"""Pipelines that are measured; each task does next to nothing."""

import random
from pathlib import Path

from pynb_dag_runner import Pipeline, Task, pipeline

LAYER = 100
"""Tasks that may run side by side in :func:`layers`."""
EDGES = 3
"""Tasks of the layer before that each task waits for."""


def number_of(number: int) -> int:
    """Give back what came in."""
    return number


def count(values: list[int]) -> int:
    """Take values from many tasks."""
    return len(values)


def add_one(value: int) -> int:
    """Take a value from the task before."""
    return value + 1


def layered(number: int, broken: Path) -> int:
    """Fail while there is a file ``broken``."""
    if broken.exists():
        raise RuntimeError(f"{broken} is there")
    return number


@pipeline
def notebooks(p: Pipeline, notebook: Path, number: int) -> None:
    """The same notebook many times, side by side."""
    for index in range(number):
        p.notebook(notebook, name=f"{notebook.stem}-{index:03d}")


@pipeline
def notebook_chain(p: Pipeline, notebook: Path, number: int) -> None:
    """The same notebook many times, one after another."""
    before: list[Task] = []
    for index in range(number):
        before = [p.notebook(notebook, name=f"{notebook.stem}-{index:03d}", after=before)]


@pipeline
def fan(p: Pipeline, number: int) -> None:
    """Functions side by side, and one that takes the values of all."""
    tasks = [p.function(number_of, name=f"task-{index:05d}", parameters={"number": index}) for index in range(number)]
    p.function(count, parameters={"values": [task.output("return") for task in tasks]})


@pipeline
def chain(p: Pipeline, number: int) -> None:
    """Functions one after another, each with the value of the one before."""
    task = p.function(number_of, name="task-00000", parameters={"number": 0})
    for index in range(1, number):
        task = p.function(add_one, name=f"task-{index:05d}", parameters={"value": task.output("return")})


@pipeline
def layers(p: Pipeline, number: int, broken: Path) -> None:
    """Layers of functions with random edges between them; those of the last layer fail while ``broken`` is there."""
    chance = random.Random(1)
    names: list[str] = []
    for index in range(number):
        first = (index // LAYER - 1) * LAYER
        before = sorted(chance.sample(range(first, first + LAYER), EDGES)) if first >= 0 else []
        name = f"task-{index:05d}"
        parameters = {"number": index, "broken": broken} if index >= number - LAYER else {"number": index}
        function = layered if index >= number - LAYER else number_of
        p.function(function, name=name, parameters=parameters, after=[names[position] for position in before])
        names.append(name)
