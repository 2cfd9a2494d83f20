"""Functions that return, raise or receive what a file can't hold: the run goes on and its folder can be read."""

from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import Pipeline, PipelineError, read_run
from pynb_dag_runner.model.outcomes import TaskStatus
from pynb_dag_runner.run_folder import paths
from tests.factories import run_functions


def test_a_message_with_half_of_a_surrogate_pair_is_kept_escaped(tmp_path: Path) -> None:
    def fail() -> None:
        raise FileNotFoundError("no file caf\udce9.csv")  # as Python shows a file name that is no UTF-8

    task = run_functions(tmp_path, fail).tasks["fail"]
    assert task.status is TaskStatus.FAILED
    assert task.failure is not None
    assert (task.failure.kind, task.failure.message) == ("FileNotFoundError", r"no file caf\udce9.csv")


@pytest.mark.parametrize("value", [10**5000, "\ud800", {1, 2}, {1: 2}], ids=["digits", "surrogate", "set", "keys"])
def test_a_return_value_that_json_can_not_hold_goes_downstream_all_the_same(tmp_path: Path, value: Any) -> None:
    pipeline = Pipeline("odd", base_dir=tmp_path)
    made = pipeline.function(lambda: value, name="make")
    pipeline.function(lambda x: x == value, name="compare", parameters={"x": made.output()})
    result = pipeline.run(executor="inline", progress=False, output_dir=tmp_path)
    assert result.tasks["make"].outputs == {}
    assert (result.folder / result.tasks["make"].attempts[0].folder / paths.RETURN_PICKLE).exists()
    assert result.tasks["compare"].outputs == {"return": True}


def test_a_parameter_that_json_can_not_hold_is_written_as_its_repr(tmp_path: Path) -> None:
    pipeline = Pipeline("odd", base_dir=tmp_path)
    pipeline.function(lambda data: len(data), name="count", parameters={"data": b"\xff\xfe"})
    task = pipeline.run(executor="inline", progress=False, output_dir=tmp_path).tasks["count"]
    assert (task.outputs, task.attempts[0].parameters) == ({"return": 2}, {"data": r"b'\xff\xfe'"})


def test_a_name_that_no_folder_can_have_is_refused_before_the_run(tmp_path: Path) -> None:
    pipeline = Pipeline("odd", base_dir=tmp_path)
    pipeline.function(print, name="?" * 100)
    with pytest.raises(PipelineError) as caught:
        pipeline.build()
    reason = f"the name '{'?' * 40}' can't be a folder's name: 300 bytes when encoded"
    assert caught.value.problems == (f"task '{'?' * 100}': {reason}",)


def test_a_log_is_kept_where_something_was_printed_and_only_there(tmp_path: Path) -> None:
    def silent() -> None:
        raise ValueError

    def loud() -> None:
        print("on the way")
        raise ValueError

    run = read_run(run_functions(tmp_path, silent, loud).folder)
    logs = {task.name: task.attempts[0].log for task in run.tasks}
    assert logs == {"silent": None, "loud": Path("tasks", "loud", "attempt-1", paths.LOG)}
    assert (run.folder / "tasks" / "loud" / "attempt-1" / paths.LOG).read_text() == "on the way\n"
    assert not (run.folder / "tasks" / "silent" / "attempt-1" / paths.LOG).exists()
