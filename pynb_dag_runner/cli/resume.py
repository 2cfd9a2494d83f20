"""``resume``: resume a run in its own folder."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pynb_dag_runner.cli.after_run import upload_options
from pynb_dag_runner.cli.inputs import build, given_parameters, parameter_options
from pynb_dag_runner.cli.json_output import json_text
from pynb_dag_runner.cli.run import EXIT_CODES, ended_text
from pynb_dag_runner.cli.settings import refuse_problems, setting_options
from pynb_dag_runner.cli.streams import stdout_for_result
from pynb_dag_runner.model.declarations import declared
from pynb_dag_runner.model.run_settings import ResumeChoices, SharedSettings

if TYPE_CHECKING:
    from pynb_dag_runner.api.definitions import PipelineDefinition
    from pynb_dag_runner.api.pipelines import Pipeline
    from pynb_dag_runner.api.workflow import AfterRun
    from pynb_dag_runner.execute.request import RunRequest
    from pynb_dag_runner.run_folder import Run
    from pynb_dag_runner.run_folder.records import TargetRecord


@click.command(short_help="Resume an unfinished or failed run in place.")
@click.argument("run_dir", type=click.Path(path_type=Path))
@parameter_options
@click.option("--target", metavar="TARGET", help="The pipeline, if it is not where it was; see run.")
@setting_options(ResumeChoices, left_open=declared(SharedSettings))
@click.option("--dry-run", is_flag=True, help="Say what would run again, and why; change nothing.")
@upload_options
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document on stdout.")
def resume(
    run_dir: Path,
    parameter: dict[str, str],
    parameters_file: Path | None,
    target: str | None,
    dry_run: bool,
    prepare_upload: "Callable[[], AfterRun | None]",
    as_json: bool,
    **given: Any,
) -> int:
    """Resume the run in RUN_DIR in place; re-run only what is needed.

    A task that succeeded is taken over, unless its notebook or function, its parameters, or something that it needs
    changed. Parameters and options that are not given are those of the run; its time limit is counted anew. Resume only
    runs of your own: values are unpickled.

    On stdout stands one line: the path of the run folder.
    """
    from pynb_dag_runner.api.definitions import resumed_parameters
    from pynb_dag_runner.api.workflow import Display, resumable, run_pipeline, selected
    from pynb_dag_runner.execute.request import RunRequest

    def request_for(run: "Run") -> RunRequest:
        settings = run.record.settings.over(given)
        refuse_problems(settings)
        pipeline, found = _load(run, target)
        changed = given_parameters(parameter, parameters_file)
        dag = selected(build(pipeline, resumed_parameters(run.record, changed)), settings)
        return RunRequest(dag=dag, settings=settings, base_dir=pipeline.base_dir, target=found)

    with stdout_for_result() as out, resumable(run_dir, request_for, to_write=not dry_run) as request:
        if dry_run:
            out.write(_plan(request, as_json))
            return 0
        ended = run_pipeline(request, Display(progress=given["progress"]), prepare_upload())
        out.write(ended_text(ended, as_json))
    return EXIT_CODES[ended.result.status]


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
