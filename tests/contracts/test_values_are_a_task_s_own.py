"""What a task does to the values that it is given, no other task sees: the same on every executor."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import Pipeline, RunStatus, pipeline
from pynb_dag_runner.errors import PipelineError
from pynb_dag_runner.executors import EXECUTOR_NAMES


class Numbers:
    """No JSON value."""

    def __init__(self) -> None:
        self.numbers: list[int] = [1]


def make() -> Numbers:
    return Numbers()


def mutate(numbers: list[int], made: Numbers, default: list[int] = [1]) -> list[int]:
    for each in (numbers, made.numbers, default):
        each.append(99)
    return [len(numbers), len(made.numbers), len(default)]


@pipeline
def mutating(p: Pipeline, given: list[int] = [1]) -> None:
    made = p.function(make)
    parameters = {"numbers": given, "made": made.output()}
    before = None
    for number in range(3):
        before = p.function(mutate, name=f"mutate-{number}", parameters=parameters, after=[before] if before else [])


@pytest.mark.parametrize("executor", EXECUTOR_NAMES)
def test_parameters_and_outputs_are_a_task_s_own(tmp_path: Path, executor: Any) -> None:
    given = [1]
    result = mutating.run(parameters={"given": given}, executor=executor, progress=False, output_dir=tmp_path)
    assert given == [1]
    lengths = [result.tasks[f"mutate-{number}"].outputs["return"][:2] for number in range(3)]
    assert lengths == [[2, 2]] * 3


@pytest.mark.parametrize("executor", ["process", "inline"])
def test_what_can_t_be_pickled_fails_alike(tmp_path: Path, executor: Any) -> None:
    p = Pipeline("locks", base_dir=tmp_path)
    p.function(threading.Lock, name="lock")
    result = p.run(executor=executor, progress=False, output_dir=tmp_path)
    assert result.status is RunStatus.FAILED
    assert "can't be handed on" in str(result.tasks["lock"].failure)


class Steps:
    """Keeps its tasks, as programs may, and uses one of them in another."""

    def add_to(self, p: Pipeline) -> None:
        self.made = p.function(self.make)
        p.function(self.use_nothing, after=[self.made])
        for use in (self.use_text, self.use_output):
            p.function(use, after=[self.made])

    def make(self) -> str:
        return "value"

    def use_nothing(self) -> str:
        return "fine"

    def use_text(self) -> str:
        return f"{self.made}"

    def use_output(self) -> str:
        return repr(self.made.output())


@pytest.mark.parametrize("executor", ["process", "inline"])
def test_a_task_around_a_function_is_no_value_there(tmp_path: Path, executor: Any) -> None:
    p = Pipeline("steps", base_dir=tmp_path)
    Steps().add_to(p)
    tasks = p.run(executor=executor, progress=False, output_dir=tmp_path).tasks
    assert (tasks["make"].outputs, tasks["use_nothing"].outputs) == ({"return": "value"}, {"return": "fine"})
    for name in ("use_text", "use_output"):
        assert "task 'make' of the pipeline is no value" in str(tasks[name].failure), name


def test_a_list_that_grows_later_is_handed_over_as_it_was(tmp_path: Path) -> None:
    p, sizes = Pipeline("sizes", base_dir=tmp_path), [1]
    first = p.function(sum, name="first", parameters={"iterable": sizes})
    sizes.append(2)
    second = p.function(sum, name="second", parameters={"iterable": sizes})
    assert [task.parameters["iterable"] for task in (first, second)] == [[1], [1, 2]]


def _lambda(i: int) -> Callable[[], int]:
    return lambda: i


def _in_a_loop(p: Pipeline) -> None:
    for i in range(3):
        p.function(lambda: i, name=f"t{i}")  # noqa: B023 - on purpose


def _a_def(p: Pipeline) -> None:
    for i in range(2):

        def task() -> int:
            return i  # noqa: B023 - on purpose

        p.function(task, name=f"t{i}")


def _changed_later(p: Pipeline) -> None:
    limit = 0.5
    p.function(lambda: limit, name="t0")
    limit = 0.7


@pytest.mark.parametrize(
    ("build", "tasks", "variable"), [(_in_a_loop, 2, "i"), (_a_def, 1, "i"), (_changed_later, 1, "limit")]
)
def test_a_variable_that_changed_after_the_task_was_added_is_refused(
    build: Callable[[Pipeline], None], tasks: int, variable: str
) -> None:
    p = Pipeline("loops")
    build(p)
    with pytest.raises(PipelineError) as caught:
        p.build()
    assert len(caught.value.problems) == tasks
    assert caught.value.problems[0].startswith("task 't0': its function ")
    assert f"reads the variable {variable!r}, which was 0" in caught.value.problems[0]
    assert f"parameters={{{variable!r}: {variable}}}" in caught.value.problems[0]


def test_variables_that_stay_and_functions_that_call_themselves_are_fine() -> None:
    p = Pipeline("closures")
    for i in range(3):
        p.function(_lambda(i), name=f"t{i}")

    def uses_later() -> int:
        return later()

    p.function(uses_later)

    def later() -> int:
        return 1

    p.build()


def test_the_variable_that_can_t_be_pickled_is_named() -> None:
    lock = threading.Lock()

    def helper() -> bool:
        return lock.locked()

    p = Pipeline("locks")
    p.function(lambda: helper(), name="locked")
    with pytest.raises(PipelineError, match=r"reads the variable 'lock' of helper\(\), a lock, and so can't be sent"):
        p.build()
