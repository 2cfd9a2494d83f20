"""``run``: load and build a pipeline, select tasks, run them, print how the run ended."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from pynb_dag_runner.cli.after_run import upload_options
from pynb_dag_runner.cli.inputs import TARGET_HELP, build, given_parameters, parameter_options
from pynb_dag_runner.cli.json_output import json_text, task_document
from pynb_dag_runner.cli.streams import stdout_for_result
from pynb_dag_runner.model.outcomes import RunStatus

if TYPE_CHECKING:
    from pynb_dag_runner.api.definitions import PipelineDefinition
    from pynb_dag_runner.api.pipelines import Pipeline
    from pynb_dag_runner.api.workflow import AfterRun, EndedRun
    from pynb_dag_runner.execute.prestart import WarmProcesses
    from pynb_dag_runner.execute.runner import RunResult
    from pynb_dag_runner.model.graph import Dag
    from pynb_dag_runner.run_folder.records import SettingsRecord

EXIT_CODES = {RunStatus.SUCCEEDED: 0, RunStatus.FAILED: 1, RunStatus.CANCELLED: 130}


def no_nan(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Refuse "nan", which is in every range that click knows."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("got nan, expected a number", context, option)
    return value


@click.command(short_help="Run a pipeline, or a single notebook.", epilog=TARGET_HELP)
@click.argument("target")
@parameter_options
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    metavar="DIR",
    help="Where run folders are made.",
)
@click.option(
    "--executor",
    type=click.Choice(["ray", "process", "inline"]),
    help="ray, for pipelines the default; process, for a single notebook the default: on this machine without Ray; "
    "inline: in this process, one task at a time, for debuggers.",
)
@click.option("--ray-address", metavar="ADDRESS", help="Run on this Ray cluster instead of a Ray of our own.")
@click.option("--wait-for-nodes", is_flag=True, help="The cluster adds nodes: wait for what no node has yet.")
@click.option(
    "--num-cpus",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processors that tasks may use together; all of this machine's if not given.",
)
@click.option("--fail-fast", is_flag=True, help="Cancel everything when a task does not succeed.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True, max=1e8),
    callback=no_nan,
    metavar="SECONDS",
    help="The whole run's time limit; then what runs is ended.",
)
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Run only this task. Repeatable.")
@click.option("--upstream", is_flag=True, help="With --task: run what these tasks need, too.")
@click.option("--dry-run", is_flag=True, help="Show what would run, in which order and how; run nothing.")
@click.option(
    "--html/--no-html",
    default=True,
    help="Make a page of each evaluated notebook, or not; report --html makes it later.",
)
@click.option("--no-progress", is_flag=True, help="Say nothing while it goes on; failures are still summed up.")
@upload_options
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document on stdout.")
def run(
    target: str,
    parameter: dict[str, str],
    parameters_file: Path | None,
    output_dir: Path,
    executor: Literal["ray", "process", "inline"] | None,
    ray_address: str | None,
    wait_for_nodes: bool,
    num_cpus: int | None,
    fail_fast: bool,
    timeout_s: float | None,
    tasks: tuple[str, ...],
    upstream: bool,
    dry_run: bool,
    html: bool,
    no_progress: bool,
    prepare_upload: "Callable[[], AfterRun | None]",
    as_json: bool,
) -> int:
    """Run the pipeline TARGET, and keep everything that happens in a new run folder.

    On stdout stands one line: the path of the run folder.
    """
    _check(upstream and not tasks, wait_for_nodes and ray_address is None)
    check_engine(executor or "ray", ray_address, num_cpus)
    with stdout_for_result() as out, _prestarted(target, executor, ray_address, dry_run, html) as processes:
        from pynb_dag_runner.api.loading import load, target_record
        from pynb_dag_runner.api.workflow import Display, run_pipeline
        from pynb_dag_runner.execute.request import RunRequest

        pipeline = load(target, Path.cwd())
        engine: dict[str, Any] = {"executor": executor or executor_for(pipeline, ray_address), "num_cpus": num_cpus}
        engine |= {"ray_address": ray_address, "wait_for_nodes": wait_for_nodes}
        chosen = {"fail_fast": fail_fast, "timeout_s": timeout_s, "tasks": tasks, "upstream": upstream, "html": html}
        settings = _settings(engine | chosen)
        dag = build(pipeline, given_parameters(parameter, parameters_file))
        dag = dag.select(tasks, with_upstream=upstream) if tasks else dag
        if dry_run:
            out.write(_plan(dag, as_json))
            return 0
        request = RunRequest(
            dag=dag,
            settings=settings,
            base_dir=pipeline.base_dir,
            output_dir=output_dir,
            target=target_record(target, Path.cwd()),
            processes=processes,
        )
        ended = run_pipeline(request, Display(progress=not no_progress), prepare_upload())
        out.write(ended_text(ended, as_json))
    return EXIT_CODES[ended.result.status]


def _prestarted(
    target: str, executor: str | None, ray_address: str | None, dry_run: bool, html: bool
) -> "AbstractContextManager[WarmProcesses | None]":
    """For a single notebook: its processes import while this one does, which takes as long as the notebook's start."""
    from pynb_dag_runner.execute.prestart import WarmProcesses, is_probably_notebook

    if executor in (None, "process") and ray_address is None and not dry_run and is_probably_notebook(Path(target)):
        return WarmProcesses(hosts=True, notebooks=True, html=html)
    return nullcontext()


def executor_for(pipeline: "PipelineDefinition | Pipeline", ray_address: str | None) -> Literal["ray", "process"]:
    """A single notebook has nothing to share out: starting Ray would be most of its time."""
    from pynb_dag_runner.api.definitions import NotebookDefinition

    return "process" if isinstance(pipeline, NotebookDefinition) and ray_address is None else "ray"


def _settings(options: Mapping[str, Any]) -> "SettingsRecord":
    from pynb_dag_runner.run_folder.records import SettingsRecord

    return SettingsRecord.model_validate(options)


def _check(upstream_of_nothing: bool, wait_for_no_cluster: bool) -> None:
    """Options that make no sense alone are refused: the user expected something that would not happen."""
    if upstream_of_nothing:
        raise click.UsageError("--upstream says what else to run beside --task; there is no --task")
    if wait_for_no_cluster:
        raise click.UsageError("--wait-for-nodes is for a cluster; there is no --ray-address")


def _plan(dag: "Dag", as_json: bool) -> str:
    """What ``--dry-run`` prints."""
    from pynb_dag_runner.cli.dry_run import plan_document, plan_text
    from pynb_dag_runner.execute.run_records import redactor_for

    redactor = redactor_for(dag)
    return json_text(plan_document(dag, redactor)) if as_json else plan_text(dag, Path.cwd(), redactor)


def check_engine(executor: str, ray_address: str | None, num_cpus: int | None) -> None:
    """Options that make no sense together are refused: the user expected something that would not happen."""
    if executor != "ray" and ray_address is not None:
        raise click.UsageError(f"--ray-address is for --executor ray; {executor} uses no Ray")
    if executor == "inline" and num_cpus is not None:
        raise click.UsageError("--num-cpus is for --executor ray and process; inline runs one task at a time")
    if ray_address is not None and num_cpus is not None:
        raise click.UsageError("--num-cpus is for a Ray of our own; the cluster at --ray-address has its own number")


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
