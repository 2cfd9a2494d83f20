"""``resume``: resume a run in its own folder."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from pynb_dag_runner.cli.after_run import upload_options
from pynb_dag_runner.cli.inputs import build, given_parameters, parameter_options
from pynb_dag_runner.cli.json_output import json_text
from pynb_dag_runner.cli.run import EXIT_CODES, check_engine, ended_text, no_nan
from pynb_dag_runner.cli.streams import stdout_for_result

if TYPE_CHECKING:
    from pynb_dag_runner.api.definitions import PipelineDefinition
    from pynb_dag_runner.api.pipelines import Pipeline
    from pynb_dag_runner.api.workflow import AfterRun
    from pynb_dag_runner.execute.request import RunRequest
    from pynb_dag_runner.model.graph import Dag
    from pynb_dag_runner.run_folder import Run
    from pynb_dag_runner.run_folder.records import SettingsRecord, TargetRecord


@click.command(short_help="Resume an unfinished or failed run in place.")
@click.argument("run_dir", type=click.Path(path_type=Path))
@parameter_options
@click.option("--target", metavar="TARGET", help="The pipeline, if it is not where it was; see run.")
@click.option(
    "--executor",
    type=click.Choice(["ray", "process", "inline"]),
    help="As for run. If not given: as the run had it, as for the other options.",
)
@click.option("--ray-address", metavar="ADDRESS", help="Run on this Ray cluster instead of a Ray of our own.")
@click.option("--num-cpus", type=click.IntRange(min=1), metavar="N", help="Processors that tasks may use together.")
@click.option("--fail-fast/--no-fail-fast", default=None, help="Cancel everything when a task does not succeed.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True, max=1e8),
    callback=no_nan,
    metavar="SECONDS",
    help="Time limit, counted anew.",
)
@click.option("--dry-run", is_flag=True, help="Say what would run again, and why; change nothing.")
@click.option("--html/--no-html", default=None, help="Make a page of each notebook that has none, or none.")
@click.option("--no-progress", is_flag=True, help="Say nothing while it goes on; failures are still summed up.")
@upload_options
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document on stdout.")
def resume(
    run_dir: Path,
    parameter: dict[str, str],
    parameters_file: Path | None,
    target: str | None,
    executor: Literal["ray", "process", "inline"] | None,
    ray_address: str | None,
    num_cpus: int | None,
    fail_fast: bool | None,
    timeout_s: float | None,
    dry_run: bool,
    html: bool | None,
    no_progress: bool,
    prepare_upload: "Callable[[], AfterRun | None]",
    as_json: bool,
) -> int:
    """Resume the run in RUN_DIR in place; re-run only what is needed.

    A task that succeeded is taken over, unless its notebook or function, its parameters, or something that it needs
    changed. Parameters are those of the run; -p changes some. Resume only runs of your own: values are unpickled.

    On stdout stands one line: the path of the run folder.
    """
    from pynb_dag_runner.api.workflow import Display, resumable, run_pipeline
    from pynb_dag_runner.execute.request import RunRequest

    def request_for(run: "Run") -> RunRequest:
        settings = _settings(run, executor, ray_address, num_cpus, fail_fast, timeout_s, html)
        pipeline, found = _load(run, target)
        dag = _build(pipeline, run, given_parameters(parameter, parameters_file))
        return RunRequest(dag=dag, settings=settings, base_dir=pipeline.base_dir, target=found)

    with stdout_for_result() as out, resumable(run_dir, request_for, to_write=not dry_run) as request:
        if dry_run:
            out.write(_plan(request, as_json))
            return 0
        ended = run_pipeline(request, Display(progress=not no_progress), prepare_upload())
        out.write(ended_text(ended, as_json))
    return EXIT_CODES[ended.result.status]


def _settings(
    run: "Run",
    executor: Literal["ray", "process", "inline"] | None,
    ray_address: str | None,
    num_cpus: int | None,
    fail_fast: bool | None,
    timeout_s: float | None,
    html: bool | None,
) -> "SettingsRecord":
    """Those of the run, and what is given now over them; another engine forgets what only the old one understands."""
    before = run.record.settings
    if (executor or before.executor) != before.executor or ray_address is not None or num_cpus is not None:
        before = before.model_copy(update={"ray_address": None, "num_cpus": None})
    changed = {
        "executor": executor,
        "ray_address": ray_address,
        "num_cpus": num_cpus,
        "fail_fast": fail_fast,
        "timeout_s": timeout_s,
        "html": html,
    }
    settings = before.model_copy(update={name: value for name, value in changed.items() if value is not None})
    check_engine(settings.executor, settings.ray_address, settings.num_cpus)
    return settings


def _load(run: "Run", target: str | None) -> "tuple[PipelineDefinition | Pipeline, TargetRecord]":
    from pynb_dag_runner.api.loading import load, load_again, target_record
    from pynb_dag_runner.errors import LoadingError

    if target is not None:
        return load(target, Path.cwd()), target_record(target, Path.cwd())
    if run.record.target is None:
        raise LoadingError(
            f"{run.folder} does not say where its pipeline is: it was built in Python. Give a file with --target, or "
            "call resume() of the pipeline"
        )
    return load_again(run.record.target), run.record.target


def _build(pipeline: "PipelineDefinition | Pipeline", run: "Run", changed: dict[str, Any]) -> "Dag":
    """The graph with the run's own parameters and selection of tasks, and what is given now over them."""
    from pynb_dag_runner.api.definitions import resumed_parameters

    dag = build(pipeline, resumed_parameters(run.record, changed))
    settings = run.record.settings
    return dag.select(settings.tasks, with_upstream=settings.upstream) if settings.tasks else dag


def _plan(request: "RunRequest", as_json: bool) -> str:
    """What ``--dry-run`` prints."""
    assert request.resumed is not None, "it is a resume"
    run, resumption = request.resumed.run, request.resumed.resumption
    if not as_json:
        return "".join(f"{line}\n" for line in resumption.sentences(run.id))
    return json_text(
        {
            "run_id": run.id,
            "folder": str(run.folder),
            "nothing_to_do": resumption.nothing_to_do,
            "reused": list(resumption.reused),
            "again": [{"task": item.task, "reason": item.reason} for item in resumption.again],
            "dropped": list(resumption.dropped),
            "parameters": list(resumption.parameters),
        }
    )
