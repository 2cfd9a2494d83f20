"""How a pipeline is written down: :class:`Pipeline`, and the decorator that makes a function define one."""

import asyncio
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

from pynb_dag_runner import checks
from pynb_dag_runner.console import RunConsole
from pynb_dag_runner.dag import Dag, FunctionSource, NotebookSource, Options, Task, make_dag
from pynb_dag_runner.errors import PipelineError, UsageError
from pynb_dag_runner.executors import ExecutorName, executor_factory
from pynb_dag_runner.parameters import ParameterSpec, convert, specs_of
from pynb_dag_runner.runner import Listener, RunResult, run_dag


class RunOptions(TypedDict, total=False):
    """Keyword arguments of :meth:`Pipeline.run`."""

    output_dir: str | os.PathLike[str]
    fail_fast: bool
    num_cpus: int | None
    ray_address: str | None
    executor: ExecutorName
    progress: bool
    listeners: Sequence[Listener]


class Pipeline:
    """Tasks and what they wait for. A function decorated with :func:`pipeline` gets one to fill.

    Nothing runs and no file is read until :meth:`build` or :meth:`run`.

    Args:
        name: names the run folder's parent and the MLflow experiment.
        description: for people.
        parameters: values of the pipeline's own parameters, for the record.
        base_dir: directory that notebooks' paths are relative to; default: that of the calling file.
    """

    def __init__(
        self,
        name: str,
        *,
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        base_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.name = name
        self.description = description
        self.parameters = dict(parameters or {})
        self.base_dir = Path(os.path.abspath(base_dir)) if base_dir is not None else _caller_directory()
        self._tasks: list[Task] = []
        self._problems: list[str] = []

    def notebook(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        after: Task | str | Iterable[Task | str] = (),
        retries: int = 0,
        retry_delay_s: float = 0.0,
        timeout_s: float | None = None,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
        memory: int | None = None,
        resources: Mapping[str, float] | None = None,
        kernel: str | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> Task:
        """Add a notebook as a task.

        Args:
            path: a file in any format that Jupytext reads, or .ipynb; relative to the pipeline's file.
            name: unique in the pipeline; default: the file's name without its ending.
            parameters: values for the notebook's variables, written into a cell after the one tagged ``parameters``
                (or at the top): what JSON holds, a Path as a whole value, outputs of other tasks anywhere inside.
            after: tasks, or names of tasks, that must succeed first.
            retries: further attempts after one that did not succeed.
            retry_delay_s: seconds between an attempt's end and the next start.
            timeout_s: seconds an attempt may take, counted from its start; then its kernel is ended.
            num_cpus, num_gpus, resources: amounts that an attempt holds while it runs.
            memory: bytes that the scheduler sets aside for an attempt.
            kernel: name of an installed kernelspec; default: the notebook's, else the runner's own interpreter.
            cwd: working directory, relative to the pipeline's file; default: the notebook's directory.
        """
        source_path = Path(os.path.abspath(self.base_dir / path))
        source = NotebookSource(
            path=source_path,
            kernel=kernel,
            cwd=None if cwd is None else Path(os.path.abspath(self.base_dir / cwd)),
        )
        options = Options(
            retries=retries,
            retry_delay_s=retry_delay_s,
            timeout_s=timeout_s,
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            memory=memory,
            resources=dict(resources or {}),
        )
        return self._add(name or source_path.name.split(".")[0], source, parameters, after, options)

    def function(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        after: Task | str | Iterable[Task | str] = (),
        retries: int = 0,
        retry_delay_s: float = 0.0,
        timeout_s: float | None = None,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
        memory: int | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> Task:
        """Add a Python function as a task.

        Args:
            fn: called with ``parameters`` as keyword arguments. What it returns, any picklable value, is the task's
                output ``return``.
            name: unique in the pipeline; default: the function's name.

        The other arguments are those of :meth:`notebook`.
        """
        options = Options(
            retries=retries,
            retry_delay_s=retry_delay_s,
            timeout_s=timeout_s,
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            memory=memory,
            resources=dict(resources or {}),
        )
        default_name = getattr(fn, "__name__", type(fn).__name__)
        return self._add(name or default_name, FunctionSource(function=fn), parameters, after, options)

    def _add(
        self,
        name: str,
        source: NotebookSource | FunctionSource,
        parameters: Mapping[str, Any] | None,
        after: Task | str | Iterable[Task | str],
        options: Options,
    ) -> Task:
        names = []
        all_needed: Iterable[object] = [after] if isinstance(after, Task | str) else after
        for needed in all_needed:
            if isinstance(needed, Task) and needed.owner is not self:
                self._problems.append(f"task {name!r} is after task {needed.name!r} of another pipeline")
            elif isinstance(needed, Task | str):
                names.append(needed.name if isinstance(needed, Task) else needed)
            else:
                self._problems.append(f"task {name!r}, after: got {needed!r}, expected a task or a task's name")
        task = Task(
            name=name,
            source=source,
            parameters=dict(parameters or {}),
            after=tuple(names),
            options=options,
            owner=self,
        )
        self._tasks.append(task)
        return task

    def build(self) -> Dag:
        """Check everything that can be checked without running, and freeze the result.

        Raises:
            PipelineError: with every problem found.
        """
        problems = [*self._problems, *checks.task_problems(self._tasks)]
        return make_dag(
            self.name, self._tasks, description=self.description, parameters=self.parameters, problems=problems
        )

    def run(
        self,
        *,
        output_dir: str | os.PathLike[str] = "runs",
        fail_fast: bool = False,
        num_cpus: int | None = None,
        ray_address: str | None = None,
        executor: ExecutorName = "ray",
        progress: bool = True,
        listeners: Sequence[Listener] = (),
    ) -> RunResult:
        """Run the pipeline and wait for its end. A task that fails raises nothing: see the result.

        Args:
            output_dir: the run folder is made below it, in a folder named after the pipeline.
            fail_fast: cancel everything else when a task did not succeed.
            num_cpus: processors to share out on this machine; default: all that this process may use.
            ray_address: a running cluster to use instead of starting Ray here.
            executor: ``ray``; ``process``: in processes of this machine, without Ray; ``inline``: in this very process,
                one task at a time, for debuggers.
            progress: show on standard error how the run goes.
            listeners: called with each event (:mod:`pynb_dag_runner.events`).

        Raises:
            UsageError: the pipeline or an argument is wrong; nothing has run.
            ExecutorError: the engine can't start.
        """
        dag = self.build()
        if executor == "inline" and _in_event_loop() and any(task.kind == "notebook" for task in dag.tasks):
            raise UsageError(
                "executor 'inline' can't run notebooks where an event loop is running, as in Jupyter; use another"
            )
        console = RunConsole(
            sys.stderr,
            max_attempts={task.name: task.options.retries + 1 for task in dag.tasks},
            live=progress and executor != "inline" and sys.stderr is not None and sys.stderr.isatty(),
            silent=not progress,
        )
        with console:
            result = run_dag(
                dag,
                output_dir=Path(output_dir),
                executor=executor_factory(executor, num_cpus=num_cpus, ray_address=ray_address),
                executor_name=executor,
                base_dir=self.base_dir,
                fail_fast=fail_fast,
                listeners=[console, *listeners],
            )
        if progress:
            console.summarise(result.status, result.folder, list(result.tasks.values()))
        return result


class PipelineDefinition:
    """A function that defines a pipeline: its signature gives the parameters. Made by :func:`pipeline`.

    Attributes:
        name: the pipeline's name.
        description: the function's docstring.
        specs: its parameters.
        base_dir: directory of the defining file.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        specs: tuple[ParameterSpec, ...] | None = None,
        base_dir: Path | None = None,
    ) -> None:
        self.function = function
        self.name = name or function.__name__
        self.description = inspect.getdoc(function) or ""
        self.specs = specs_of(function) if specs is None else specs
        self.base_dir = base_dir or _directory_of(function)
        self.__doc__ = self.description

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as for a test with a :class:`Pipeline` of one's own."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<pipeline {self.name!r}>"

    def define(self, parameters: Mapping[str, Any] | None = None) -> Pipeline:
        """The pipeline for these parameters, not yet checked.

        Args:
            parameters: by name; the rest takes its default. A :class:`pynb_dag_runner.parameters.Text` is parsed by
                the annotation. Relative paths are taken from the current directory.

        Raises:
            ParameterError: a parameter is unknown, missing or of the wrong type.
            PipelineError: the function raised something else than a :class:`UsageError`.
        """
        values = convert(self.specs, parameters or {}, given_relative_to=Path.cwd(), defaults_relative_to=self.base_dir)
        built = Pipeline(self.name, description=self.description, parameters=values, base_dir=self.base_dir)
        try:
            self.function(built, **values)
        except UsageError:
            raise  # said on purpose, in the author's own words
        except Exception as error:
            raise PipelineError(self.name, [_where_raised(error, self.function)]) from error
        return built

    def build(self, parameters: Mapping[str, Any] | None = None) -> Dag:
        """The checked graph for these parameters; see :meth:`define` and :meth:`Pipeline.build`."""
        return self.define(parameters).build()

    def run(self, *, parameters: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]) -> RunResult:
        """Run the pipeline with these parameters; further arguments are those of :meth:`Pipeline.run`."""
        return self.define(parameters).run(**options)


@overload
def pipeline(function: Callable[..., Any]) -> PipelineDefinition: ...
@overload
def pipeline(*, name: str | None = None) -> Callable[[Callable[..., Any]], PipelineDefinition]: ...
def pipeline(
    function: Callable[..., Any] | None = None, *, name: str | None = None
) -> PipelineDefinition | Callable[[Callable[..., Any]], PipelineDefinition]:
    """Make a function define a pipeline.

    The function's first argument is the :class:`Pipeline` to fill; the others are the pipeline's parameters, with
    their types, defaults and documentation.

    Args:
        name: default: the function's name.
    """
    if function is not None:
        return PipelineDefinition(function)
    return lambda decorated: PipelineDefinition(decorated, name=name)


def notebook_pipeline(path: Path) -> PipelineDefinition:
    """One notebook as a pipeline of one task. Its parameters are those of its cell tagged ``parameters``.

    Without such a cell any parameter is taken.

    Raises:
        PipelineError: the file is no notebook.
    """
    from pynb_dag_runner.work.notebook_source import UnreadableNotebook, read_notebook

    path = Path(os.path.abspath(path))
    name = path.name.split(".")[0]
    try:
        known = read_notebook(path).parameters
    except UnreadableNotebook as error:
        raise PipelineError(name, [f"notebook {path}: {error}"]) from error

    return NotebookDefinition(path, name, known)


class NotebookDefinition(PipelineDefinition):
    """A pipeline of one notebook; takes the parameters that the notebook has, as it has them."""

    def __init__(self, path: Path, name: str, known: Mapping[str, str] | None) -> None:
        def define(p: Pipeline, **parameters: Any) -> None:
            p.notebook(path, parameters=parameters)

        specs = tuple(ParameterSpec(name=parameter) for parameter in known or {})
        super().__init__(define, name=name, specs=specs, base_dir=path.parent)
        self.description = ""
        self._open = known is None

    def define(self, parameters: Mapping[str, Any] | None = None) -> Pipeline:
        """See :meth:`PipelineDefinition.define`; parameters that are not given keep the notebook's own defaults."""
        given = dict(parameters or {})
        known = {spec.name: spec for spec in self.specs}
        specs = [known[name] if name in known else ParameterSpec(name=name) for name in given]
        if not self._open:
            convert(self.specs, given, given_relative_to=Path.cwd(), defaults_relative_to=self.base_dir)
        values = convert(tuple(specs), given, given_relative_to=Path.cwd(), defaults_relative_to=self.base_dir)
        built = Pipeline(self.name, parameters=values, base_dir=self.base_dir)
        self.function(built, **values)
        return built


def _directory_of(function: Callable[..., Any]) -> Path:
    """Directory of the file that defines ``function``; the current one for what was typed into a notebook."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    file = Path(code.co_filename) if code is not None else Path()
    return Path(os.path.abspath(file)).parent if file.is_file() else Path.cwd()


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _caller_directory() -> Path:
    file = sys._getframe(2).f_globals.get("__file__")
    return Path(os.path.abspath(file)).parent if file else Path.cwd()


def _where_raised(error: Exception, function: Callable[..., Any]) -> str:
    """A sentence for an exception in a pipeline function, with the line of the user's file that raised it."""
    line, trace = "", error.__traceback__
    file = function.__code__.co_filename
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = f" at {file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"the function {function.__name__}() raised {type(error).__name__}: {error}{line}"
