"""Read a pipeline's typed parameters from its signature, convert given values, check what a notebook can take."""

import contextlib
import inspect
import json
import keyword
import shlex
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pydantic

from pynb_dag_runner.define.settled_values import settled
from pynb_dag_runner.errors import ParameterError
from pynb_dag_runner.model.graph import unknown_name
from pynb_dag_runner.model.json_values import json_problem
from pynb_dag_runner.model.text import short_repr
from pynb_dag_runner.notebooks.source_code import RECEIVABLE, source_problem
from pynb_dag_runner.secrets.marking import (
    from_environment,
    is_secret_type,
    redactor_of,
    replace_secrets,
    secret_problems,
    secrets_in,
)
from pynb_dag_runner.secrets.masking import MASK

_JSON_RECEIVABLE = "can receive None, bool, int, float, str, and lists and dicts of these"
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
        annotation = _without_metadata(self.annotation)
        if annotation is Any:
            return "any value"
        plain_class = isinstance(annotation, type) and typing.get_origin(annotation) is None
        text = annotation.__name__ if plain_class else str(annotation).replace("typing.", "")
        return text.replace("pydantic.types.", "")


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
        hints = typing.get_type_hints(function, include_extras=True)  # Annotated[int, Field(gt=0)] means what it says
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
    """Without an annotation, ``n=10`` says int well enough, and ``sizes=[1]`` a list; None says nothing."""
    if isinstance(default, Path):
        return Path
    if type(default) in (list, tuple, set, frozenset, dict):
        return type(default) | None
    return type(default) if isinstance(default, bool | int | float | str) else Any


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
            converted[spec.name] = _settle(spec.default, defaults_relative_to, spec.name, problems)
            continue
        given = values[spec.name]
        directory = (given.directory if isinstance(given, Text | GivenBefore) else None) or given_relative_to
        given = given.value if isinstance(given, GivenBefore) else given
        try:
            value = _convert_one(spec, _looked_up(spec, given))
        except LookupError as error:
            problems.append(f"parameter {spec.name!r}: {error.args[0]}")
            continue
        except pydantic.ValidationError as error:
            problems.append(_problem(spec, given, error))
            continue
        converted[spec.name] = _settle(value, directory, spec.name, problems)
    for name, value in converted.items():
        problems += secret_problems(value, f"parameter {name!r}")
    if problems:
        raise ParameterError(redactor_of(converted).text("\n".join(problems)))
    return converted


@dataclass(frozen=True, slots=True)
class Text:
    """A value as typed on a command line, not yet of any type.

    ``directory`` was the current one when it was typed, if that was in another process.
    """

    text: str
    directory: Path | None = None


@dataclass(frozen=True, slots=True)
class GivenBefore:
    """A value as it was given to an earlier process, whose current directory was ``directory``."""

    value: Any
    directory: Path | None


def _looked_up(spec: ParameterSpec, value: Any) -> Any:
    """``value``; for a secret that is said to be in the environment, what is there."""
    if is_secret_type(spec.annotation):
        if isinstance(value, Text):
            return replace(value, text=from_environment(value.text))
        if isinstance(value, str):
            return from_environment(value)
    return value


def _convert_one(spec: ParameterSpec, value: Any) -> Any:
    if spec.annotation is Any:
        return guess(value.text) if isinstance(value, Text) else value
    adapter = _adapter(spec.annotation)
    if not isinstance(value, Text):
        return adapter.validate_python(value)
    if _takes_text(spec.annotation):
        return adapter.validate_python(value.text)
    try:
        json.loads(value.text)
    except ValueError:
        return _from_text(adapter, value.text)
    try:
        return adapter.validate_json(value.text)
    except pydantic.ValidationError as error:
        try:
            return adapter.validate_python(value.text)
        except pydantic.ValidationError as text_error:
            raise text_error if error.errors()[0]["type"] == "needs_python_object" else error from None


def _from_text(adapter: pydantic.TypeAdapter[Any], text: str) -> Any:
    """The value of a text that is no JSON; ``None`` as Python writes it means None where that is allowed."""
    try:
        return adapter.validate_python(text)
    except pydantic.ValidationError:
        if text == "None":
            with contextlib.suppress(pydantic.ValidationError):
                return adapter.validate_python(None)
        raise


