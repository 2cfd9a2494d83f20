"""Check tasks before anything runs, beyond names and edges: notebooks, kernels, arguments."""

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pynb_dag_runner.define.captured_values import unpicklable_variable, variables_of
from pynb_dag_runner.define.parameters import notebook_problems
from pynb_dag_runner.errors import OUTPUT_ADVICE, OutputNotKnownError
from pynb_dag_runner.executors.base import Resources
from pynb_dag_runner.model.graph import FunctionSource, NotebookSource, Task
from pynb_dag_runner.model.nested_values import instances_in
from pynb_dag_runner.model.references import references_in, replace_references, shown_references_in
from pynb_dag_runner.notebooks.source_code import source_code
from pynb_dag_runner.processes.module_files import known_files
from pynb_dag_runner.processes.pickling import dumps
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.secrets.marking import environment_problems, is_secret, replace_secrets, secret_problems

_FIND_MODULES = """
import importlib.util, json, sys
specs = {name: importlib.util.find_spec(name) for name in sys.argv[1:]}
print(json.dumps({name: spec.origin for name, spec in specs.items() if spec}))
"""
_FIND_MODULES_BOUND_S = 60.0


def task_problems(tasks: Iterable[Task]) -> list[str]:
    """Everything that is wrong with the tasks, one sentence each, naming the task."""
    found = environment_problems()
    functions = _Functions()
    for task in tasks:
        problems = _text_problems(task) + _source_problems(task, functions) + _folder_problems(task.name)
        for name, value in task.parameters.items():
            problems += secret_problems(value, f"parameter {name!r}")
        found += [f"task {task.name!r}: {problem}" for problem in problems]
    return found


def _text_problems(task: Task) -> list[str]:
    """Where outputs and tasks have become text, as by ``f"{output!r}"``, which nothing can refuse when it happens."""
    found = [("its name", shown) for shown in shown_references_in(task.name)]
    for name, value in task.parameters.items():
        found += [(f"parameter {name!r}", shown) for shown in shown_references_in(value)]
    return [
        f"{where} holds {shown} as text, which is known only when the run goes; {OUTPUT_ADVICE}"
        for where, shown in found
    ]


def _source_problems(task: Task, functions: "_Functions") -> list[str]:
    whole_tasks = [
        f"parameter {name!r} holds the task {given.name!r} itself; write .output() after it for what it returns"
        for name, value in task.parameters.items()
        for given in instances_in(value, Task)
    ]
    if whole_tasks:
        return whole_tasks  # what else there is to say of such values explains nothing
    if isinstance(task.source, NotebookSource):
        return _notebook_problems(task.source, task.parameters)
    return _function_problems(task.source, task.parameters, functions)


def notes(tasks: Iterable[Task]) -> list[str]:
    """What the author of a task may not expect though nothing is wrong, one sentence each."""
    found = []
    for task in tasks:
        if isinstance(task.source, NotebookSource):
            found += [
                f"task {task.name!r}: notebook {task.source.path}: {note}" for note in _notebook_notes(task.source)
            ]
    return found


def _notebook_notes(source: NotebookSource) -> list[str]:
    from pynb_dag_runner.notebooks.kernel_choice import choose
    from pynb_dag_runner.notebooks.source import read_notebook

    notebook = read_notebook(source.path)
    remarks = (notebook.remark, choose(source.kernel, notebook.metadata, notebook.language).remark)
    return [remark for remark in remarks if remark]


def preload_problems(names: Iterable[object]) -> list[str]:
    """What is wrong with the modules to import ahead, a sentence each."""
    found = []
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            found.append(f"preload: expected names of modules, such as 'pandas'; got {name!r}")
        elif importlib.util.find_spec(name.partition(".")[0]) is None:
            found.append(f"preload: there is no module {name!r} in the runner's environment")
    return found


def capacity_problems(needs: Mapping[str, Resources], nodes: Sequence[Resources]) -> list[str]:
    """What the executor can't give, a sentence for each such task with the amounts.

    Args:
        needs: for each task what it asks for.
        nodes: what each node has; a task runs on one of them.
    """
    largest_first = sorted(nodes, key=lambda node: node.num_cpus, reverse=True)
    return [
        f"task {name!r} asks for more than any node has: {', '.join(lacking)}"
        for name, needed in needs.items()
        if (lacking := min((node.lacking(needed) for node in largest_first), key=len, default=["there is no node"]))
    ]


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
    from pynb_dag_runner.notebooks.kernel_choice import choose, language_of
    from pynb_dag_runner.notebooks.kernel_names import OWN
    from pynb_dag_runner.notebooks.source import UnreadableNotebook, read_notebook

    problems = []
    kernel, language = "", "python"
    try:
        notebook = read_notebook(source.path)
        kernel = choose(source.kernel, notebook.metadata, notebook.language).name
        language = language_of(kernel)
        if is_secret(parameters) and language != "python":
            problems.append(f"only Python notebooks can be given secrets; its kernel {kernel!r} runs {language}")
    except (UnreadableNotebook, LookupError) as error:
        problems.append(f"notebook {source.path}: {error}")
    if source.cwd is not None and not source.cwd.is_dir():
        problems.append(f"cwd: there is no directory {source.cwd}")
    given, reference_problems = _without_references(parameters)
    unwritable = reference_problems + notebook_problems(given, language)
    if language != "python" and not problems and not unwritable:
        unwritable = _translation_problems(kernel, language, parameters)
    # What another interpreter finds is unknown; its notebook will say so.
    if kernel == OWN and not unwritable:
        unwritable = _module_problems(given, source.cwd or source.path.parent)
    return problems + unwritable


