"""Tasks, and the frozen graph that they form.

Values only: nothing here reads a file or runs anything. Names, edges and cycles are checked when the graph is made.
"""

import difflib
import graphlib
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pynb_dag_runner.errors import PipelineError
from pynb_dag_runner.model.references import OutputReference, TaskElsewhere, references_in
from pynb_dag_runner.model.task_options import TaskOptions
from pynb_dag_runner.model.text import listed

MAX_NAME_BYTES = 160
"""Longest task name in UTF-8 bytes: percent-encoded threefold at worst it would pass the 255 bytes of a file name, so
names that need encoding are bounded again where folders are named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotebookSource:
    """A notebook file.

    Attributes:
        path: absolute path of the notebook.
        kernel: name of the kernelspec to run it in; None: the one the notebook names, else the runner's interpreter.
        cwd: absolute working directory of the kernel; None: the notebook's own directory.
        extra_parameters: it takes parameters that its own code does not mention.
    """

    path: Path
    kernel: str | None = None
    cwd: Path | None = None
    extra_parameters: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionSource:
    """A Python function, called with the task's parameters as keyword arguments."""

    function: Callable[..., Any]

    @property
    def qualified_name(self) -> str:
        """``module.function``, for people; the function itself travels to workers by value or by reference."""
        name = getattr(self.function, "__qualname__", repr(self.function))
        return f"{getattr(self.function, '__module__', '?')}.{name}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A node of the graph. Made by ``Pipeline.notebook`` and ``Pipeline.function``.

    Attributes:
        name: unique in the pipeline.
        source: what runs.
        parameters: values handed to it; an :class:`OutputReference` may stand anywhere inside.
        after: names of tasks that must succeed first, beside those whose outputs ``parameters`` uses.
        options: retries, timeout, resources.
        owner: identity of the pipeline object that made this task.
    """

    name: str
    source: NotebookSource | FunctionSource
    parameters: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    options: TaskOptions = field(default_factory=TaskOptions)
    owner: object = None

    def output(self, name: str = "return") -> OutputReference:
        """A reference to one of this task's outputs, to stand in a downstream task's parameters.

        Args:
            name: as given to ``tracking.set_output``; a function's return value is called ``return``.
        """
        return OutputReference(self, name)

    @property
    def kind(self) -> str:
        """``notebook`` or ``function``."""
        return "notebook" if isinstance(self.source, NotebookSource) else "function"

    def __repr__(self) -> str:
        return f"<Task {self.name!r} ({self.kind})>"

    def __copy__(self) -> "Task":
        return self

    def __deepcopy__(self, _memo: object) -> "Task":
        return self  # a copy would be one of no pipeline

    def __reduce__(self) -> tuple[type[TaskElsewhere], tuple[str]]:
        return (TaskElsewhere, (self.name,))


@dataclass(frozen=True, kw_only=True, eq=False)
class Dag:
    """A pipeline that can run: unique names, every edge known, no cycle. Made by :func:`make_dag`.

    Attributes:
        name: the pipeline's name.
        description: its docstring, or empty.
        parameters: values of the pipeline's own parameters, converted.
        given: those of them that were given, as they were given; the others have their defaults.
        tasks: in the order in which they were defined.
        upstream: for each task the names of the tasks it waits for, in order of definition.
        preload: modules that notebooks import, imported once for all of them.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ()
    upstream: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    preload: tuple[str, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, Task]:
        """Tasks by name, in order of definition."""
        return MappingProxyType({task.name: task for task in self.tasks})

    def select(self, names: Iterable[str], *, with_upstream: bool) -> "Dag":
        """The part of the graph that ``run --task`` asks for.

        Args:
            names: tasks to keep.
            with_upstream: keep also everything they need, directly or not.

        Raises:
            PipelineError: a name is unknown, or a kept task uses an output of one that is not kept.
        """
        names = list(names)
        problems = [unknown_name("task", name, self.by_name) for name in names if name not in self.by_name]
        if problems:
            raise PipelineError(self.name, problems)
        kept, stack = set(names), list(names)
        while with_upstream and stack:
            new = [name for name in self.upstream[stack.pop()] if name not in kept]
            kept.update(new)
            stack.extend(new)
        tasks = tuple(task for task in self.tasks if task.name in kept)
        for task in tasks:
            missing = {reference.producer.name for reference in references_in(task.parameters)} - kept
            problems += [
                f"task {task.name!r} uses an output of {name!r}, which is not selected; add --upstream"
                for name in sorted(missing)
            ]
        if problems:
            raise PipelineError(self.name, problems)
        upstream = {task.name: tuple(name for name in self.upstream[task.name] if name in kept) for task in tasks}
        return replace(self, tasks=tasks, upstream=upstream)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """A sentence for a name that does not exist, with the nearest that does."""
    known = list(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    if nearest:
        return f"there is no {kind} {name!r}; did you mean {nearest[0]!r}?"
    return f"there is no {kind} {name!r}; there is {listed([repr(item) for item in known], 10) or 'none at all'}"


def make_dag(
    name: str,
    tasks: Iterable[Task],
    *,
    description: str = "",
    parameters: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
    preload: Iterable[str] = (),
    problems: Iterable[str] = (),
) -> Dag:
    """Check names, edges and cycles, and freeze the graph.

    Args:
        problems: what was found wrong before, reported together with what is found here.

    Raises:
        PipelineError: with every problem found.
    """
    tasks = tuple(tasks)
    found = [*problems, *_name_problems(tasks)]
    known = {task.name: position for position, task in enumerate(tasks)}
    upstream: dict[str, tuple[str, ...]] = {}
    for task in tasks:
        names, edge_problems = _upstream_of(task, known)
        upstream[task.name] = names
        found += edge_problems
    if not tasks and not found:
        found.append("it has no task; add one with p.notebook(...) or p.function(...)")
    try:
        # Of two tasks with one name, the edges of both would be one task's.
        counts = Counter(task.name for task in tasks)
        graphlib.TopologicalSorter({name: edges for name, edges in upstream.items() if counts[name] == 1}).prepare()
    except graphlib.CycleError as error:
        cycle = " -> ".join(error.args[1])
        found.append(f"tasks wait for each other in a cycle: {cycle}")
    if found:
        raise PipelineError(name, found)
    return Dag(
        name=name,
        description=description,
        parameters=dict(parameters or {}),
        given=dict(given or {}),
        tasks=tasks,
        upstream=upstream,
        preload=tuple(preload),
    )


def _name_problems(tasks: tuple[Task, ...]) -> list[str]:
    found = []
    seen: set[str] = set()
    for task in tasks:
        if task.name in seen:
            found.append(f"two tasks are called {task.name!r}; give one another name with name=...")
        seen.add(task.name)
        if not task.name.strip():
            found.append(f"a {task.kind} task has an empty name")
        elif not task.name.isprintable():
            found.append(f"task name {task.name!r} holds characters that can't be printed")
        elif len(task.name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
            found.append(f"task name {task.name[:40]!r}... is longer than {MAX_NAME_BYTES} bytes")
        found += [f"task {task.name!r}: {problem}" for problem in task.options.problems()]
    return found


def _upstream_of(task: Task, known: Mapping[str, int]) -> tuple[tuple[str, ...], list[str]]:
    """Names of the tasks that ``task`` waits for, in order of definition, and what is wrong with them."""
    problems = []
    names = set()
    for name in task.after:
        if name in known:
            names.add(name)
        else:
            problems.append(f"task {task.name!r}, after: {unknown_name('task', name, known)}")
    for reference in references_in(task.parameters):
        producer, output_name = reference.producer, typing.cast(object, reference.output_name)
        if not isinstance(output_name, str):
            problems.append(f"task {task.name!r} uses {reference.words}: an output's name is a text")
        elif producer.owner is not task.owner:
            problems.append(f"task {task.name!r} uses {reference.words}, which belongs to another pipeline")
        elif producer.name in known:
            names.add(producer.name)
    return tuple(sorted(names, key=known.__getitem__)), problems
