"""Run pipelines of Jupyter notebooks and Python functions in parallel; keep all that happened as plain files.

Names are loaded when they are first used: importing the package loads neither Ray, nor Jupyter, nor MLflow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pynb_dag_runner import tracking
    from pynb_dag_runner.api.definitions import PipelineDefinition, pipeline
    from pynb_dag_runner.api.pipelines import Pipeline
    from pynb_dag_runner.errors import (
        ExecutorError,
        LoadingError,
        OutputDirectoryError,
        OutputNotKnownError,
        ParameterError,
        PipelineError,
        PynbDagRunnerError,
        RunFolderError,
        UsageError,
    )
    from pynb_dag_runner.execute.runner import RunResult
    from pynb_dag_runner.model.graph import Task
    from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
    from pynb_dag_runner.model.references import OutputReference
    from pynb_dag_runner.run_folder import Run, TaskRun, find_runs, read_run
    from pynb_dag_runner.secrets.marking import Secret

_HOMES = {
    "model.graph": ("Task",),
    "api.definitions": ("PipelineDefinition", "pipeline"),
    "errors": (
        "ExecutorError",
        "LoadingError",
        "OutputDirectoryError",
        "OutputNotKnownError",
        "ParameterError",
        "PipelineError",
        "PynbDagRunnerError",
        "RunFolderError",
        "UsageError",
    ),
    "model.outcomes": ("Failure", "Outcome", "RunStatus", "TaskStatus"),
    "api.pipelines": ("Pipeline",),
    "model.references": ("OutputReference",),
    "run_folder": ("Run", "TaskRun", "find_runs", "read_run"),
    "execute.runner": ("RunResult",),
    "secrets.marking": ("Secret",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ExecutorError",
    "Failure",
    "LoadingError",
    "Outcome",
    "OutputDirectoryError",
    "OutputNotKnownError",
    "OutputReference",
    "ParameterError",
    "Pipeline",
    "PipelineDefinition",
    "PipelineError",
    "PynbDagRunnerError",
    "Run",
    "RunFolderError",
    "RunResult",
    "RunStatus",
    "Secret",
    "Task",
    "TaskRun",
    "TaskStatus",
    "UsageError",
    "find_runs",
    "pipeline",
    "read_run",
    "tracking",
]


def __getattr__(name: str) -> Any:
    if name == "tracking":
        return import_module("pynb_dag_runner.tracking")
    if name in _HOME_OF:
        return getattr(import_module(f"pynb_dag_runner.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
