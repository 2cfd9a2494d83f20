"""Decide which tasks of an earlier run are reused and which run again, and why. Pure.

A task is taken over if it succeeded, is still the same, and everything it needs is taken over too.
"""

import graphlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pynb_dag_runner.errors import UsageError
from pynb_dag_runner.events import RunAgain
from pynb_dag_runner.model.outcomes import RunStatus, TaskStatus
from pynb_dag_runner.model.text import listed
from pynb_dag_runner.run_folder.records import FingerprintRecord, PlannedTask
from pynb_dag_runner.run_folder.run import Run, TaskRun

_NOT_SUCCEEDED: Mapping[TaskStatus, str] = {
    TaskStatus.PENDING: "it had not been run to its end",
    TaskStatus.RUNNING: "it had not been run to its end",
    TaskStatus.FAILED: "it failed",
    TaskStatus.TIMED_OUT: "it timed out",
    TaskStatus.CRASHED: "it crashed",
    TaskStatus.CANCELLED: "it was cancelled",
    TaskStatus.SKIPPED: "it was skipped",
}
_MAX_NAMED = 3
_MAX_LINES = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumption:
    """What a resume will do.

    Attributes:
        reused: tasks that are taken over, in plan order.
        again: tasks that run, in plan order.
        dropped: tasks of the earlier run that the pipeline does not have any more.
        parameters: names of pipeline parameters whose values changed.
        nothing_to_do: the run had succeeded, and all of it still counts.
    """

    reused: tuple[str, ...]
    again: tuple[RunAgain, ...]
    dropped: tuple[str, ...]
    parameters: tuple[str, ...]
    nothing_to_do: bool

    def sentences(self, run_id: str) -> list[str]:
        """What will be done, and why, for people: a line for the whole, and one for each task that runs again."""
        if self.nothing_to_do:
            return [
                f"run {run_id} succeeded, and its notebooks, functions and parameters are the same: there is nothing "
                "to do (modules that they import, and files that they read, are not compared)"
            ]
        reused = f"{_tasks(self.reused)} {'is' if len(self.reused) == 1 else 'are'} taken over"
        again = f"{_tasks(self.again)} {'runs' if len(self.again) == 1 else 'run'} again"
        lines = [f"run {run_id} goes on: {reused}, {again}{':' if self.again else ''}"]
        lines += [f"  {item.task}: {item.reason}" for item in self.again[:_MAX_LINES]]
        if len(self.again) > _MAX_LINES:
            lines.append(f"  and {len(self.again) - _MAX_LINES} more; the run folder's run.json names all")
        if self.parameters:
            one = len(self.parameters) == 1
            names = _listed(self.parameters, quoted=True)
            lines.append(f"the pipeline's {'parameter' if one else 'parameters'} {names} changed")
        if self.dropped:
            lines.append(f"the pipeline does not have {_listed(self.dropped, quoted=True)} any more")
        return lines


def _tasks(items: Sequence[object]) -> str:
    return "1 task" if len(items) == 1 else f"{len(items)} tasks"


def decide(
    earlier: Run,
    planned: Iterable[PlannedTask],
    parameters: Mapping[str, object],
    lost: Mapping[str, str] | None = None,
) -> Resumption:
    """Compare a run with the pipeline as it is now.

    Args:
        earlier: the run, as read from its folder.
        planned: the tasks now, with fingerprints, in plan order.
        parameters: values of the pipeline's parameters now, as they are recorded.
        lost: tasks whose outputs are needed but can't be had, with a phrase that says why.
    """
    planned = tuple(planned)
    by_name = {task.name: task for task in planned}
    before = {task.name: task for task in earlier.record.tasks}
    reasons: dict[str, str] = {}
    for name in graphlib.TopologicalSorter({task.name: task.upstream for task in planned}).static_order():
        now = by_name[name]
        reason = _own_reason(now, before.get(name), earlier.by_name.get(name)) or (lost or {}).get(name)
        if reason is None:
            needed = [other for other in now.upstream if other in reasons]
            reason = f"{_listed(needed)} {'runs' if len(needed) == 1 else 'run'} again" if needed else None
        if reason is not None:
            reasons[name] = reason
    then = earlier.record.parameters
    changed = sorted(name for name in {*then, *parameters} if then.get(name, ...) != parameters.get(name, ...))
    return Resumption(
        reused=tuple(task.name for task in planned if task.name not in reasons),
        again=tuple(RunAgain(task=task.name, reason=reasons[task.name]) for task in planned if task.name in reasons),
        dropped=tuple(name for name in before if name not in by_name),
        parameters=tuple(changed),
        nothing_to_do=earlier.status is RunStatus.SUCCEEDED and not reasons,
    )


def _own_reason(now: PlannedTask, before: PlannedTask | None, run: TaskRun | None) -> str | None:
    """Why a task runs again whatever becomes of the others; None if it need not."""
    if before is None or run is None:
        return "it is new"
    if not run.status.is_success:
        return _NOT_SUCCEEDED[run.status]
    if now.kind != before.kind:
        return f"it was a {before.kind}"
    if now.fingerprint is None or before.fingerprint is None:
        return "it is not known whether it changed"
    if now.fingerprint.source != before.fingerprint.source:
        return f"its {now.kind} changed"
    if names := _changed_parameters(now.fingerprint, before.fingerprint):
        return f"its {'parameter' if len(names) == 1 else 'parameters'} {_listed(names, quoted=True)} changed"
    return None


def _changed_parameters(now: FingerprintRecord, before: FingerprintRecord) -> list[str]:
    names = {*now.parameters, *before.parameters}
    return sorted(name for name in names if now.parameters.get(name) != before.parameters.get(name))


def _listed(names: Sequence[str], *, quoted: bool = False) -> str:
    return listed([repr(name) if quoted else name for name in names], _MAX_NAMED)


def check_given(names: Iterable[str], known: Mapping[str, object]) -> None:
    """Check that parameters whose values were not written down were given again.

    Args:
        names: of those parameters.
        known: what is given now.

    Raises:
        UsageError: naming those that are missing.
    """
    missing = [name for name in names if name not in known]
    if missing:
        raise UsageError(
            f"the run folder does not hold the values of {_listed(missing, quoted=True)}, which the run was given; "
            "give them again"
        )
