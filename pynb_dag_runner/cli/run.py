"""``run``: load and build a pipeline, select tasks, run them, print how the run ended."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from pynb_dag_runner.cli.after_run import upload_options
from pynb_dag_runner.cli.inputs import TARGET_HELP, build, given_parameters, parameter_options
from pynb_dag_runner.cli.json_output import json_text, task_document
from pynb_dag_runner.cli.settings import refuse_problems, setting_options, values_of
from pynb_dag_runner.cli.streams import stdout_for_result
from pynb_dag_runner.model.outcomes import RunStatus
from pynb_dag_runner.model.run_settings import RunChoices, RunSettings

if TYPE_CHECKING:
    from pynb_dag_runner.api.definitions import PipelineDefinition
    from pynb_dag_runner.api.pipelines import Pipeline
    from pynb_dag_runner.api.workflow import AfterRun, EndedRun
    from pynb_dag_runner.execute.prestart import WarmProcesses
    from pynb_dag_runner.execute.runner import RunResult
    from pynb_dag_runner.model.graph import Dag

EXIT_CODES = {RunStatus.SUCCEEDED: 0, RunStatus.FAILED: 1, RunStatus.CANCELLED: 130}


@click.command(short_help="Run a pipeline, or a single notebook.", epilog=TARGET_HELP)
@click.argument("target")
@parameter_options
@setting_options(RunChoices, left_open={"executor"})
@click.option("--dry-run", is_flag=True, help="Show what would run, in which order and how; run nothing.")
@upload_options
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document on stdout.")
def run(
    target: str,
    parameter: dict[str, str],
    parameters_file: Path | None,
    dry_run: bool,
    prepare_upload: "Callable[[], AfterRun | None]",
    as_json: bool,
    **given: Any,
) -> int:
    """Run the pipeline TARGET, and keep everything that happens in a new run folder.

    On stdout stands one line: the path of the run folder.
    """
    choices = values_of(RunChoices, given)
    refuse_problems(choices)
    is_open = given["executor"] is None
    with stdout_for_result() as out, _prestarted(target, choices, is_open, dry_run) as processes:
        from pynb_dag_runner.api.loading import load, target_record
        from pynb_dag_runner.api.workflow import Display, run_pipeline, selected
        from pynb_dag_runner.execute.request import RunRequest

        pipeline = load(target, Path.cwd())
        if is_open:
            choices = replace(choices, executor=executor_for(pipeline, choices.ray_address))
        dag = selected(build(pipeline, given_parameters(parameter, parameters_file)), choices)
        if dry_run:
            out.write(_plan(dag, as_json))
            return 0
        request = RunRequest(
            dag=dag,
            settings=RunSettings.of(choices),
            base_dir=pipeline.base_dir,
            output_dir=Path(choices.output_dir),
            target=target_record(target, Path.cwd()),
            processes=processes,
        )
        ended = run_pipeline(request, Display(progress=choices.progress), prepare_upload())
        out.write(ended_text(ended, as_json))
    return EXIT_CODES[ended.result.status]


def _prestarted(
    target: str, choices: RunChoices, is_open: bool, dry_run: bool
) -> "AbstractContextManager[WarmProcesses | None]":
    """For a single notebook: its processes import while this one does, which takes as long as the notebook's start."""
    from pynb_dag_runner.execute.prestart import WarmProcesses, is_probably_notebook

    has_processes = choices.executor == "process" or (is_open and choices.ray_address is None)
    if has_processes and not dry_run and is_probably_notebook(Path(target)):
        return WarmProcesses(hosts=True, notebooks=True, html=choices.html)
    return nullcontext()


def executor_for(pipeline: "PipelineDefinition | Pipeline", ray_address: str | None) -> Literal["ray", "process"]:
    """A single notebook has nothing to share out: starting Ray would be most of its time."""
    from pynb_dag_runner.api.definitions import NotebookDefinition

    return "process" if isinstance(pipeline, NotebookDefinition) and ray_address is None else "ray"


def _plan(dag: "Dag", as_json: bool) -> str:
    """What ``--dry-run`` prints."""
    from pynb_dag_runner.cli.dry_run import plan_document, plan_text
    from pynb_dag_runner.execute.run_records import redactor_for

    redactor = redactor_for(dag)
    return json_text(plan_document(dag, redactor)) if as_json else plan_text(dag, Path.cwd(), redactor)


def ended_text(ended: "EndedRun", as_json: bool) -> str:
    """What stands on stdout when a run has ended."""
    if not as_json:
        return f"{ended.result.folder}\n"
    return json_text(result_document(ended.result, ended.duration_s) | ended.after)


def result_document(result: "RunResult", duration_s: float | None) -> dict[str, Any]:
    """What ``--json`` prints; tasks in plan order."""
    return {
        "run_id": result.run_id,
        "status": result.status,
        "folder": str(result.folder),
        "duration_s": duration_s,
        "tasks": [task_document(task) for task in result.tasks.values()],
    }
