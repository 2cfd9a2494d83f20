"""The content of each file of a run folder, as frozen typed values.

A record goes to JSON and back without loss. Readers ignore keys they do not know, so that a newer minor version of the
format can add some; a newer major version is refused by the reader.
"""

import math
from typing import Annotated, Any, Literal

import pydantic_core
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from pynb_dag_runner.model.declarations import StoredInteger
from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.model.stored_types import AttemptNumber, StoredTime
from pynb_dag_runner.model.task_options import TaskOptions

SCHEMA_VERSION = "1.1"
"""Major: an old reader would misread the folder. Minor: keys were added, or some that may be missing are left out."""


class Record(BaseModel):
    """Base of all records: frozen; unknown keys are ignored.

    Its validator is made when it is first needed: most are only parts of others, which bring their own. For what each
    forked worker makes it is there before the fork.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, ser_json_inf_nan="strings", defer_build=True
    )

    def to_json(self, *, exclude: Any = None) -> bytes:
        """UTF-8 JSON, indented for people, with a last newline.

        Args:
            exclude: keys that are left out, as pydantic names them.
        """
        return pydantic_core.to_json(self, indent=1, exclude=exclude, inf_nan_mode="strings") + b"\n"


class Error(Record, defer_build=False):
    """Why an attempt did not succeed."""

    kind: str = Field(
        description="class name of the exception, or Timeout, ProcessDied, OutOfMemory, DriverDied, and so on"
    )
    message: str
    traceback: str = Field(default="", description="in attempt.json alone")

    @classmethod
    def of(cls, failure: Failure | None) -> "Error | None":
        """The record of a failure, if there is one."""
        if failure is None:
            return None
        return cls(kind=failure.kind, message=failure.message, traceback=failure.traceback)


class FingerprintRecord(Record):
    """Tells whether a task is still the same: SHA-256 in hexadecimal digits, of what decides what it does."""

    source: str = Field(description="of the notebook's content or the function's source text")
    parameters: dict[str, str] = Field(default={}, description="of each value; outputs of other tasks by name")


class PlannedTask(Record):
    """A node of the DAG."""

    name: str
    kind: Literal["notebook", "function"]
    source: str = Field(description="notebook: path, relative to the pipeline's file where it is below; function: name")
    upstream: tuple[str, ...] = Field(default=(), description="names of the tasks it waits for")
    options: TaskOptions = TaskOptions()
    fingerprint: FingerprintRecord | None = None
    attempts_before: Annotated[StoredInteger, Field(ge=0)] = Field(
        default=0, description="attempts up to this number are from before the run was resumed, and do not count"
    )
    resumed: StoredInteger = Field(
        default=0, description="number of the resume since which the task runs, 0: the run's start; see task.json"
    )


class TargetRecord(Record):
    """Where the pipeline can be loaded from again."""

    location: str = Field(description="absolute path of a file, or a dotted module name")
    name: str | None = Field(default=None, description="of the pipeline in it, where one was said")
    directory: str = Field(default="", description="current directory then: modules are looked for there")


class GivenRecord(Record):
    """A parameter that was given, in a form from which it can be given again."""

    form: Literal["json", "path", "text", "none"] = Field(
        description="text: as typed, to be converted by its annotation; none: it can't be written, or must not be"
    )
    value: JsonValue = Field(default=None, description="as given; what it became stands in parameters")
    directory: str = Field(default="", description="the current directory then, for relative paths")


class DriverRecord(Record):
    """The process that runs the pipeline; tells a reader whether it is still there."""

    host: str
    pid: StoredInteger
    process_start_s: float = Field(description="start of the process, seconds since 1970 as the system reports it")
    user: str = ""
    working_directory: str = ""
    executor: str = ""
    engine: str | None = Field(default=None, description="mark in the environment of all processes that it started")


class GitRecord(Record):
    """Where the pipeline's code came from."""

    commit: str
    branch: str | None = None
    remote_url: str | None = Field(default=None, description="without user name and password")
    dirty: bool = Field(default=False, description="tracked files differed from the commit")


class RunAgainRecord(Record):
    """A task that was not taken over when the run was resumed."""

    task: str
    reason: str


class ResumeRecord(Record):
    """The run was resumed."""

    start: StoredTime
    previous_status: RunStatus
    previous_end: StoredTime = Field(description="when the run had ended, or the last thing known of it before")
    driver: DriverRecord
    git: GitRecord | None = None
    parameters: tuple[str, ...] = Field(default=(), description="names of those that changed")
    again: tuple[RunAgainRecord, ...] = Field(default=(), description="tasks that ran again, and why")
    reused: tuple[str, ...] = Field(default=(), description="tasks that were taken over")
    dropped: tuple[str, ...] = Field(default=(), description="tasks that the pipeline did not have any more")


