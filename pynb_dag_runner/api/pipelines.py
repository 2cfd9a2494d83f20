"""Define a pipeline task by task, and run or resume it: :class:`Pipeline`."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pynb_dag_runner.api.arguments import (
    FunctionArguments,
    NotebookArguments,
    ResumeArguments,
    RunArguments,
    checked,
    takes,
    unknown_options,
)
from pynb_dag_runner.api.programs import passes_interruptions_on
from pynb_dag_runner.api.workflow import Display, resumable, run_pipeline, selected
from pynb_dag_runner.define import captured_values, checks
from pynb_dag_runner.define.wiring import wiring_problems
from pynb_dag_runner.execute.request import RunRequest
from pynb_dag_runner.execute.runner import RunResult
from pynb_dag_runner.model.graph import Dag, FunctionSource, NotebookSource, Task, make_dag
from pynb_dag_runner.model.references import OutputReference
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.model.task_options import TaskOptions
from pynb_dag_runner.processes import module_files
from pynb_dag_runner.run_folder import Run
from pynb_dag_runner.run_folder.records import TargetRecord


class Pipeline:
    """Tasks and what they wait for. A function decorated with :func:`pipeline` gets one to fill.

    Nothing runs and no file is read until :meth:`build` or :meth:`run`.

    Args:
        name: names the run folder's parent and the MLflow experiment.
        description: for people.
        parameters: values of the pipeline's own parameters, for the record.
        base_dir: directory that notebooks' paths are relative to; default: that of the calling file.
        preload: names of modules that notebooks import, such as ``["pandas", "matplotlib.pyplot"]``. They are imported
            once for all notebooks that share directory and environment variables, and each one's fresh process has them
            already. Waiting for that counts as queue time. Whatever else happens at their import, such as a random seed
            being set, has happened then, too; what they print then is in no notebook.
        given: the parameters as they were given, where they are known.
        target: where the pipeline can be loaded from again.
    """

    def __init__(
        self,
        name: str,
        *,
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        base_dir: str | os.PathLike[str] | None = None,
        preload: Iterable[str] = (),
        given: Mapping[str, Any] | None = None,
        target: TargetRecord | None = None,
    ) -> None:
        self.name = name
        self.description = description
        self.parameters = dict(parameters or {})
        self.base_dir = Path(os.path.abspath(base_dir)) if base_dir is not None else _caller_directory()
        given_preload: Any = preload  # perhaps no list at all, which the check of the whole pipeline says
        is_list = isinstance(given_preload, Iterable) and not isinstance(given_preload, str)
        self.preload: tuple[str, ...] = tuple(given_preload) if is_list else (given_preload,)
        self._given = dict(given or {})
        self._target = target
        self._tasks: list[Task] = []
        self._read: list[tuple[Task, Callable[..., Any], tuple[captured_values.Variable, ...]]] = []
        self._problems: list[str] = []

    @takes(NotebookArguments, refuse=False)
    def notebook(self, given: NotebookArguments, keywords: Mapping[str, Any]) -> Task:
        """Add a notebook as a task.

        Its parameters are values for the notebook's variables, written into a cell after the one tagged ``parameters``
        (or at the top): None, numbers, texts, bytes, paths, dates and times, Decimal, Fraction, UUID, Enum members,
        numpy scalars, nested in lists, tuples, sets and dicts; for a kernel that is not Python: what JSON holds.
        """
        path = Path(os.path.abspath(self.base_dir / given.path))
        source = NotebookSource(
            path=path,
            kernel=given.kernel,
            cwd=None if given.cwd is None else Path(os.path.abspath(self.base_dir / given.cwd)),
            extra_parameters=given.extra_parameters,
        )
        return self._add(source, given, given.name or path.name.split(".")[0], keywords)

    @takes(FunctionArguments, refuse=False)
    def function(self, given: FunctionArguments, keywords: Mapping[str, Any]) -> Task:
        """Add a Python function as a task."""
        name = given.name or str(getattr(given.fn, "__name__", type(given.fn).__name__))
        return self._add(FunctionSource(function=given.fn), given, name, keywords)

    def _add(
        self,
        source: NotebookSource | FunctionSource,
        given: NotebookArguments | FunctionArguments,
        name: str,
        keywords: Iterable[str],
    ) -> Task:
        self._problems += [f"task {name!r}: {problem}" for problem in unknown_options(type(given), keywords)]
        task = Task(
            name=name,
            source=source,
            parameters={key: captured_values.copied(value) for key, value in (given.parameters or {}).items()},
            after=tuple(self._names_of(given.after, name)),
            options=TaskOptions.of(given),
            owner=self,
        )
        self._tasks.append(task)
        if isinstance(source, FunctionSource) and (read := captured_values.variables_of(source.function)):
            self._read.append((task, source.function, read))
        return task

    def _names_of(self, after: Task | str | Iterable[Task | str], name: str) -> Iterator[str]:
        """Names of the tasks that the task ``name`` comes after."""
        all_needed: Iterable[object] = [after] if isinstance(after, Task | str | OutputReference) else after
        for needed in all_needed:
            if isinstance(needed, Task) and needed.owner is not self:
                self._problems.append(f"task {name!r} is after task {needed.name!r} of another pipeline")
            elif isinstance(needed, Task | str):
                yield needed.name if isinstance(needed, Task) else needed
            elif isinstance(needed, OutputReference):
                self._problems.append(
                    f"task {name!r}, after: got {needed.words}, expected the task {needed.producer.name!r} itself"
                )
            else:
                self._problems.append(f"task {name!r}, after: got {needed!r}, expected a task or a task's name")

    def build(self) -> Dag:
        """Check everything that can be checked without running, and freeze the result.

        Raises:
            PipelineError: with every problem found.
        """
        module_files.know_program()
        problems = [
            *self._problems,
            *checks.preload_problems(self.preload),
            *checks.task_problems(self._tasks),
            *wiring_problems(self._tasks),
        ]
        for task, function, before in self._read:
            problems += [f"task {task.name!r}: {change}" for change in captured_values.changes(function, before)]
        return make_dag(
            self.name,
            self._tasks,
            description=self.description,
            parameters=self.parameters,
            given=self._given,
            preload=self.preload,
            problems=problems,
        )

    @takes(RunArguments)
    @passes_interruptions_on
    def run(self, given: RunArguments, _keywords: Mapping[str, Any]) -> RunResult:
        """Run the pipeline and wait for its end. A task that fails raises nothing: see the result.

        Raises:
            UsageError: the pipeline or an argument is wrong; nothing has run.
            ExecutorError: the engine can't start.
            KeyboardInterrupt: by Ctrl-C, after the run has been ended in order; its attribute ``result`` is what would
                have been returned. SIGTERM and SIGHUP go to the program's own handlers, or end it if it has none.
        """
        settings = checked(RunSettings.of(given))
        request = RunRequest(
            dag=selected(self.build(), settings),
            settings=settings,
            base_dir=self.base_dir,
            output_dir=Path(given.output_dir),
            target=self._target,
            listeners=given.listeners,
        )
        return run_pipeline(request, Display(progress=given.progress, summary=given.progress)).result

    @takes(ResumeArguments)
    @passes_interruptions_on
    def resume(self, given: ResumeArguments, keywords: Mapping[str, Any]) -> RunResult:
        """Resume an earlier run of this pipeline in place; re-run only what is needed.

        A task that succeeded is taken over if it, its parameters and all that it needs are what they were. If that
        holds for the whole run and it succeeded, nothing is changed. The folder must be your own: return values that
        JSON can't hold are unpickled.

        Settings that are not given are as the run had them; ``timeout_s`` is counted anew.

        Raises:
            RunFolderError: it is no run folder, or damaged, or belongs to another user.
            UsageError: the pipeline or an argument is wrong; nothing has run.
        """

        def request_for(run: Run) -> RunRequest:
            settings = checked(run.record.settings.over(keywords))
            return RunRequest(
                dag=selected(self.build(), settings),
                settings=settings,
                base_dir=self.base_dir,
                target=self._target or run.record.target,
                listeners=given.listeners,
            )

        with resumable(Path(given.run_dir), request_for) as request:
            return run_pipeline(request, Display(progress=given.progress, summary=given.progress)).result


def _caller_directory() -> Path:
    file = sys._getframe(2).f_globals.get("__file__")
    return Path(os.path.abspath(file)).parent if file else Path.cwd()
