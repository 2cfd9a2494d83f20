"""Read what all commands that take a pipeline share: the target and its parameters; build the graph from both."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pynb_dag_runner.api.definitions import PipelineDefinition
    from pynb_dag_runner.api.pipelines import Pipeline
    from pynb_dag_runner.model.graph import Dag

_Function = TypeVar("_Function", bound=Callable[..., Any])

TARGET_HELP = """TARGET is file.py with one pipeline in it, file.py:name, package.module:name, or a single notebook
(.ipynb, or any text format that Jupytext reads)."""


def parameter_options(command: _Function) -> _Function:
    """The options ``-p`` and ``--parameters-file``."""
    command = click.option(
        "--parameters-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Parameters from a JSON or YAML file that holds a mapping; -p wins over it.",
    )(command)
    return click.option(
        "-p",
        "--parameter",
        "parameter",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_key_values,
        help="A parameter, converted to its type in the pipeline's signature; a list as in 'xs=[1, 2]'. Repeatable.",
    )(command)


def _key_values(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"got {value!r}, expected KEY=VALUE", context, option)
        pairs[key.strip()] = text
    return pairs


def given_parameters(parameter: Mapping[str, str], parameters_file: Path | None) -> dict[str, Any]:
    """Values from the command line, not yet typed, over those from the file.

    Raises:
        ParameterError: the file can't be read, or holds no mapping with names as keys.
    """
    from pynb_dag_runner.define.parameters import Text

    typed = {key: Text(text) for key, text in parameter.items()}
    return (_read_mapping(parameters_file) if parameters_file else {}) | typed


def _read_mapping(path: Path) -> dict[str, Any]:
    """A mapping from a JSON file (by its suffix) or a YAML file (any other)."""
    import json

    import yaml

    from pynb_dag_runner.errors import ParameterError

    try:
        text = path.read_text("utf-8-sig")  # editors on Windows write a mark of the byte order
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise ParameterError(f"the parameters file {str(path)!r} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ParameterError(f"the parameters file {str(path)!r} is no text in UTF-8: {error.reason}") from None
    except ValueError as error:
        raise ParameterError(f"the parameters file {str(path)!r} is no JSON: {error}") from None
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise ParameterError(f"the parameters file {str(path)!r} is no YAML: {said}") from None
    if content is None and path.suffix != ".json":  # an empty YAML file
        return {}
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ParameterError(f"the parameters file {str(path)!r} holds a {kind}, expected a mapping of names to values")
    for key in content:
        if not isinstance(key, str):
            raise ParameterError(f"the parameters file {str(path)!r} has the key {key!r}, expected names as keys")
    return content


def build(pipeline: "PipelineDefinition | Pipeline", values: Mapping[str, Any]) -> "Dag":
    """The graph of a pipeline with these parameters; nothing is run.

    Raises:
        UsageError: with everything that is wrong.
    """
    from pynb_dag_runner.api.definitions import PipelineDefinition
    from pynb_dag_runner.errors import ParameterError

    if isinstance(pipeline, PipelineDefinition):
        return pipeline.build(values)
    if values:
        names = ", ".join(repr(name) for name in values)
        raise ParameterError(f"pipeline {pipeline.name!r} takes no parameters, got {names}")
    return pipeline.build()