class RunRecord(Record):
    """``run.json``: written when the run starts, when it is resumed, and when it ends."""

    schema_version: str = SCHEMA_VERSION
    run_id: str
    pipeline: str
    description: str = ""
    status: RunStatus
    start: StoredTime
    end: StoredTime | None = None
    parameters: dict[str, JsonValue] = {}
    given: dict[str, GivenRecord] = Field(default={}, description="parameters that did not take their default")
    target: TargetRecord | None = None
    settings: RunSettings = RunSettings()
    tasks: tuple[PlannedTask, ...] = Field(default=(), description="in plan order")
    resumes: tuple[ResumeRecord, ...] = ()
    driver: DriverRecord
    git: GitRecord | None = None
    ci: dict[str, str] = Field(default={}, description="variables that name the CI job")
    versions: dict[str, str] = Field(default={}, description="Python and the libraries that execute tasks")


class AttemptVerdict(Record):
    """What the driver knows of an attempt; counts where the attempt's own record has no end."""

    number: AttemptNumber
    outcome: Outcome
    start: StoredTime | None = Field(default=None, description="absent if it ended before it ran")
    end: StoredTime
    error: Error | None = None


class TaskRecord(Record):
    """``task.json``: written when the task has its final status."""

    schema_version: str = SCHEMA_VERSION
    name: str
    kind: Literal["notebook", "function"]
    source: str
    options: TaskOptions = TaskOptions()
    upstream: tuple[str, ...] = ()
    resumed: StoredInteger = Field(default=0, description="with a lower number than in run.json it does not count")
    status: TaskStatus
    outcome: Outcome | None = Field(default=None, description="of the last attempt; absent if there was none")
    blocked_by: str | None = Field(default=None, description="of a SKIPPED task: the task that did not succeed")
    start: StoredTime | None = Field(default=None, description="of the first attempt that counts")
    end: StoredTime | None = None
    attempts: tuple[AttemptVerdict, ...] = Field(default=(), description="all, also those that do not count any more")


class KernelStart(Record, defer_build=False):
    """How a notebook's kernel came about."""

    how: Literal["forked", "started"] = Field(description="from a warm process of its kind, or as a program")
    preloaded: tuple[str, ...] = Field(default=(), description="modules that were imported before on the user's wish")
    remarks: tuple[str, ...] = Field(default=(), description="why not in a faster way, where there is one")


class AttemptRecord(Record, defer_build=False):
    """``attempt.json``: written by the worker when the attempt starts and again when it ends."""

    schema_version: str = SCHEMA_VERSION
    task: str
    number: AttemptNumber
    outcome: Outcome | None = Field(default=None, description="absent while it runs, or for ever if its process died")
    queued: StoredTime = Field(description="when nothing but a free slot was missing any more")
    start: StoredTime
    end: StoredTime | None = None
    queue_s: float = Field(default=0.0, description="seconds between queued and start")
    error: Error | None = None
    host: str
    pid: StoredInteger
    cpu_time_s: float | None = Field(
        default=None, description="user and system time, of a notebook's kernel and children"
    )
    peak_memory_bytes: StoredInteger | None = Field(default=None, description="largest resident set seen")
    kernel: str | None = Field(default=None, description="kernelspec that a notebook ran in")
    kernel_start: KernelStart | None = Field(default=None, description="how a notebook's kernel came about")
    cells: StoredInteger | None = Field(default=None, description="number of code cells of a notebook")
    cells_executed: StoredInteger | None = None
    parameters: dict[str, JsonValue] = Field(default={}, description="as the task received them")
    outputs: dict[str, JsonValue] = {}
    redacted_outputs: tuple[str, ...] = Field(
        default=(), description="names of those that held a secret, which downstream tasks were given all the same"
    )


class TrackingRecord(Record, defer_build=False):
    """``tracking.json``: what the task said of itself."""

    schema_version: str = SCHEMA_VERSION
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    outputs: dict[str, JsonValue] = {}


def _number(value: Any) -> Any:
    """JSON has no NaN and no infinities; they are written as strings."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


class Metric(Record):
    """A line of ``metrics.jsonl``."""

    key: str
    value: Annotated[
        float,
        Field(allow_inf_nan=True),
        BeforeValidator(_number, json_schema_input_type=float | Literal["NaN", "Infinity", "-Infinity"]),
    ]
    step: StoredInteger = 0
    timestamp: StoredTime

    @property
    def is_finite(self) -> bool:
        """Whether the value is a number that JSON could hold."""
        return math.isfinite(self.value)
