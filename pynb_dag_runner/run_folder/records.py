"""What each file of a run folder holds, as frozen typed values.

A record goes to JSON and back without loss. Readers ignore keys they do not know, so that a newer minor version of the
format can add some; a newer major version is refused by the reader.
"""

import math
from typing import Annotated, Any, Literal

import pydantic_core
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from pynb_dag_runner.outcome import Failure, Outcome, RunStatus, TaskStatus

SCHEMA_VERSION = "1.0"
"""Major: an old reader would misread the folder. Minor: keys were added."""


class Record(BaseModel):
    """Base of all records: frozen; unknown keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, ser_json_inf_nan="strings")

    def to_json(self) -> bytes:
        """UTF-8 JSON, indented for people, with a last newline."""
        return pydantic_core.to_json(self, indent=1, inf_nan_mode="strings") + b"\n"


class Error(Record):
    """Why an attempt did not succeed."""

    kind: str = Field(description="class name of the exception, or Timeout, ProcessDied, Cancelled, MissingOutput")
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, failure: Failure | None) -> "Error | None":
        """The record of a failure, if there is one."""
        if failure is None:
            return None
        return cls(kind=failure.kind, message=failure.message, traceback=failure.traceback)

    def failure(self) -> Failure:
        """The value that this record stands for."""
        return Failure(kind=self.kind, message=self.message, traceback=self.traceback)


class OptionsRecord(Record):
    """How a task was asked to run."""

    retries: int = 0
    retry_delay_s: float = 0.0
    timeout_s: float | None = None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory_bytes: int | None = None
    resources: dict[str, float] = {}


class PlannedTask(Record):
    """A node of the DAG."""

    name: str
    kind: Literal["notebook", "function"]
    source: str = Field(description="notebook: path, relative to the pipeline's file where it is below; function: name")
    upstream: tuple[str, ...] = Field(default=(), description="names of the tasks it waits for")
    options: OptionsRecord = OptionsRecord()


class DriverRecord(Record):
    """The process that runs the pipeline; tells a reader whether it is still there."""

    host: str
    pid: int
    process_start_s: float = Field(description="start of the process, seconds since 1970 as the system reports it")
    user: str = ""
    working_directory: str = ""
    executor: str = ""


class GitRecord(Record):
    """Where the pipeline's code came from."""

    commit: str
    branch: str | None = None
    remote_url: str | None = Field(default=None, description="without user name and password")
    dirty: bool = Field(default=False, description="tracked files differed from the commit")


class RunRecord(Record):
    """``run.json``: written when the run starts and again when it ends."""

    schema_version: str = SCHEMA_VERSION
    run_id: str
    pipeline: str
    description: str = ""
    status: RunStatus
    start: AwareDatetime
    end: AwareDatetime | None = None
    parameters: dict[str, JsonValue] = {}
    tasks: tuple[PlannedTask, ...] = Field(default=(), description="in plan order")
    driver: DriverRecord
    git: GitRecord | None = None
    ci: dict[str, str] = Field(default={}, description="variables that name the CI job")
    versions: dict[str, str] = Field(default={}, description="Python and the libraries that execute tasks")


class AttemptVerdict(Record):
    """What the driver knows of an attempt; counts where the attempt's own record has no end."""

    number: int = Field(ge=1)
    outcome: Outcome
    start: AwareDatetime | None = Field(default=None, description="absent if it ended before it ran")
    end: AwareDatetime
    error: Error | None = None


class TaskRecord(Record):
    """``task.json``: written when the task has its final status."""

    schema_version: str = SCHEMA_VERSION
    name: str
    kind: Literal["notebook", "function"]
    source: str
    options: OptionsRecord = OptionsRecord()
    upstream: tuple[str, ...] = ()
    status: TaskStatus
    outcome: Outcome | None = Field(default=None, description="of the last attempt; absent if there was none")
    blocked_by: str | None = Field(default=None, description="of a SKIPPED task: the task that did not succeed")
    start: AwareDatetime | None = Field(default=None, description="of the first attempt")
    end: AwareDatetime | None = None
    attempts: tuple[AttemptVerdict, ...] = ()


class AttemptRecord(Record):
    """``attempt.json``: written by the worker when the attempt starts and again when it ends."""

    schema_version: str = SCHEMA_VERSION
    task: str
    number: int = Field(ge=1)
    outcome: Outcome | None = Field(default=None, description="absent while it runs, or for ever if its process died")
    queued: AwareDatetime = Field(description="when nothing but a free slot was missing any more")
    start: AwareDatetime
    end: AwareDatetime | None = None
    queue_s: float = Field(default=0.0, description="seconds between queued and start")
    error: Error | None = None
    host: str
    pid: int
    cpu_time_s: float | None = Field(
        default=None, description="user and system time, of a notebook's kernel and children"
    )
    peak_memory_bytes: int | None = Field(default=None, description="largest resident set seen")
    kernel: str | None = Field(default=None, description="kernelspec that a notebook ran in")
    cells: int | None = Field(default=None, description="number of code cells of a notebook")
    cells_executed: int | None = None
    parameters: dict[str, JsonValue] = Field(default={}, description="as the task received them")
    outputs: dict[str, JsonValue] = {}


class TrackingRecord(Record):
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
    step: int = 0
    timestamp: AwareDatetime

    @property
    def is_finite(self) -> bool:
        """Whether the value is a number that JSON could hold."""
        return math.isfinite(self.value)
