"""Make one attempt of a task, from the first file in its folder to the last. Runs in a worker.

:func:`run_attempt` is a job's call: what it yields reaches the driver at once. It yields that the attempt began, then
what a function returned if JSON can't hold it, then that it finished; ending the kernel is off the
critical path, as downstream tasks start meanwhile.
"""

import contextlib
import json
import math
import os
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pynb_dag_runner import tracking
from pynb_dag_runner.executors.base import JobCancelled, Keep, Waits
from pynb_dag_runner.executors.project import here
from pynb_dag_runner.model import json_values
from pynb_dag_runner.model.nested_values import replaced
from pynb_dag_runner.model.outcomes import Failure, Outcome
from pynb_dag_runner.model.recorded_values import recorded
from pynb_dag_runner.processes import marks
from pynb_dag_runner.processes.changed_names import notes
from pynb_dag_runner.processes.environment import environment_with
from pynb_dag_runner.processes.module_files import KERNEL_VARIABLE
from pynb_dag_runner.processes.pickling import dumps
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.records import AttemptRecord, Error, KernelStart, TrackingRecord
from pynb_dag_runner.run_folder.writer import AttemptWriter
from pynb_dag_runner.secrets.files import sweep
from pynb_dag_runner.secrets.marking import redactor_of, revealed
from pynb_dag_runner.secrets.masking import Redactor
from pynb_dag_runner.worker import function, mlflow_calls
from pynb_dag_runner.worker import usage as processes
from pynb_dag_runner.worker.failures import AttemptTimedOut, failure, failure_of, timeout_failure
from pynb_dag_runner.worker.masked_log import open_log
from pynb_dag_runner.worker.messages import (
    AttemptBegan,
    AttemptFinished,
    AttemptSpec,
    FunctionWork,
    InputSlot,
    NotebookWork,
)
from pynb_dag_runner.worker.restoring import restored
from pynb_dag_runner.worker.shipping import Destination

_CANCELLED = failure("Cancelled", "the run was cancelled")


@dataclass(kw_only=True)
class _Result:
    """What came of the task's own work; filled in as it goes."""

    outcome: Outcome = Outcome.SUCCEEDED
    failure: Failure | None = None
    outputs: dict[str, Any] = field(default_factory=dict)
    kept: Keep | None = None
    kept_holds_secret: bool = False
    usage: processes.Usage = field(default_factory=processes.Usage)
    kernel: str | None = None
    kernel_start: KernelStart | None = None
    cells: int | None = None
    cells_executed: int | None = None


def prepare() -> None:
    """Make ready what forks of this process would each have to make; starts no thread."""
    mlflow_calls.prepare()
    now = _now()
    AttemptRecord(task="", number=1, queued=now, start=now, queue_s=0.0, host="", pid=0).model_dump_json()


def run_attempt(spec: AttemptSpec, *inputs: Any) -> Generator[object]:
    """Make one attempt.

    Args:
        inputs: values for the input slots in the spec's parameters.

    Yields:
        Perhaps :class:`Waits`, :class:`AttemptBegan`, perhaps a :class:`Keep`, :class:`FilePart` for each part of each
        file if this worker does not see the run folder, and :class:`AttemptFinished`.
    """
    destination = Destination(spec)
    try:
        with destination:
            yield from _make(replace(spec, folder=destination.folder), inputs, destination)
    except OSError as error:
        if destination.end_told:
            raise
        message = f"the attempt's files can't be written on {os.uname().nodename}: {error.strerror or error}"
        why = failure(type(error).__name__, message, redactor=spec.redactor)
        yield AttemptFinished(time=_now(), outcome=Outcome.FAILED, failure=why)


