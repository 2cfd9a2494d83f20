"""Typed parameters of a pipeline: its signature, conversion of given values, and what a notebook can receive."""

import inspect
import json
import keyword
import os
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import pydantic_core

from pynb_dag_runner.dag import unknown_name
from pynb_dag_runner.errors import ParameterError
from pynb_dag_runner.json_values import json_problem

_RECEIVABLE = "a notebook can receive None, bool, int, float, str, lists and dicts of these, and a Path alone"
_MISSING = inspect.Parameter.empty


@dataclass(frozen=True, kw_only=True)
class ParameterSpec:
    """One parameter of a pipeline.

    Attributes:
        name: as in the signature.
        annotation: a type as :class:`pydantic.TypeAdapter` takes it; ``typing.Any`` where nothing is said.
        required: there is no default.
        default: value used when none is given.
    """

    name: str
    annotation: Any = Any
    required: bool = False
    default: Any = None

    @property
    def type_name(self) -> str:
        """The annotation as a person would write it."""
        if self.annotation is Any:
            return "any value"
        plain_class = isinstance(self.annotation, type) and typing.get_origin(self.annotation) is None
        return self.annotation.__name__ if plain_class else str(self.annotation).replace("typing.", "")


def specs_of(function: Callable[..., Any]) -> tuple[ParameterSpec, ...]:
    """The parameters of a pipeline function: all of its arguments but the first, which is the pipeline itself.

    Raises:
        ParameterError: the function takes no argument, or takes ``*args`` or ``**kwargs``.
    """
    arguments = list(inspect.signature(function).parameters.values())
    name = getattr(function, "__name__", "?")
    if not arguments:
        raise ParameterError(f"pipeline function {name}() must take the pipeline as its first argument: def {name}(p)")
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise ParameterError(f"an annotation of pipeline function {name}() can't be resolved: {error}") from error
    specs = []
    for argument in arguments[1:]:
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            raise ParameterError(f"pipeline function {name}() takes {argument}; a pipeline's parameters must be named")
        required = argument.default is _MISSING
        annotation = hints.get(argument.name, _type_of_default(None if required else argument.default))
        default = None if required else argument.default
        specs.append(ParameterSpec(name=argument.name, annotation=annotation, required=required, default=default))
    return tuple(specs)


def _type_of_default(default: Any) -> Any:
    """Without an annotation, ``n=10`` says int well enough; an empty list or None says nothing."""
    return type(default) if isinstance(default, bool | int | float | str | Path) else Any


def convert(
    specs: tuple[ParameterSpec, ...],
    values: Mapping[str, Any],
    *,
    given_relative_to: Path,
    defaults_relative_to: Path,
) -> dict[str, Any]:
    """Values for every parameter, of the annotated types.

    Args:
        specs: what the pipeline takes.
        values: what was given; a :class:`Text` is parsed by the annotation, anything else is validated against it.
        given_relative_to: directory that relative ``Path`` values given are taken from, absolute.
        defaults_relative_to: the same for defaults, absolute.

    Raises:
        ParameterError: with one line per parameter that is unknown, missing or wrong.
    """
    known = {spec.name: spec for spec in specs}
    problems = [unknown_name("parameter", name, known) for name in values if name not in known]
    converted = {}
    for spec in specs:
        if spec.name not in values:
            if spec.required:
                problems.append(f"parameter {spec.name!r} needs a value of type {spec.type_name}")
            converted[spec.name] = _absolute_paths(spec.default, defaults_relative_to)
            continue
        try:
            value = _convert_one(spec, values[spec.name])
        except pydantic.ValidationError as error:
            problems.append(_problem(spec, error))
            continue
        converted[spec.name] = _absolute_paths(value, given_relative_to)
    if problems:
        raise ParameterError("\n".join(problems))
    return converted


@dataclass(frozen=True, slots=True)
class Text:
    """A value as typed on a command line, not yet of any type."""

    text: str


def _convert_one(spec: ParameterSpec, value: Any) -> Any:
    if spec.annotation is Any:
        return guess(value.text) if isinstance(value, Text) else value
    adapter = pydantic.TypeAdapter(spec.annotation)
    if not isinstance(value, Text):
        return adapter.validate_python(value)
    if _takes_text(spec.annotation):
        return adapter.validate_python(value.text)
    try:
        json.loads(value.text)
    except ValueError:
        return adapter.validate_python(value.text)
    try:
        return adapter.validate_json(value.text)
    except pydantic.ValidationError as error:
        try:
            return adapter.validate_python(value.text)
        except pydantic.ValidationError:
            raise error from None


def _takes_text(annotation: Any) -> bool:
    """Whether a string stands for itself: then ``-p name=12`` means ``"12"``, and quotes stay as typed."""
    return annotation in (str, Path)


def guess(text: str) -> Any:
    """The value that a text means where no type is known: JSON, or Python's True, False, None, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _problem(spec: ParameterSpec, error: pydantic.ValidationError) -> str:
    details = error.errors(include_url=False)[0]
    where = "".join(f"[{part!r}]" for part in details["loc"])
    got = details["input"]
    shown = repr(got) if len(repr(got)) <= 80 else repr(got)[:77] + "..."
    reason = details["msg"][0].lower() + details["msg"][1:]
    return f"parameter {spec.name!r}{where}: got {shown}, expected {spec.type_name} ({reason})"


def _absolute_paths(value: Any, base: Path) -> Any:
    """``value`` with every relative Path in it, also in lists and dicts, taken from ``base``."""
    if isinstance(value, Path):
        return Path(os.path.abspath(base / value.expanduser()))
    if type(value) in (list, tuple, set):
        return type(value)(_absolute_paths(item, base) for item in value)
    if type(value) is dict:
        return {key: _absolute_paths(item, base) for key, item in value.items()}
    return value


def notebook_problems(parameters: Mapping[str, Any]) -> list[str]:
    """Why a notebook can't receive these parameters, one phrase each; empty if it can.

    A notebook's parameters are written into a cell as source code and must mean the same value there: what JSON holds
    without loss (NaN and infinities included), and a ``Path`` as a whole value.
    """
    problems = []
    for name, value in parameters.items():
        if not str(name).isidentifier() or keyword.iskeyword(name):
            problems.append(f"{name!r} can't be a parameter of a notebook: it is no variable name")
        elif not isinstance(value, Path) and (problem := json_problem(value, f"parameter {name!r}")):
            problems.append(f"{problem}; {_RECEIVABLE}")
    return problems


def recorded(value: Any) -> Any:
    """How a parameter is written to the run folder: JSON to be read by people, ``repr`` where nothing else fits."""
    return pydantic_core.from_json(pydantic_core.to_json(value, inf_nan_mode="strings", fallback=repr))
