"""``run``: load, build, select, execute, say how it ended."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from pynb_dag_runner.cli.inputs import TARGET_HELP, build, given_parameters, parameter_options
from pynb_dag_runner.cli.json_output import json_text, task_document
from pynb_dag_runner.cli.streams import stdout_for_result
from pynb_dag_runner.outcome import RunStatus

if TYPE_CHECKING:
    from pynb_dag_runner.console import RunConsole
    from pynb_dag_runner.dag import Dag
    from pynb_dag_runner.runner import RunResult

_EXIT_CODES = {RunStatus.SUCCEEDED: 0, RunStatus.FAILED: 1, RunStatus.CANCELLED: 130}


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
    default="ray",
    show_default=True,
    help="process: on this machine without Ray; inline: in this process, one task at a time, for debuggers.",
)
@click.option("--ray-address", metavar="ADDRESS", help="Run on this Ray cluster instead of a Ray of our own.")
@click.option(
    "--num-cpus",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processors that tasks may use together; all of this machine's if not given.",
)
@click.option("--fail-fast", is_flag=True, help="Cancel everything when a task does not succeed.")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Run only this task. Repeatable.")
@click.option("--upstream", is_flag=True, help="With --task: run what these tasks need, too.")
@click.option("--dry-run", is_flag=True, help="Show what would run, in which order and how; run nothing.")
@click.option("--no-progress", is_flag=True, help="Say nothing while it goes on; failures are still summed up.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document on stdout.")
def run(
    target: str,
    parameter: dict[str, str],
    parameters_file: Path | None,
    output_dir: Path,
    executor: Literal["ray", "process", "inline"],
    ray_address: str | None,
    num_cpus: int | None,
    fail_fast: bool,
    tasks: tuple[str, ...],
    upstream: bool,
    dry_run: bool,
    no_progress: bool,
    as_json: bool,
) -> int:
    """Run the pipeline TARGET, and keep everything that happens in a new run folder.

    On stdout stands one line: the path of the run folder.
    """
    _check_combination(executor, ray_address, num_cpus, tasks, upstream)
    from pynb_dag_runner.loading import load

    with stdout_for_result() as out:
        pipeline = load(target, Path.cwd())
        dag = build(pipeline, given_parameters(parameter, parameters_file))
        if tasks:
            dag = dag.select(tasks, with_upstream=upstream)
        if dry_run:
            from pynb_dag_runner.cli.dry_run import plan_document, plan_text

            out.write(json_text(plan_document(dag)) if as_json else plan_text(dag, Path.cwd()))
            return 0
        console = _console(dag, live=executor != "inline", silent=no_progress)
        with console:
            from pynb_dag_runner.executors import executor_factory
            from pynb_dag_runner.runner import run_dag

            result = run_dag(
                dag,
                output_dir=output_dir,
                executor=executor_factory(executor, num_cpus=num_cpus, ray_address=ray_address),
                executor_name=executor,
                base_dir=pipeline.base_dir,
                fail_fast=fail_fast,
                listeners=(console,),
            )
        console.summarise(result.status, result.folder, list(result.tasks.values()))
        out.write(json_text(_document(result, console.duration_s)) if as_json else f"{result.folder}\n")
    return _EXIT_CODES[result.status]


def _check_combination(
    executor: str, ray_address: str | None, num_cpus: int | None, tasks: tuple[str, ...], upstream: bool
) -> None:
    """Options that make no sense together are refused: the user expected something that would not happen."""
    if upstream and not tasks:
        raise click.UsageError("--upstream says what else to run beside --task; there is no --task")
    if executor != "ray" and ray_address is not None:
        raise click.UsageError(f"--ray-address is for --executor ray; {executor} uses no Ray")
    if executor == "inline" and num_cpus is not None:
        raise click.UsageError("--num-cpus is for --executor ray and process; inline runs one task at a time")
    if ray_address is not None and num_cpus is not None:
        raise click.UsageError("--num-cpus is for a Ray of our own; the cluster at --ray-address has its own number")


def _console(dag: "Dag", *, live: bool, silent: bool) -> "RunConsole":
    """The listener for this run; a live view only where stderr is a terminal, and never across a debugger's prompt."""
    from pynb_dag_runner.console import RunConsole

    attempts = {task.name: task.options.retries + 1 for task in dag.tasks}
    return RunConsole(sys.stderr, max_attempts=attempts, live=live and sys.stderr.isatty(), silent=silent)


def _document(result: "RunResult", duration_s: float | None) -> dict[str, Any]:
    """What ``--json`` prints; tasks in plan order."""
    return {
        "run_id": result.run_id,
        "status": result.status,
        "folder": str(result.folder),
        "duration_s": duration_s,
        "tasks": [task_document(task) for task in result.tasks.values()],
    }