def _make(spec: AttemptSpec, inputs: tuple[Any, ...], destination: Destination) -> Generator[object]:
    cancelled = False
    environment = attempt_environment(spec)
    if isinstance(spec.work, NotebookWork):
        # papermill and Jupyter take half a second once in a worker's life; no task's clock should pay for that.
        from pynb_dag_runner.worker.notebook import evaluation as notebook

        try:
            # Nor for imports that are made once for many.
            yield from map(Waits, notebook.until_imported(spec.work, spec.fork_server, environment, _bound_s(spec)))
        except (JobCancelled, KeyboardInterrupt):
            cancelled = True
    start = _now()
    # This machine's environment may name other values than the driver's.
    spec = replace(spec, timeout_s=_time_left_s(spec, start), redactor=redactor_of(texts=spec.redactor.texts))
    writer = destination.writer
    parameters = replaced(dict(spec.parameters), InputSlot, lambda slot: inputs[slot.index])
    record = AttemptRecord(
        task=spec.task,
        number=spec.number,
        queued=spec.queued,
        start=start,
        queue_s=max(0.0, (start - spec.queued).total_seconds()),
        host=os.uname().nodename,
        pid=os.getpid(),
        parameters=spec.redactor.values(recorded(parameters)),
    )
    writer.record(record)
    try:
        yield AttemptBegan(time=start, pid=os.getpid())
    except JobCancelled:
        cancelled = True
    if cancelled:
        yield from _finish(_Result(outcome=Outcome.CANCELLED, failure=_CANCELLED), record, destination, spec.redactor)
        return
    if isinstance(spec.work, FunctionWork):
        if not spec.terminal:
            processes.adopt_orphans()
        result = _call_function(spec, spec.work, parameters, environment, writer)
        try:
            yield from _finish(result, record, destination, spec.redactor)
        finally:
            processes.end_what_is_left(_marker(environment), adopted=not spec.terminal)
    else:
        yield from _evaluate_notebook(spec, spec.work, parameters, environment, record, destination)


def _bound_s(spec: AttemptSpec) -> float:
    """How long to wait before the attempt starts, at most."""
    return math.inf if spec.deadline is None else max(0.1, (spec.deadline - _now()).total_seconds())


def _time_left_s(spec: AttemptSpec, start: datetime) -> float | None:
    """The task's timeout, or what is left of the run's time if that is less."""
    if spec.deadline is None:
        return spec.timeout_s
    left = max(0.1, round((spec.deadline - start).total_seconds(), 1))
    return left if spec.timeout_s is None else min(spec.timeout_s, left)


def attempt_environment(spec: AttemptSpec) -> dict[str, str]:
    """Environment variables that tell a task which attempt it is."""
    modules = {name: str(here(path)) for name, path in spec.modules.items()}
    return {
        **spec.variables,
        **marks.environment(),
        **({KERNEL_VARIABLE: json.dumps(modules)} if modules and isinstance(spec.work, NotebookWork) else {}),
        **mlflow_calls.environment(spec.folder),
        tracking.ATTEMPT_DIR_VARIABLE: str(spec.folder),
        "PYNB_DAG_RUNNER_RUN_ID": spec.run_id,
        "PYNB_DAG_RUNNER_TASK": spec.task,
        "PYNB_DAG_RUNNER_ATTEMPT": str(spec.number),
    }


def _marker(environment: Mapping[str, str]) -> str:
    return f"{tracking.ATTEMPT_DIR_VARIABLE}={environment[tracking.ATTEMPT_DIR_VARIABLE]}"


def _finish(result: _Result, record: AttemptRecord, destination: Destination, redactor: Redactor) -> Iterator[object]:
    """Write the attempt's last record, then tell the driver, who must have all files by then.

    Secrets stay in what goes to downstream tasks, and nowhere else.
    """
    with contextlib.suppress(OSError, ValueError):  # a task may have damaged its own file; its work still counts
        tracked = _tracked_outputs(destination.folder)
        result.outputs = {**tracked, **result.outputs}
    sweep(destination.folder, redactor)
    outputs, hidden = _without_secrets(result, redactor)
    end = max(record.start, _now())  # the clock may have been set back meanwhile
    destination.writer.record(
        record.model_copy(
            update={
                "outcome": result.outcome,
                "end": end,
                "error": Error.of(result.failure),
                "cpu_time_s": result.usage.cpu_time_s,
                "peak_memory_bytes": result.usage.peak_memory_bytes,
                "kernel": result.kernel,
                "kernel_start": _redacted(result.kernel_start, redactor),
                "cells": result.cells,
                "cells_executed": result.cells_executed,
                "outputs": outputs,
                "redacted_outputs": hidden,
            }
        )
    )
    if result.kept is not None:
        yield result.kept
    yield from destination.parts()
    destination.end_told = True
    yield AttemptFinished(time=end, outcome=result.outcome, failure=result.failure, outputs=result.outputs)


