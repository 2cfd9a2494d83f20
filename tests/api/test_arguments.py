"""What users see of declared arguments: signature, help, and what is said of a mistake."""

import inspect
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import Pipeline, PipelineError
from pynb_dag_runner.model.declarations import declared
from pynb_dag_runner.model.task_options import FunctionOptions, NotebookOptions, TaskOptions


def work() -> None: ...


def problems(pipeline: Pipeline) -> tuple[str, ...]:
    with pytest.raises(PipelineError) as caught:
        pipeline.build()
    return caught.value.problems


@pytest.mark.parametrize(
    ("method", "kind"), [(Pipeline.notebook, NotebookOptions), (Pipeline.function, FunctionOptions)]
)
def test_each_option_is_in_the_signature_and_in_the_help(method: Any, kind: type) -> None:
    parameters = inspect.signature(method).parameters
    for name, option in declared(kind).items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default == option.default
        assert f"\n    {name}: " in method.__doc__
        assert option.help.partition(" ")[0] in method.__doc__
    assert str(parameters["retries"]) == "retries: int = 0"
    assert str(parameters["memory"]) == "memory: int | None = None"


def test_what_comes_first_in_a_signature() -> None:
    names = list(inspect.signature(Pipeline.notebook).parameters)
    assert names[:5] == ["self", "path", "name", "parameters", "after"]
    assert list(inspect.signature(Pipeline("p").function).parameters)[:2] == ["fn", "name"]
    assert "isolation" not in names
    assert Pipeline.notebook.__doc__ is not None
    assert Pipeline.notebook.__doc__.index("\n    path: ") < Pipeline.notebook.__doc__.index("\n    name: ")


def test_what_is_given_reaches_the_task() -> None:
    pipeline = Pipeline("p")
    task = pipeline.function(
        fn=work, name="x", retries=2, promoted_metrics="auc", resources={"disk": 1}, isolation="shared"
    )
    assert task.options == TaskOptions(retries=2, promoted_metrics=("auc",), resources={"disk": 1}, isolation="shared")


def test_what_a_caller_changes_later_changes_no_task() -> None:
    metrics, resources = ["a"], {"disk": 1.0}
    task = Pipeline("p").function(work, promoted_metrics=metrics, resources=resources)
    metrics.append("b")
    resources["disk"] = 2
    assert (task.options.promoted_metrics, task.options.resources) == (("a",), {"disk": 1})


def test_misspelt_options_are_told_with_the_nearest_name_and_all_at_once(tmp_path: Path) -> None:
    pipeline: Any = Pipeline("p", base_dir=tmp_path)
    pipeline.function(work, retires=3, kernel="python3", timeout_s=-1)
    pipeline.function(work, name="other", zzz=1)
    first, second, third, fourth = problems(pipeline)
    assert first == "task 'work': there is no option 'retires'; did you mean 'retries'?"
    assert second == "task 'work': 'kernel' is an option of notebooks only"
    assert third.startswith("task 'other': there is no option 'zzz'; there is 'fn', 'name', 'parameters', 'after', ")
    assert fourth == "task 'work': timeout_s must be a number above 0 or None, got -1"


def test_an_argument_that_is_missing_is_named() -> None:
    pipeline: Any = Pipeline("p")
    with pytest.raises(
        TypeError, match=r"^notebook\(\) got arguments that do not fit: missing a required argument: 'path'$"
    ):
        pipeline.notebook(retries=1)
