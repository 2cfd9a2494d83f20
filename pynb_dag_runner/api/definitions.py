"""Define pipelines as functions: the decorator ``pipeline``, and a single notebook as a pipeline of its own."""

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, overload

from pynb_dag_runner.api.arguments import DefinitionResumeArguments, DefinitionRunArguments, takes
from pynb_dag_runner.api.pipelines import Pipeline
from pynb_dag_runner.define.parameters import ParameterSpec, convert, specs_of
from pynb_dag_runner.errors import OUTPUT_ADVICE, OutputNotKnownError, PipelineError, UsageError
from pynb_dag_runner.execute.run_records import given_again
from pynb_dag_runner.execute.runner import RunResult
from pynb_dag_runner.model.graph import Dag
from pynb_dag_runner.model.references import OutputReference
from pynb_dag_runner.notebooks.declared_parameters import Declared
from pynb_dag_runner.plan.resumption import check_given
from pynb_dag_runner.run_folder import read_run
from pynb_dag_runner.run_folder.records import RunRecord, TargetRecord
from pynb_dag_runner.secrets.marking import redactor_of


class PipelineDefinition:
    """A function that defines a pipeline: its signature gives the parameters. Made by :func:`pipeline`.

    Attributes:
        name: the pipeline's name.
        preload: modules that notebooks import, imported once for all of them.
        description: the function's docstring.
        specs: its parameters.
        base_dir: directory of the defining file.
        target: where it can be loaded from again; None if that is not known.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        preload: Iterable[str] = (),
        specs: tuple[ParameterSpec, ...] | None = None,
        base_dir: Path | None = None,
    ) -> None:
        self.function = function
        self.name = name or function.__name__
        self.preload = preload
        self.description = inspect.getdoc(function) or ""
        self.specs = specs_of(function) if specs is None else specs
        self.base_dir = base_dir or _directory_of(function)
        self.target: TargetRecord | None = None
        self.__doc__ = self.description

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as for a test with a :class:`Pipeline` of one's own."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<pipeline {self.name!r}>"

    def define(self, parameters: Mapping[str, Any] | None = None) -> Pipeline:
        """The pipeline for these parameters, not yet checked.

        Args:
            parameters: by name; the rest takes its default. A :class:`pynb_dag_runner.define.parameters.Text` is
                parsed by the annotation. Relative paths are taken from the current directory.

        Raises:
            ParameterError: a parameter is unknown, missing or of the wrong type.
            PipelineError: the function raised something else than a :class:`UsageError`.
        """
        values = convert(self.specs, parameters or {}, given_relative_to=Path.cwd(), defaults_relative_to=self.base_dir)
        built = Pipeline(
            self.name,
            description=self.description,
            parameters=values,
            base_dir=self.base_dir,
            preload=self.preload,
            given=parameters,
            target=self.target or _target_of(self),
        )
        try:
            self.function(built, **values)
        except OutputNotKnownError as error:
            said = redactor_of(values).text(f"{error}{_line_of(error, self.function)}")
            raise PipelineError(self.name, [said]) from error
        except UsageError:
            raise  # said on purpose, in the author's own words
        except Exception as error:
            said = redactor_of(values).text(_where_raised(error, self.function))
            raise PipelineError(self.name, [said]) from error
        return built

    def build(self, parameters: Mapping[str, Any] | None = None) -> Dag:
        """The checked graph for these parameters; see :meth:`define` and :meth:`Pipeline.build`."""
        return self.define(parameters).build()

    @takes(DefinitionRunArguments)
    def run(self, given: DefinitionRunArguments, keywords: Mapping[str, Any]) -> RunResult:
        """Run the pipeline with these parameters; see :meth:`Pipeline.run`."""
        return self.define(given.parameters).run(**_others(keywords))

    @takes(DefinitionResumeArguments)
    def resume(self, given: DefinitionResumeArguments, keywords: Mapping[str, Any]) -> RunResult:
        """Resume an earlier run in place; see :meth:`Pipeline.resume`."""
        parameters = resumed_parameters(read_run(Path(given.run_dir)).record, given.parameters or {})
        return self.define(parameters).resume(given.run_dir, **_others(keywords))


def _others(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a pipeline takes which has its parameters already."""
    return {name: value for name, value in keywords.items() if name not in ("parameters", "run_dir")}


