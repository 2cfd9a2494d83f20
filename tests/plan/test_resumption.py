"""What a resume takes over and what it runs again, decided from values alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner.errors import UsageError
from pynb_dag_runner.model.outcomes import RunStatus, TaskStatus
from pynb_dag_runner.plan.resumption import Resumption, check_given, decide
from pynb_dag_runner.run_folder import Run, TaskRun
from pynb_dag_runner.run_folder.records import FingerprintRecord, PlannedTask
from tests.factories import after, make_planned, make_run_record

SAME = FingerprintRecord(source="s", parameters={"size": "1", "depth": "2"})


def planned(name: str, *upstream: str, fingerprint: FingerprintRecord | None = SAME, **changes: Any) -> PlannedTask:
    return make_planned(name, upstream=upstream, fingerprint=fingerprint, **changes)


CHAIN = (planned("load"), planned("fit", "load"), planned("report", "fit"), planned("other"))


def earlier(*tasks: PlannedTask, statuses: dict[str, TaskStatus] | None = None, **changes: Any) -> Run:
    """A run of these tasks that succeeded, except where ``statuses`` says otherwise."""
    found = statuses or {}
    values: dict[str, Any] = {"status": RunStatus.FAILED if found else RunStatus.SUCCEEDED}
    return Run(
        folder=Path("/runs/x"),
        record=make_run_record(*tasks, parameters={"size": 1}),
        end=after(60),
        tasks=tuple(
            TaskRun(
                name=task.name,
                kind=task.kind,
                source=task.source,
                upstream=task.upstream,
                status=found.get(task.name, TaskStatus.SUCCEEDED),
            )
            for task in tasks
        ),
        **values | changes,
    )


def decided(run: Run, *now: PlannedTask, parameters: dict[str, object] | None = None, **options: Any) -> Resumption:
    return decide(run, now or CHAIN, {"size": 1} if parameters is None else parameters, **options)


def reasons(resumption: Resumption) -> dict[str, str]:
    return {item.task: item.reason for item in resumption.again}


def with_fingerprint(name: str, **changes: Any) -> tuple[PlannedTask, ...]:
    """The chain, with another fingerprint for one task."""
    return tuple(
        task.model_copy(update={"fingerprint": SAME.model_copy(update=changes)}) if task.name == name else task
        for task in CHAIN
    )


def test_of_a_run_that_succeeded_and_is_the_same_nothing_runs_again() -> None:
    resumption = decided(earlier(*CHAIN))
    assert resumption.nothing_to_do
    assert resumption.again == ()
    assert resumption.reused == ("load", "fit", "report", "other")
    assert resumption.sentences("r") == [
        "run r succeeded, and its notebooks, functions and parameters are the same: there is nothing to do "
        "(modules that they import, and files that they read, are not compared)"
    ]


def test_an_interrupted_run_of_which_all_is_done_has_to_be_finished() -> None:
    resumption = decided(earlier(*CHAIN, status=RunStatus.INTERRUPTED))
    assert not resumption.nothing_to_do
    assert resumption.again == ()


def test_tasks_that_were_taken_over_before_are_taken_over_again() -> None:
    assert decided(earlier(*CHAIN, statuses={"load": TaskStatus.REUSED})).again == ()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (TaskStatus.PENDING, "it had not been run to its end"),
        (TaskStatus.RUNNING, "it had not been run to its end"),
        (TaskStatus.FAILED, "it failed"),
        (TaskStatus.TIMED_OUT, "it timed out"),
        (TaskStatus.CRASHED, "it crashed"),
        (TaskStatus.CANCELLED, "it was cancelled"),
        (TaskStatus.SKIPPED, "it was skipped"),
    ],
)
def test_what_did_not_succeed_runs_again(status: TaskStatus, reason: str) -> None:
    resumption = decided(earlier(*CHAIN, statuses={"report": status}))
    assert reasons(resumption) == {"report": reason}
    assert resumption.reused == ("load", "fit", "other")


def test_every_status_has_a_reason_or_is_a_success() -> None:
    for status in TaskStatus:
        assert bool(decided(earlier(*CHAIN, statuses={"other": status})).again) != status.is_success


def test_a_changed_source_runs_again_with_everything_below() -> None:
    resumption = decided(earlier(*CHAIN), *with_fingerprint("load", source="t"))
    assert reasons(resumption) == {
        "load": "its function changed",
        "fit": "load runs again",
        "report": "fit runs again",
    }
    assert resumption.reused == ("other",)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"size": "3", "depth": "2"}, "its parameter 'size' changed"),
        ({"size": "3", "depth": "4"}, "its parameters 'depth' and 'size' changed"),
        ({"size": "1"}, "its parameter 'depth' changed"),
        (
            {"size": "1", "depth": "2", "a": "1", "b": "", "c": "", "d": ""},
            "its parameters 'a', 'b', 'c' and 1 more changed",
        ),
    ],
)
def test_changed_parameters_are_named(parameters: dict[str, str], reason: str) -> None:
    resumption = decided(earlier(*CHAIN), *with_fingerprint("other", parameters=parameters))
    assert reasons(resumption) == {"other": reason}


def test_a_task_of_another_kind_runs_again() -> None:
    now = tuple(task.model_copy(update={"kind": "notebook"}) if task.name == "other" else task for task in CHAIN)
    assert reasons(decided(earlier(*CHAIN), *now)) == {"other": "it was a function"}


def test_a_task_without_a_fingerprint_runs_again() -> None:
    before = (planned("load", fingerprint=None),)
    assert reasons(decided(earlier(*before), planned("load"))) == {"load": "it is not known whether it changed"}


def test_new_and_dropped_tasks_are_named() -> None:
    resumption = decided(earlier(*CHAIN), *CHAIN[:3], planned("extra"))
    assert reasons(resumption) == {"extra": "it is new"}
    assert resumption.dropped == ("other",)


def test_another_order_of_tasks_changes_nothing() -> None:
    assert decided(earlier(*CHAIN), *reversed(CHAIN)).nothing_to_do


def test_two_reasons_upstream_are_both_named() -> None:
    tasks = (planned("a"), planned("b"), planned("c", "a", "b"))
    run = earlier(*tasks, statuses={"a": TaskStatus.FAILED, "b": TaskStatus.FAILED})
    assert reasons(decided(run, *tasks))["c"] == "a and b run again"


def test_lost_outputs_run_again_for_the_reason_given() -> None:
    run = earlier(*CHAIN, statuses={"report": TaskStatus.FAILED})
    resumption = decided(run, lost={"fit": "its return value is gone"})
    assert reasons(resumption) == {"fit": "its return value is gone", "report": "it failed"}


def test_changed_pipeline_parameters_are_named() -> None:
    assert decided(earlier(*CHAIN), parameters={"size": 2, "new": 1}).parameters == ("new", "size")


def test_the_sentences_say_it_all() -> None:
    run = earlier(*CHAIN, statuses={"fit": TaskStatus.TIMED_OUT})
    resumption = decided(run, *CHAIN[:3], parameters={"size": 2})
    assert resumption.sentences("r") == [
        "run r goes on: 1 task is taken over, 2 tasks run again:",
        "  fit: it timed out",
        "  report: fit runs again",
        "the pipeline's parameter 'size' changed",
        "the pipeline does not have 'other' any more",
    ]


def test_many_tasks_are_not_all_listed() -> None:
    tasks = tuple(planned(f"t{number}") for number in range(60))
    sentences = decided(earlier(planned("x")), *tasks).sentences("r")
    assert len(sentences) == 1 + 50 + 1 + 1
    assert sentences[51] == "  and 10 more; the run folder's run.json names all"


def test_values_that_were_not_written_down_must_be_given_again() -> None:
    check_given(("token",), {"token": "x"})
    with pytest.raises(UsageError, match="'token', which the run was given; give them again"):
        check_given(("token", "size"), {"size": 1})


def test_the_order_of_the_answer_is_the_plan_order() -> None:
    run = replace(earlier(*CHAIN), tasks=())
    assert [item.task for item in decided(run).again] == ["load", "fit", "report", "other"]
