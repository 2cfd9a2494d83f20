"""Options of ``run`` and ``resume`` are the arguments of ``run()`` and ``resume()``: names, defaults, help."""

import inspect
from typing import Any

import click
import pytest

from pynb_dag_runner import Pipeline, PipelineDefinition, UsageError
from pynb_dag_runner.cli.resume import resume
from pynb_dag_runner.cli.run import run
from pynb_dag_runner.cli.settings import values_of
from pynb_dag_runner.model.declarations import declared
from pynb_dag_runner.model.run_settings import ResumeChoices, RunChoices


def options(command: click.Command) -> dict[str, click.Option]:
    return {str(option.name): option for option in command.params if isinstance(option, click.Option)}


@pytest.mark.parametrize(
    ("command", "kind", "methods"),
    [
        (run, RunChoices, (Pipeline.run, PipelineDefinition.run)),
        (resume, ResumeChoices, (Pipeline.resume, PipelineDefinition.resume)),
    ],
)
def test_each_setting_is_an_option_and_an_argument(
    command: click.Command, kind: type, methods: tuple[Any, ...]
) -> None:
    for name, setting in declared(kind).items():
        option = options(command)[name]
        assert option.opts == [setting.flag]
        assert option.help is not None
        assert option.help.lower().startswith(setting.help.replace("`", "").lower())
        for method in methods:
            assert inspect.signature(method).parameters[name].default == setting.default
            assert f"\n    {name}: {setting.help[:20]}" in method.__doc__


def test_values_that_are_not_given_are_the_defaults() -> None:
    context = run.make_context("run", ["p.py"])
    assert values_of(RunChoices, context.params) == RunChoices(output_dir=context.params["output_dir"])
    assert str(context.params["output_dir"]) == RunChoices().output_dir
    assert context.params["executor"] is None  # a single notebook has another one than a pipeline


def test_a_resume_leaves_open_what_is_not_given() -> None:
    given = resume.make_context("resume", ["folder"]).params
    assert {given[name] for name in declared(ResumeChoices) if name != "progress"} == {None}
    assert given["progress"] is True
    turned = resume.make_context("resume", ["folder", "--no-html", "--no-progress", "--no-fail-fast"]).params
    assert (turned["html"], turned["progress"], turned["fail_fast"]) == (False, False, False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"fail_fats": True}, "run(): there is no argument 'fail_fats'; did you mean 'fail_fast'?"),
        ({"timeout_s": -1}, "timeout_s must be a number above 0 and at most 100000000 or None, got -1"),
        ({"executor": "proces"}, "executor must be 'ray', 'process' or 'inline', got 'proces'"),
    ],
)
def test_a_wrong_argument_is_told_in_a_sentence(arguments: dict[str, Any], said: str) -> None:
    pipeline: Any = Pipeline("p")
    with pytest.raises(UsageError) as caught:
        pipeline.run(**arguments)
    assert str(caught.value) == said
