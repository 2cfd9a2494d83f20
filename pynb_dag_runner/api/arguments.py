"""Methods whose keyword arguments are declared by a class: :func:`takes`, and the arguments of tasks and runs.

Type checkers and editors see the arguments of the class' constructor, with their types and defaults; ``help()`` shows
them with what each of them does.
"""

import functools
import inspect
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar, get_type_hints

from pynb_dag_runner.errors import UsageError
from pynb_dag_runner.events import Listener
from pynb_dag_runner.model.declarations import Option, declared, without_extras
from pynb_dag_runner.model.graph import Task, unknown_name
from pynb_dag_runner.model.run_settings import ResumeChoices, RunChoices, RunSettings
from pynb_dag_runner.model.task_options import CommonOptions, FunctionOptions, NotebookOptions

_Parameters = ParamSpec("_Parameters")
_Arguments = TypeVar("_Arguments")
_Owner = TypeVar("_Owner")
_Result = TypeVar("_Result")

HELP_WIDTH = 112


@dataclass(frozen=True, kw_only=True)
class TaskArguments:
    """What a task of any kind is given beside its options."""

    name: Annotated[
        str | None,
        Option("unique in the pipeline; default: the function's name, or the file's without its ending"),
    ] = None
    parameters: Annotated[
        Mapping[str, Any] | None, Option("values by name; outputs of other tasks may stand anywhere inside")
    ] = None
    after: Annotated[
        Task | str | Iterable[Task | str], Option("tasks, or names of tasks, that must succeed first")
    ] = ()


@dataclass(frozen=True, kw_only=True)
class NotebookArguments(NotebookOptions, TaskArguments):
    """The arguments of ``Pipeline.notebook``."""

    path: Annotated[
        str | os.PathLike[str],
        Option("a file in any format that Jupytext reads, or .ipynb; relative to the pipeline's file"),
    ] = field(kw_only=False)
    kernel: Annotated[
        str | None,
        Option("name of an installed kernelspec; default: the notebook's, else the runner's own interpreter"),
    ] = None
    cwd: Annotated[
        str | os.PathLike[str] | None,
        Option("working directory, relative to the pipeline's file; default: the notebook's directory"),
    ] = None
    extra_parameters: Annotated[
        bool,
        Option(
            "take also parameters that the notebook's code does not mention, since something else reads them; "
            "otherwise they are refused as mistakes. A notebook without a cell tagged ``parameters`` takes any"
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class FunctionArguments(FunctionOptions, TaskArguments):
    """The arguments of ``Pipeline.function``."""

    fn: Annotated[
        Callable[..., Any],
        Option(
            "called with ``parameters`` as keyword arguments; what it returns, any picklable value, is the task's "
            "output ``return``"
        ),
    ] = field(kw_only=False)


@dataclass(frozen=True, kw_only=True)
class Heard:
    """Who hears of what happens in a run."""

    listeners: Annotated[Sequence[Listener], Option("called with each event (:mod:`pynb_dag_runner.events`)")] = ()


@dataclass(frozen=True, kw_only=True)
class RunArguments(Heard, RunChoices):
    """The arguments of ``Pipeline.run``."""


@dataclass(frozen=True, kw_only=True)
class ResumeArguments(Heard, ResumeChoices):
    """The arguments of ``Pipeline.resume``."""

    run_dir: Annotated[str | os.PathLike[str], Option("the run folder")] = field(kw_only=False)


@dataclass(frozen=True, kw_only=True)
class DefinitionRunArguments(RunArguments):
    """The arguments of ``PipelineDefinition.run``."""

    parameters: Annotated[
        Mapping[str, Any] | None, Option("the pipeline's own, by name; default: those of its signature")
    ] = None


@dataclass(frozen=True, kw_only=True)
class DefinitionResumeArguments(ResumeArguments):
    """The arguments of ``PipelineDefinition.resume``."""

    parameters: Annotated[
        Mapping[str, Any] | None, Option("those that shall have another value than the run was given")
    ] = None


def checked(settings: RunSettings) -> RunSettings:
    """The settings, if they make sense.

    Raises:
        UsageError: they do not.
    """
    if problems := settings.problems():
        raise UsageError("; ".join(problems))
    return settings


def unknown_options(kind: type[CommonOptions], names: Iterable[str]) -> list[str]:
    """A phrase for each of ``names`` that is no argument of this kind of task, with the nearest that is one."""
    kinds = {"notebooks": NotebookArguments, "functions": FunctionArguments}
    found = []
    for name in names:
        if name in declared(kind):
            continue
        others = [words for words, other in kinds.items() if name in declared(other)]
        known = inspect.signature(kind).parameters
        found.append(f"{name!r} is an option of {others[0]} only" if others else unknown_name("option", name, known))
    return found


def takes(
    kind: Callable[_Parameters, _Arguments], *, refuse: bool = True
) -> Callable[
    [Callable[[_Owner, _Arguments, Mapping[str, Any]], _Result]], Callable[Concatenate[_Owner, _Parameters], _Result]
]:
    """Make a method take the arguments that a frozen class declares.

    The method's body gets them as an instance, and a mapping of the keyword arguments as they were given.

    Args:
        kind: the class; each of its fields is an argument.
        refuse: raise a :class:`UsageError` for names that the class does not have; otherwise the body sees to them.
    """
    arguments_type: Any = kind
    signature = _signature(arguments_type)
    known = signature.parameters

    def decorate(
        body: Callable[[_Owner, _Arguments, Mapping[str, Any]], _Result],
    ) -> Callable[Concatenate[_Owner, _Parameters], _Result]:
        @functools.wraps(body)
        def call(owner: _Owner, /, *args: _Parameters.args, **keywords: _Parameters.kwargs) -> _Result:
            unknown = [name for name in keywords if name not in known]
            if unknown and refuse:
                raise UsageError(f"{body.__name__}(): {unknown_name('argument', unknown[0], known)}")
            given = {name: value for name, value in keywords.items() if name in known}
            try:
                signature.bind(*args, **given)
            except TypeError as error:
                raise TypeError(f"{body.__name__}() got arguments that do not fit: {error}") from None
            return body(owner, arguments_type(*args, **given), keywords)

        owner = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        result = get_type_hints(body).get("return", inspect.Signature.empty)
        call.__signature__ = signature.replace(  # type: ignore[attr-defined]  # read by help() and by Jupyter
            parameters=[owner, *signature.parameters.values()], return_annotation=result
        )
        call.__doc__ = _documented(body.__doc__ or "", arguments_type)
        return call

    return decorate


def _signature(kind: Any) -> inspect.Signature:
    """The constructor's, without what ``Annotated`` adds, and with the defaults themselves."""
    hints = get_type_hints(kind, include_extras=True)
    found = inspect.signature(kind)
    factories = {item.name: item.default_factory for item in fields(kind) if item.default_factory is not MISSING}
    parameters = [
        parameter.replace(
            annotation=without_extras(hints[name]),
            default=factories[name]() if name in factories else parameter.default,
        )
        for name, parameter in found.parameters.items()
    ]
    return found.replace(parameters=parameters, return_annotation=inspect.Signature.empty)


def _documented(text: str, kind: type) -> str:
    """A docstring with a section that says what each argument does, before what is raised."""
    lines = ["Args:"]
    for name in inspect.signature(kind).parameters:
        option = declared(kind)[name]
        said = f"{name}: {'. '.join(filter(None, (option.help, option.more)))}."
        lines += textwrap.wrap(said, HELP_WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8)
    before, raises, after = inspect.cleandoc(text).partition("\n\nRaises:")
    return before + "\n\n" + "\n".join(lines) + raises + after
