"""One attempt of a task, from the first file in its folder to the last. Runs in a worker.

:func:`run_attempt` is a job's call: what it yields reaches the driver at once. It yields that the attempt began, then
what a function returned if JSON can't hold it, then that it finished; ending the kernel is off the
critical path, as downstream tasks start meanwhile.
"""

import contextlib
import os
import socket
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cloudpickle

from pynb_dag_runner import json_values, tracking
from pynb_dag_runner.executors.base import JobCancelled, Keep
from pynb_dag_runner.outcome import Failure, Outcome
from pynb_dag_runner.parameters import recorded
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.records import AttemptRecord, Error, TrackingRecord
from pynb_dag_runner.run_folder.writer import AttemptWriter
from pynb_dag_runner.work import function, processes
from pynb_dag_runner.work.failures import AttemptTimedOut, failure, failure_of, timeout_failure
from pynb_dag_runner.work.messages import (
    AttemptBegan,
    AttemptFinished,
    AttemptSpec,
    FunctionWork,
    InputSlot,
    NotebookWork,
)
from pynb_dag_runner.work.shipping import Destination

_CANCELLED = failure("Cancelled", "the run was cancelled")


@dataclass(kw_only=True)
class _Result:
    """What came of the task's own work; filled in as it goes."""

    outcome: Outcome = Outcome.SUCCEEDED
    failure: Failure | None = None
    outputs: dict[str, Any] = field(default_factory=dict)
    kept: Keep | None = None
    usage: processes.Usage = field(default_factory=processes.Usage)
    kernel: str | None = None
    cells: int | None = None
    cells_executed: int | None = None


def run_attempt(spec: AttemptSpec, *inputs: Any) -> Generator[object]:
    """Make one attempt.

    Args:
        inputs: values for the input slots in the spec's parameters.

    Yields:
        :class:`AttemptBegan`, perhaps a :class:`Keep`, :class:`FilePart` for each part of each file if this worker does
        not see the run folder, and :class:`AttemptFinished`.
    """
    with Destination(spec) as destination:
        yield from _make(replace(spec, folder=destination.folder), inputs, destination)


def _make(spec: AttemptSpec, inputs: tuple[Any, ...], destination: Destination) -> Generator[object]:
    if isinstance(spec.work, NotebookWork):
        # papermill and Jupyter take half a second once in a worker's life; no task's clock should pay for that.
        import pynb_dag_runner.work.notebook  # noqa: F401
    start = _now()
    writer = destination.writer
    parameters = {name: _fill(value, inputs) for name, value in spec.parameters.items()}
    record = AttemptRecord(
        task=spec.task,
        number=spec.number,
        queued=spec.queued,
        start=start,
        queue_s=max(0.0, (start - spec.queued).total_seconds()),
        host=socket.gethostname(),
        pid=os.getpid(),
        parameters=recorded(parameters),
    )
    writer.record(record)
    try:
        yield AttemptBegan(time=start)
    except JobCancelled:
        yield from _finish(_Result(outcome=Outcome.CANCELLED, failure=_CANCELLED), record, destination)
        return
    environment = attempt_environment(spec)
    if isinstance(spec.work, FunctionWork):
        result = _call_function(spec, spec.work, parameters, environment, writer)
        try:
            yield from _finish(result, record, destination)
        finally:
            if processes.has_children():
                processes.end_processes(_marker(environment))
    else:
        yield from _evaluate_notebook(spec, spec.work, parameters, environment, record, destination)


def attempt_environment(spec: AttemptSpec) -> dict[str, str]:
    """Environment variables that tell a task which attempt it is."""
    # As Ray does it: libraries that start a thread per processor in each of several processes slow each other down.
    threads = {} if spec.threads is None else {"OMP_NUM_THREADS": str(spec.threads)}
    return threads | {
        tracking.ATTEMPT_DIR_VARIABLE: str(spec.folder),
        "PYNB_DAG_RUNNER_RUN_ID": spec.run_id,
        "PYNB_DAG_RUNNER_TASK": spec.task,
        "PYNB_DAG_RUNNER_ATTEMPT": str(spec.number),
    }


def _marker(environment: Mapping[str, str]) -> str:
    return f"{tracking.ATTEMPT_DIR_VARIABLE}={environment[tracking.ATTEMPT_DIR_VARIABLE]}"


def _finish(result: _Result, record: AttemptRecord, destination: Destination) -> Iterator[object]:
    """Write the attempt's last record, then tell the driver, who must have all files by then."""
    with contextlib.suppress(OSError, ValueError):  # a task may have damaged its own file; its work still counts
        tracked = _tracked_outputs(destination.folder)
        result.outputs = {**tracked, **result.outputs}
    end = _now()
    destination.writer.record(
        record.model_copy(
            update={
                "outcome": result.outcome,
                "end": end,
                "error": Error.of(result.failure),
                "cpu_time_s": result.usage.cpu_time_s,
                "peak_memory_bytes": result.usage.peak_memory_bytes,
                "kernel": result.kernel,
                "cells": result.cells,
                "cells_executed": result.cells_executed,
                "outputs": json_values.encode(result.outputs),
            }
        )
    )
    if result.kept is not None:
        yield result.kept
    yield from destination.parts()
    yield AttemptFinished(time=end, outcome=result.outcome, failure=result.failure, outputs=result.outputs)


