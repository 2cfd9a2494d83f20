"""What can be checked of tasks before anything runs, beyond names and edges: notebooks, kernels, arguments."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cloudpickle

from pynb_dag_runner.dag import FunctionSource, NotebookSource, Task, replace_references
from pynb_dag_runner.errors import PipelineError
from pynb_dag_runner.executors.base import Resources
from pynb_dag_runner.parameters import notebook_problems
from pynb_dag_runner.run_folder import paths


def task_problems(tasks: Iterable[Task]) -> list[str]:
    """Everything that is wrong with the tasks, one sentence each, naming the task."""
    found: list[str] = []
    pickled: dict[int, str | None] = {}
    for task in tasks:
        if isinstance(task.source, NotebookSource):
            problems = _notebook_problems(task.source, task.parameters)
        else:
            problems = _function_problems(task.source, task.parameters, pickled)
        problems += _folder_problems(task.name)
        found += [f"task {task.name!r}: {problem}" for problem in problems]
    return found


def check_capacity(pipeline: str, needs: Mapping[str, Resources], nodes: Sequence[Resources]) -> None:
    """Refuse what the executor can never give.

    Args:
        needs: for each task what it asks for.
        nodes: what each node has; a task runs on one of them.

    Raises:
        PipelineError: naming each such task and amount.
    """
    problems = [
        f"task {name!r} asks for more than any node has: {', '.join(lacking)}"
        for name, needed in needs.items()
        if (lacking := min((node.lacking(needed) for node in nodes), key=len, default=["there is no node"]))
    ]
    if problems:
        raise PipelineError(pipeline, problems)


def _folder_problems(name: str) -> list[str]:
    if not name:
        return []  # reported where names are checked
    try:
        paths.encode_name(name)
    except ValueError as error:
        return [str(error)]
    return []


def _notebook_problems(source: NotebookSource, parameters: Mapping[str, Any]) -> list[str]:
    # Jupytext takes a third of a second to import; a pipeline of functions does without.
    from pynb_dag_runner.work.kernels.specs import choose
    from pynb_dag_runner.work.notebook_source import UnreadableNotebook, read_notebook

    problems = []
    try:
        notebook = read_notebook(source.path)
        choose(source.kernel, notebook.metadata)
    except (UnreadableNotebook, LookupError) as error:
        problems.append(f"notebook {source.path}: {error}")
    if source.cwd is not None and not source.cwd.is_dir():
        problems.append(f"cwd: there is no directory {source.cwd}")
    given = replace_references(dict(parameters), lambda reference: None)
    return problems + notebook_problems(given)


def _function_problems(
    source: FunctionSource, parameters: Mapping[str, Any], pickled: dict[int, str | None]
) -> list[str]:
    function: Any = source.function
    if not callable(function):
        return [f"{function!r} can't be called; p.function takes a function"]
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return [f"{source.qualified_name}() is async or a generator; a task's function must return its value"]
    problems = _argument_problems(function, source.qualified_name, parameters)
    if id(function) not in pickled:
        pickled[id(function)] = _pickling_problem(function)
    if reason := pickled[id(function)]:
        problems.append(f"function {source.qualified_name} can't be sent to a worker: {reason}")
    for name, value in parameters.items():
        plain = replace_references(value, lambda reference: None)
        if not isinstance(plain, str | int | float | bool | Path | None) and (reason := _pickling_problem(plain)):
            problems.append(f"parameter {name!r} can't be sent to a worker: {reason}")
    return problems


def _argument_problems(function: Callable[..., Any], name: str, parameters: Mapping[str, Any]) -> list[str]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return []  # some built-in functions have none
    try:
        signature.bind(**parameters)
    except TypeError as error:
        return [f"{name}{signature} can't be called with the parameters {sorted(parameters)}: {error}"]
    return []


def _pickling_problem(value: Any) -> str | None:
    try:
        cloudpickle.dumps(value)
    except Exception as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
        return f"{type(error).__name__}: {error}"
    return None