@overload
def pipeline(function: Callable[..., Any]) -> PipelineDefinition: ...
@overload
def pipeline(
    *, name: str | None = None, preload: Iterable[str] = ()
) -> Callable[[Callable[..., Any]], PipelineDefinition]: ...
def pipeline(
    function: Callable[..., Any] | None = None, *, name: str | None = None, preload: Iterable[str] = ()
) -> PipelineDefinition | Callable[[Callable[..., Any]], PipelineDefinition]:
    """Make a function define a pipeline.

    The function's first argument is the :class:`Pipeline` to fill; the others are the pipeline's parameters, with
    their types, defaults and documentation.

    Args:
        name: default: the function's name.
        preload: modules that notebooks import, imported once for all of them; see :class:`Pipeline`.
    """
    if function is not None:
        return PipelineDefinition(function)
    return lambda decorated: PipelineDefinition(decorated, name=name, preload=preload)


def resumed_parameters(record: RunRecord, changed: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was given, and over it what is given now.

    Raises:
        UsageError: the run folder does not hold a value that the run was given, and it is not given now.
    """
    directory = Path(record.driver.working_directory or Path.cwd())
    values, missing = given_again(record.given, directory)
    check_given(missing, changed)
    return {**values, **changed}


def notebook_pipeline(path: Path) -> PipelineDefinition:
    """One notebook as a pipeline of one task. Its parameters are those of its cell tagged ``parameters``.

    Without such a cell any parameter is taken.

    Raises:
        PipelineError: the file is no notebook.
    """
    from pynb_dag_runner.notebooks.source import UnreadableNotebook, read_notebook

    path = Path(os.path.abspath(path))
    name = path.name.split(".")[0]
    try:
        known = read_notebook(path).parameters
    except UnreadableNotebook as error:
        raise PipelineError(name, [f"notebook {path}: {error}"]) from error

    return NotebookDefinition(path, name, known)


class NotebookDefinition(PipelineDefinition):
    """A pipeline of one notebook; takes the parameters that the notebook has, as it has them."""

    def __init__(self, path: Path, name: str, known: Mapping[str, Declared] | None) -> None:
        def define(p: Pipeline, **parameters: Any) -> None:
            p.notebook(path, parameters=parameters)

        specs = tuple(
            ParameterSpec(name=parameter, annotation=declared.likely_type)
            for parameter, declared in (known or {}).items()
        )
        super().__init__(define, name=name, specs=specs, base_dir=path.parent)
        self.description = ""
        self.target = TargetRecord(location=str(path), directory=str(path.parent))
        self._open = known is None

    def define(self, parameters: Mapping[str, Any] | None = None) -> Pipeline:
        """See :meth:`PipelineDefinition.define`; parameters that are not given keep the notebook's own defaults."""
        given = dict(parameters or {})
        known = {spec.name: spec for spec in self.specs}
        specs = [
            # numpy's numbers are numbers already; pydantic would make others of them.
            known[name] if name in known and type(value).__module__ != "numpy" else ParameterSpec(name=name)
            for name, value in given.items()
        ]
        if not self._open:
            convert(self.specs, given, given_relative_to=Path.cwd(), defaults_relative_to=self.base_dir)
        values = convert(tuple(specs), given, given_relative_to=Path.cwd(), defaults_relative_to=self.base_dir)
        built = Pipeline(self.name, parameters=values, base_dir=self.base_dir, given=given, target=self.target)
        self.function(built, **values)
        return built


def _directory_of(function: Callable[..., Any]) -> Path:
    """Directory of the file that defines ``function``; the current one for what was typed into a notebook."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    file = Path(code.co_filename) if code is not None else Path()
    return Path(os.path.abspath(file)).parent if file.is_file() else Path.cwd()


def _target_of(definition: PipelineDefinition) -> TargetRecord | None:
    """The file and the name by which a decorated function can be found again."""
    function = definition.function
    code = getattr(function, "__code__", None)
    name = getattr(function, "__name__", "")
    module = sys.modules.get(getattr(function, "__module__", ""))
    if code is None or getattr(module, name, None) is not definition or Path(code.co_filename).suffix != ".py":
        return None
    path = Path(os.path.abspath(code.co_filename))
    return TargetRecord(location=str(path), name=name, directory=str(path.parent)) if path.is_file() else None


def _where_raised(error: Exception, function: Callable[..., Any]) -> str:
    """A sentence for an exception in a pipeline function, with the line of the user's file that raised it."""
    # Python's own functions refuse what is not of their types, and say no more than its class.
    advice = f"; {OUTPUT_ADVICE}" if OutputReference.__name__ in str(error) else ""
    said = f"the function {function.__name__}() raised {type(error).__name__}: {error}"
    return f"{said}{advice}{_line_of(error, function)}"


def _line_of(error: Exception, function: Callable[..., Any]) -> str:
    """The last line of the function's file that an exception came through; empty if there is none."""
    line, trace = "", error.__traceback__
    file = function.__code__.co_filename
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = f" at {file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return line