def _redacted(start: KernelStart | None, redactor: Redactor) -> KernelStart | None:
    """What modules print at their import may hold a secret of the environment."""
    if start is None:
        return None
    return start.model_copy(update={"remarks": tuple(redactor.text(remark) for remark in start.remarks)})


def _without_secrets(result: _Result, redactor: Redactor) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The outputs as they are recorded, and the names of those that are not what the task made of them."""
    outputs, hidden = {}, ["return"] if result.kept_holds_secret else []
    for name, value in result.outputs.items():
        encoded = json_values.encode(value)
        shown = redactor.value(encoded)
        shown_name = name if name == "return" else redactor.text(name)
        outputs[shown_name] = shown
        if (shown_name, shown) != (name, encoded):
            hidden.append(shown_name)
    return outputs, tuple(hidden)


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
        with (
            restored() if spec.terminal else contextlib.nullcontext(),
            environment_with(environment),
            function.logged(log, terminal=spec.terminal, redactor=spec.redactor),
            mlflow_calls.isolated(),
        ):
            value = function.call(work.function, revealed(parameters), spec.timeout_s)
        _take_return_value(value, result, writer, spec.redactor)
    except AttemptTimedOut:
        assert spec.timeout_s is not None
        result.outcome, result.failure = Outcome.TIMED_OUT, timeout_failure(spec.timeout_s)
    except (JobCancelled, KeyboardInterrupt):
        result.outcome, result.failure = Outcome.CANCELLED, _CANCELLED
    except SystemExit as error:
        if error.code not in (None, 0):
            why = failure_of(error, skip_frames=2, redactor=spec.redactor)
            result.outcome, result.failure = Outcome.FAILED, why
        else:
            result.outputs["return"] = None
    except BaseException as error:  # noqa: BLE001 - a task's failure is a value, whatever it raised
        why = failure_of(error, skip_frames=2, redactor=spec.redactor)
        result.outcome, result.failure = Outcome.FAILED, why
    result.usage = processes.Usage(
        cpu_time_s=round(_cpu_time_s() - cpu_before, 4), peak_memory_bytes=processes.peak_memory_bytes(os.getpid())
    )
    return result


def _take_return_value(value: Any, result: _Result, writer: AttemptWriter, redactor: Redactor) -> None:
    """JSON values go into the record, anything else into the executor's store and, without secrets, into a pickle."""
    if json_values.json_problem(value) is None:
        result.outputs["return"] = value
        return
    try:
        pickled = dumps(value)
        result.kept_holds_secret = redactor.is_in(pickled)
        if not result.kept_holds_secret:
            writer.return_value(pickled)
    except Exception as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
        why = f"the return value of type {type(value).__name__} can't be handed on: {error}"
        result.outcome, result.failure = Outcome.FAILED, failure("PicklingError", why, redactor=redactor)
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
    from pynb_dag_runner.worker.notebook.evaluation import Evaluation

    writer = destination.writer
    with contextlib.closing(open_log(writer.folder / paths.LOG, spec.redactor)) as log:
        evaluation = Evaluation(
            work,
            parameters,
            writer=writer,
            environment=environment,
            marker=_marker(environment),
            log=log,
            timeout_s=spec.timeout_s,
            memory_bytes=spec.memory_bytes,
            redactor=spec.redactor,
            fork_server=spec.fork_server,
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
            result.outcome, result.failure = Outcome.FAILED, failure_of(error, redactor=spec.redactor)
        result.cells, result.cells_executed = evaluation.cells, evaluation.session.cells_executed
        result.usage, result.kernel_start = evaluation.usage, evaluation.kernel_start
        for line in notes():
            log.remark(line)
        log.settle()
        try:
            yield from _finish(result, record, destination, spec.redactor)
        finally:
            evaluation.close()


def _cpu_time_s() -> float:
    """User and system time of this process and the children it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _now() -> datetime:
    return datetime.now(UTC)
