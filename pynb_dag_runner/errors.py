"""The errors that a user of the library can meet.

::

    PynbDagRunnerError
    ├── UsageError                 nothing ran; the command line exits with code 2
    │   ├── LoadingError           no such file, no pipeline in it, two and none named
    │   ├── PipelineError          the pipeline is wrong; ``problems`` holds every reason found
    │   ├── ParameterError         a parameter is unknown, missing or of the wrong type
    │   ├── OutputNotKnownError    a task's output was used as a value while the pipeline was written
    │   └── OutputDirectoryError   the run folder can't be made
    ├── TaskIsNoValueError         a function used a task of its pipeline as a value, where it runs
    ├── RecordingError             a run was stopped since its folder can't be written any more; exit code 1
    ├── RunInterruptedError        a run was stopped since what executes its tasks is gone; exit code 1
    ├── RunFolderError             a file of a run folder is missing, damaged or of a newer format
    └── ExecutorError              the engine can't start, or can never give what a task asks for

A task that fails raises nothing: its failure is a value (:class:`pynb_dag_runner.model.outcomes.Failure`).
"""

from collections.abc import Iterable
from pathlib import Path

from pynb_dag_runner.model.text import visible

OUTPUT_ADVICE = "hand the reference itself to a task's parameter, and do this in the task, which gets the value"


class PynbDagRunnerError(Exception):
    """Base of all errors that this package raises on purpose."""


class UsageError(PynbDagRunnerError):
    """A mistake in what was asked for; nothing has run."""


class LoadingError(UsageError):
    """The target names no file, no pipeline, or more than one."""


class PipelineError(UsageError):
    """The pipeline can't run as it is written.

    Args:
        pipeline: name of the pipeline.
        problems: one sentence per problem, in the order in which they were found.
    """

    def __init__(self, pipeline: str, problems: Iterable[str]) -> None:
        self.pipeline = pipeline
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            super().__init__(f"pipeline {pipeline!r}: {self.problems[0]}")
            return
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"pipeline {pipeline!r} has {len(self.problems)} problems:\n{lines}")

    def __reduce__(self) -> tuple[type["PipelineError"], tuple[str, tuple[str, ...]]]:
        return (PipelineError, (self.pipeline, self.problems))


class ParameterError(UsageError):
    """A parameter's name or value is not what the pipeline's signature says."""


class OutputNotKnownError(UsageError):
    """A reference to a task's output was used as if it were the value, which is known only when the run goes.

    It is no TypeError: Python and libraries put words of their own in the place of those.

    Args:
        output: what to call the output.
        use: what was to be done with it, as in "it can't be ...".
    """

    def __init__(self, output: str, use: str) -> None:
        self.output = output
        self.use = use
        super().__init__(
            f"{output} is known only when the run goes, so it can't be {use} while the pipeline is written; "
            f"{OUTPUT_ADVICE}"
        )

    def __reduce__(self) -> tuple[type["OutputNotKnownError"], tuple[str, str]]:
        return (OutputNotKnownError, (self.output, self.use))


class TaskIsNoValueError(PynbDagRunnerError):
    """A function used a task of its pipeline, which it reads from around it, as if that were a value.

    Args:
        task: the task's name.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        super().__init__(
            f"task {task!r} of the pipeline is no value that a function can use where it runs; hand over its output: "
            f"parameters={{'x': task.output()}}"
        )

    def __reduce__(self) -> tuple[type["TaskIsNoValueError"], tuple[str]]:
        return (TaskIsNoValueError, (self.task,))


class OutputDirectoryError(UsageError):
    """The output directory can't be made or written."""


class RunFolderError(PynbDagRunnerError):
    """A run folder can't be read.

    Args:
        file: the file that is wrong.
        problem: what is wrong with it, in words.
        key: where in the file, such as ``tasks[0].name``; empty for the file as a whole.
    """

    def __init__(self, file: Path, problem: str, key: str = "") -> None:
        self.file = file
        self.problem = problem
        self.key = key
        where = f"{file}: {key}" if key else str(file)
        super().__init__(visible(f"{where}: {problem}"))

    def __reduce__(self) -> tuple[type["RunFolderError"], tuple[Path, str, str]]:
        return (RunFolderError, (self.file, self.problem, self.key))


class RecordingError(PynbDagRunnerError):
    """A run was stopped, since what happens can't be written down any more: the disk is full, say.

    Args:
        folder: the run folder.
        reason: what the system says.
    """

    def __init__(self, folder: Path, reason: str) -> None:
        self.folder = folder
        self.reason = reason
        super().__init__(
            f"the run was stopped, since its folder {folder} can't be written any more: {reason}; what had finished is "
            f"kept. When there is a remedy, go on with: pynb-dag-runner resume {folder}"
        )

    def __reduce__(self) -> tuple[type["RecordingError"], tuple[Path, str]]:
        return (RecordingError, (self.folder, self.reason))


class RunInterruptedError(PynbDagRunnerError):
    """What executes the tasks of a run is gone, so nothing more could be done; the run can be resumed.

    Args:
        folder: the run folder.
        reason: what is gone.
    """

    def __init__(self, folder: Path, reason: str) -> None:
        self.folder = folder
        self.reason = reason
        super().__init__(
            f"the run was stopped, since {reason}; what had finished is kept. "
            f"Resume it with: pynb-dag-runner resume {folder}"
        )

    def __reduce__(self) -> tuple[type["RunInterruptedError"], tuple[Path, str]]:
        return (RunInterruptedError, (self.folder, self.reason))


class ExecutorError(PynbDagRunnerError):
    """The engine that executes tasks can't start or can't serve this pipeline."""