def _adapter(annotation: Any) -> pydantic.TypeAdapter[Any]:
    try:
        return pydantic.TypeAdapter(annotation)
    except pydantic.PydanticSchemaGenerationError:
        # A class that pydantic knows nothing about: its instances are taken, nothing can be converted to it.
        return pydantic.TypeAdapter(annotation, config=pydantic.ConfigDict(arbitrary_types_allowed=True))


def _takes_text(annotation: Any) -> bool:
    """Whether a string stands for itself: then ``-p name=12`` means ``"12"``, and quotes stay as typed."""
    plain = _without_metadata(annotation)
    if typing.get_origin(plain) is pydantic.Secret:
        plain = typing.get_args(plain)[0]
    # A Decimal from a JSON number would go through a float, which loses digits.
    return plain in (str, Path, Decimal, pydantic.SecretStr)


def _without_metadata(annotation: Any) -> Any:
    """``int`` for ``Annotated[int, ...]``."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def guess(text: str) -> Any:
    """The value that a text means where no type is known: JSON, or Python's True, False, None, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _problem(spec: ParameterSpec, value: Any, error: pydantic.ValidationError) -> str:
    details = error.errors(include_url=False)[0]
    if is_secret_type(spec.annotation):  # neither what was given nor what a check of the user's says of it is shown
        return f"parameter {spec.name!r}: got {MASK}, expected {spec.type_name} ({details['type']})"
    where = _place(guess(value.text) if isinstance(value, Text) else value, details["loc"])
    got = details["input"]
    reason = details["msg"][0].lower() + details["msg"][1:]
    typed = isinstance(value, Text) and not isinstance(got, list | dict) and got in (value.text, guess(value.text))
    hint = _how_to_write(spec, value.text) if typed else ""
    return f"parameter {spec.name!r}{where}: got {short_repr(got, 80)}, expected {spec.type_name} ({reason}{hint})"


def _how_to_write(spec: ParameterSpec, text: str) -> str:
    """How a list or a mapping is typed, where one is expected and what was typed is no JSON."""
    members = typing.get_args(spec.annotation) if _is_union(spec.annotation) else (spec.annotation,)
    kinds = {typing.get_origin(member) or member for member in map(_without_metadata, members)}
    if kinds & {list, tuple, set, frozenset, Sequence, Iterable, Collection}:
        example: Any = [guess(item.strip()) for item in text.strip("[]()").split(",")]
    elif kinds & {dict, Mapping}:
        example = {"key": "value"}
    else:
        return ""
    written = shlex.quote(f"{spec.name}={json.dumps(example, ensure_ascii=False)}")
    return f"; it is written as JSON: -p {written}"


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(_without_metadata(annotation)) in (typing.Union, types.UnionType)


def _place(value: Any, loc: tuple[int | str, ...]) -> str:
    """Where in ``value`` something is wrong; pydantic's ``loc`` also names members of unions, which are no places."""
    place = ""
    for part in loc:
        if isinstance(value, dict | list | tuple):
            try:
                value = value[part]  # type: ignore[index]  # a str for a list raises TypeError
            except (LookupError, TypeError):
                continue
            place += f"[{part!r}]"
    return place


def _settle(value: Any, base: Path, name: str, problems: list[str]) -> Any:
    try:
        return settled(value, base)
    except RecursionError:
        problems.append(f"parameter {name!r} is nested too deeply")
        return None


def notebook_problems(parameters: Mapping[str, Any], language: str = "python") -> list[str]:
    """Why a notebook can't receive these parameters, one phrase each; empty if it can.

    A notebook's parameters are written into a cell as source code and must mean the same value there. For Python that
    is what :mod:`pynb_dag_runner.notebooks.source_code` can write, for any other language what JSON holds
    without loss (NaN and infinities included).

    Args:
        language: what the notebook's kernel runs, in lower case.
    """
    problems = []
    for name, given in parameters.items():
        value = replace_secrets(given, lambda _plain: None)  # a problem's text shows the value
        if any(json_problem(plain) for plain in secrets_in(given)):
            problems.append(f"parameter {name!r} holds a secret that is no JSON value; a notebook {_JSON_RECEIVABLE}")
        if not str(name).isidentifier() or keyword.iskeyword(normalize("NFKC", name)):
            problems.append(f"{name!r} can't be a parameter of a notebook: it is no variable name")
        elif language == "python":
            if problem := source_problem(value, f"parameter {name!r}"):
                problems.append(f"{problem}; {RECEIVABLE}")
        elif problem := json_problem(value, f"parameter {name!r}"):
            problems.append(f"{problem}; a notebook in {language} {_JSON_RECEIVABLE}")
    return problems
