"""``run --dry-run``: print the tasks in an order in which they can run, with their parameters."""

import graphlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pynb_dag_runner.model.graph import Dag, NotebookSource, Task
from pynb_dag_runner.model.recorded_values import recorded
from pynb_dag_runner.model.references import OutputReference, replace_references
from pynb_dag_runner.model.task_options import TaskOptions
from pynb_dag_runner.model.text import printable
from pynb_dag_runner.reports.styled_text import shown_path
from pynb_dag_runner.secrets.masking import Redactor


def tasks_in_order(dag: Dag) -> Iterator[Task]:
    """Every task after those it waits for; of several that could start at once, the one defined first."""
    sorter = graphlib.TopologicalSorter(dag.upstream)
    sorter.prepare()
    place = {task.name: index for index, task in enumerate(dag.tasks)}
    while ready := sorted(sorter.get_ready(), key=place.__getitem__):
        for name in ready:
            yield dag.by_name[name]
            sorter.done(name)


def plan_document(dag: Dag, redactor: Redactor) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "pipeline": dag.name,
        "parameters": redactor.values(_recorded(dag.parameters)),
        "tasks": [
            {
                "name": task.name,
                "kind": task.kind,
                "source": _source(task),
                "upstream": list(dag.upstream[task.name]),
                "parameters": redactor.values(_recorded(task.parameters)),
                "options": _recorded({field.name: getattr(task.options, field.name) for field in fields(TaskOptions)}),
            }
            for task in tasks_in_order(dag)
        ],
    }


def plan_text(dag: Dag, cwd: Path, redactor: Redactor) -> str:
    """A paragraph per task; options only where they differ from the defaults. Paths are shown relative to ``cwd``."""
    count = "1 task" if len(dag.tasks) == 1 else f"{len(dag.tasks)} tasks"
    lines = [f"pipeline {dag.name!r}: {count}; nothing is run"]
    lines += [f"  {name} = {redactor.text(_shown(value))}" for name, value in dag.parameters.items()]
    width = len(str(len(dag.tasks)))
    for number, task in enumerate(tasks_in_order(dag), start=1):
        lines.append(f"{number:>{width}}. {task.name}  ({task.kind} {_shown_source(task, cwd)})")
        indent = " " * (width + 4)
        if dag.upstream[task.name]:
            lines.append(f"{indent}after {', '.join(dag.upstream[task.name])}")
        lines += [f"{indent}{name} = {redactor.text(_shown(value))}" for name, value in task.parameters.items()]
        options = ", ".join(f"{name}={_shown(value)}" for name, value in _changed_options(task.options))
        lines += [f"{indent}with {options}"] if options else []
    return "\n".join(lines) + "\n"


def _changed_options(options: TaskOptions) -> Iterator[tuple[str, Any]]:
    usual = TaskOptions()
    for field in fields(TaskOptions):
        value = getattr(options, field.name)
        if value != getattr(usual, field.name):
            yield field.name, value


def _recorded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: recorded(replace_references(value, repr)) for name, value in values.items()}


def _shown(value: Any) -> str:
    if isinstance(value, OutputReference):
        return repr(value)
    return printable(json.dumps(recorded(replace_references(value, repr)), ensure_ascii=False))


def _source(task: Task) -> str:
    return str(task.source.path) if isinstance(task.source, NotebookSource) else task.source.qualified_name


def _shown_source(task: Task, cwd: Path) -> str:
    return shown_path(task.source.path, cwd) if isinstance(task.source, NotebookSource) else _source(task)
