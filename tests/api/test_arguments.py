"""What users see of declared arguments: signature, help, and what is said of a mistake."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import TypeAdapter

from pynb_dag_runner import Pipeline, PipelineError, read_run
from pynb_dag_runner.api.arguments import takes
from pynb_dag_runner.model.declarations import Option, declared
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.model.task_options import FunctionOptions, NotebookOptions, TaskOptions
from pynb_dag_runner.run_folder.records import PlannedTask
from tests.option_tables import type_words


def work() -> None: ...


def fail() -> None:
    raise ValueError


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


def test_a_run_of_some_tasks_is_resumed_as_it_was(tmp_path: Path) -> None:
    pipeline = Pipeline("p", base_dir=tmp_path)
    pipeline.function(work)
    pipeline.function(fail, after="work")
    pipeline.function(work, name="other")
    first = pipeline.run(
        output_dir=tmp_path, executor="inline", tasks=["fail"], upstream=True, html=False, progress=False
    )
    assert list(first.tasks) == ["work", "fail"]
    again = pipeline.resume(first.folder, timeout_s=60, progress=False)
    assert list(again.tasks) == ["work", "fail"]
    assert read_run(first.folder).record.settings == RunSettings(
        executor="inline", tasks=("fail",), upstream=True, html=False, timeout_s=60
    )


def test_a_task_to_run_that_does_not_exist_is_told(tmp_path: Path) -> None:
    pipeline = Pipeline("p", base_dir=tmp_path)
    pipeline.function(work)
    with pytest.raises(PipelineError, match=r"there is no task 'wrok'; did you mean 'work'\?"):
        pipeline.run(output_dir=tmp_path, executor="inline", tasks="wrok")


@dataclass(frozen=True, kw_only=True)
class WithOneMore(FunctionOptions):
    """Options of functions, and one that does not exist."""

    retry_on: Annotated[Literal["all", "crash"], Option("after which ends it is tried again")] = "all"


class Owner:
    """Has a method that takes them."""

    @takes(WithOneMore)
    def add(self, given: WithOneMore, keywords: Mapping[str, Any]) -> tuple[WithOneMore, Mapping[str, Any]]:
        """Add it."""
        return given, keywords


def test_a_new_option_is_its_declaration_alone() -> None:
    given, keywords = Owner().add(retry_on="crash", retries=1)
    assert (given, keywords) == (WithOneMore(retry_on="crash", retries=1), {"retry_on": "crash", "retries": 1})
    assert str(inspect.signature(Owner.add).parameters["retry_on"]) == "retry_on: Literal['all', 'crash'] = 'all'"
    assert "\n    retry_on: after which ends it is tried again." in str(Owner.add.__doc__)
    wrong: Any = {"retry_on": "never"}
    assert Owner().add(**wrong)[0].problems() == ["retry_on must be 'all' or 'crash', got 'never'"]
    assert TypeAdapter(WithOneMore).validate_json('{"retry_on": "crash"}') == WithOneMore(retry_on="crash")
    assert type_words(declared(WithOneMore)["retry_on"]) == "`all` or `crash`"


def test_a_record_holds_every_option_as_it_was_given() -> None:
    options = TaskOptions(
        retries=1,
        retry_delay_s=2,
        retry_backoff=3,
        retry_max_delay_s=4,
        retry_jitter=0.5,
        timeout_s=6,
        num_cpus=7,
        num_gpus=8,
        memory=9,
        resources={"disk": 10},
        promoted_metrics=("auc",),
        isolation="shared",
    )
    assert [name for name, option in declared(TaskOptions).items() if getattr(options, name) == option.default] == []
    planned = PlannedTask(name="a", kind="function", source="f", options=options)
    assert planned.options == options
    assert json.loads(planned.to_json())["options"]["memory_bytes"] == 9
    assert PlannedTask.model_validate_json(planned.to_json()).options == options