def _without_references(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Parameters as they are known before a run, and what is wrong with references in them."""
    plain, problems = {}, []
    for name, value in parameters.items():
        try:
            plain[name] = replace_references(value, lambda reference: None)
        except RecursionError:
            problems.append(f"parameter {name!r} holds another task's output in a value that is nested too deeply")
    return plain, problems


def _translation_problems(kernel: str, language: str, parameters: Mapping[str, Any]) -> list[str]:
    """What can't be written in a language that is not Python. An output, not known yet, counts as a text."""
    from pynb_dag_runner.notebooks import translators

    known = {name: replace_references(value, lambda reference: "") for name, value in parameters.items()}
    return translators.problems(kernel, language, known)


def _module_problems(parameters: Mapping[str, Any], cwd: Path) -> list[str]:
    """Which modules with classes of Enum members a kernel of the runner's own interpreter would not find."""
    code = source_code({name: replace_secrets(value, lambda _plain: None) for name, value in parameters.items()})
    files = {file.name: str(file.path) for file in known_files()}
    wanted = {module if module in files else module.partition(".")[0] for module in code.modules}
    packages = sorted(wanted - sys.stdlib_module_names)
    if not packages or not cwd.is_dir():
        return []
    found = subprocess.run(  # as a kernel starts: with its working directory on the search path
        [sys.executable, "-c", _FIND_MODULES, *packages],
        cwd=cwd,
        capture_output=True,
        timeout=_FIND_MODULES_BOUND_S,
        check=True,
        text=True,
    )
    origins = json.loads(found.stdout.splitlines()[-1])
    problems = []
    for package in packages:
        here, there = files.get(package) or getattr(sys.modules[package].__spec__, "origin", None), origins.get(package)
        if package in files and package not in origins:
            continue  # kernels are told where it is
        if package not in origins:
            found_instead = "which does not find it"
        elif here is not None and (there is None or os.path.realpath(here) != os.path.realpath(there)):
            found_instead = f"which finds {there} under that name"
        else:
            continue
        problems.append(
            f"a member of an Enum from the module {package!r} can't be handed to a notebook's kernel in {cwd}, "
            f"{found_instead}; install the module, or put its directory on PYTHONPATH"
        )
    return problems


class _Functions:
    """What is found out of a function once, though thousands of tasks may call it."""

    def __init__(self) -> None:
        self._signatures: dict[int, inspect.Signature | None] = {}
        self._pickled: dict[int, str | None] = {}

    def signature(self, function: Callable[..., Any]) -> inspect.Signature | None:
        """None for some built-in functions, which have none."""
        if id(function) not in self._signatures:
            try:
                self._signatures[id(function)] = inspect.signature(function)
            except (TypeError, ValueError):
                self._signatures[id(function)] = None
        return self._signatures[id(function)]

    def pickling_problem(self, function: Callable[..., Any]) -> str | None:
        """Why it can't be sent to a worker, as the rest of a sentence; None if it can."""
        if id(function) not in self._pickled:
            problem = _pickling_problem(function)
            if problem is not None and (variable := unpicklable_variable(function)) is not None:
                problem = f"reads {variable}, and so {problem}"
            self._pickled[id(function)] = problem or self._reference_problem(function)
        return self._pickled[id(function)]

    def _reference_problem(self, function: Callable[..., Any]) -> str | None:
        """Which output it would find as a reference, in the module that a worker imports; as the rest of a sentence."""
        signature = self.signature(function)
        values = [(f"reads the variable {one.name!r}, which", one.value) for one in variables_of(function)]
        if signature is not None:
            values += [(f"has a default of {one.name!r}, which", one.default) for one in signature.parameters.values()]
        for words, value in values:
            if (reference := next(references_in(value), None)) is not None:
                return f"{words} holds {reference.words}; {OUTPUT_ADVICE}"
        return None


def _function_problems(source: FunctionSource, parameters: Mapping[str, Any], functions: _Functions) -> list[str]:
    function: Any = source.function
    if not callable(function):
        return [f"{function!r} can't be called; p.function takes a function"]
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return [f"{source.qualified_name}() is async or a generator; a task's function must return its value"]
    problems = _argument_problems(functions.signature(function), source.qualified_name, parameters)
    if reason := functions.pickling_problem(function):
        problems.append(f"function {source.qualified_name} {reason}")
    given, reference_problems = _without_references(parameters)
    problems += reference_problems
    for name, plain in given.items():
        if not isinstance(plain, str | int | float | bool | Path | None) and (reason := _pickling_problem(plain)):
            problems.append(f"parameter {name!r} {reason}")
    return problems


def _argument_problems(signature: inspect.Signature | None, name: str, parameters: Mapping[str, Any]) -> list[str]:
    if signature is None:
        return []
    try:
        signature.bind(**parameters)
    except TypeError as error:
        return [f"{name}{signature} can't be called with the parameters {sorted(parameters)}: {error}"]
    return []


def _pickling_problem(value: Any) -> str | None:
    """Why ``value`` can't be sent to a worker, as the rest of a sentence; None if it can."""
    try:
        dumps(value)
    except OutputNotKnownError as error:
        return f"hides {error.output}, which is looked for in lists, tuples and dicts only; {OUTPUT_ADVICE}"
    except Exception as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
        return f"can't be sent to a worker: {type(error).__name__}: {error}"
    return None