def _tracked_outputs(folder: Path) -> dict[str, Any]:
    path = folder / paths.TRACKING
    if not path.exists():
        return {}
    return {
        name: json_values.decode(value)
        for name, value in TrackingRecord.model_validate_json(path.read_bytes()).outputs.items()
    }


def _call_function(
    spec: AttemptSpec,
    work: FunctionWork,
    parameters: dict[str, Any],
    environment: dict[str, str],
    writer: AttemptWriter,
) -> _Result:
    result = _Result()
    cpu_before = _cpu_time_s()
    processes.forget_peak_memory()
    log = writer.folder / paths.LOG
    try:
        with _environment(environment), function.logged(log, terminal=spec.terminal):
            value = function.call(work.function, parameters, spec.timeout_s)
        _take_return_value(value, result, writer)
    except AttemptTimedOut:
        assert spec.timeout_s is not None
        result.outcome, result.failure = Outcome.TIMED_OUT, timeout_failure(spec.timeout_s)
    except (JobCancelled, KeyboardInterrupt):
        result.outcome, result.failure = Outcome.CANCELLED, _CANCELLED
    except SystemExit as error:
        if error.code not in (None, 0):
            result.outcome, result.failure = Outcome.FAILED, failure_of(error, skip_frames=2)
        else:
            result.outputs["return"] = None
    except BaseException as error:  # noqa: BLE001 - a task's failure is a value, whatever it raised
        result.outcome, result.failure = Outcome.FAILED, failure_of(error, skip_frames=2)
    result.usage = processes.Usage(
        cpu_time_s=round(_cpu_time_s() - cpu_before, 4), peak_memory_bytes=processes.peak_memory_bytes(os.getpid())
    )
    return result


def _take_return_value(value: Any, result: _Result, writer: AttemptWriter) -> None:
    """JSON values go into the record, anything else into a pickle and the executor's store."""
    if json_values.json_problem(value) is None:
        result.outputs["return"] = value
        return
    try:
        pickled = cloudpickle.dumps(value)
        writer.return_value(pickled)
    except Exception as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
        why = f"the return value of type {type(value).__name__} can't be handed on: {error}"
        result.outcome, result.failure = Outcome.FAILED, failure("PicklingError", why)
    else:
        result.kept = Keep(value, pickled)


def _evaluate_notebook(
    spec: AttemptSpec,
    work: NotebookWork,
    parameters: dict[str, Any],
    environment: dict[str, str],
    record: AttemptRecord,
    destination: Destination,
) -> Iterator[object]:
    from pynb_dag_runner.work.notebook import Evaluation

    writer = destination.writer
    log_path = writer.folder / paths.LOG
    with open(log_path, "ab", buffering=0) as log:
        evaluation = Evaluation(
            work,
            parameters,
            writer=writer,
            environment=environment,
            marker=_marker(environment),
            log=log,
            timeout_s=spec.timeout_s,
        )
        result = _Result(kernel=evaluation.kernel_name)
        try:
            evaluation.run()
            result.outcome, result.failure = evaluation.session.outcome, evaluation.session.failure
        except (JobCancelled, KeyboardInterrupt):
            evaluation.kill()
            result.outcome, result.failure = Outcome.CANCELLED, _CANCELLED
        except Exception as error:  # noqa: BLE001 - a failure is a value; this one is the libraries' or ours
            evaluation.kill()
            result.outcome, result.failure = Outcome.FAILED, failure_of(error)
        result.cells, result.cells_executed = evaluation.cells, evaluation.session.cells_executed
        result.usage = evaluation.usage
        try:
            yield from _finish(result, record, destination)
        finally:
            evaluation.close()
        empty = os.fstat(log.fileno()).st_size == 0
    if empty:
        log_path.unlink(missing_ok=True)


def _fill(value: Any, inputs: tuple[Any, ...]) -> Any:
    """``value`` with input slots replaced by the inputs."""
    if isinstance(value, InputSlot):
        return inputs[value.index]
    if type(value) in (list, tuple, set):
        return type(value)(_fill(item, inputs) for item in value)
    if type(value) is dict:
        return {key: _fill(item, inputs) for key, item in value.items()}
    return value


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables in this process, and put back what was there: a worker serves many attempts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _cpu_time_s() -> float:
    """User and system time of this process and the children it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _now() -> datetime:
    return datetime.now(UTC)
