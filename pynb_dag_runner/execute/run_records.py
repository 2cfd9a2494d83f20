"""Record a pipeline in ``run.json``: its tasks as planned, and what a resume needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pynb_dag_runner.define.parameters import GivenBefore, Text
from pynb_dag_runner.model.graph import Dag, NotebookSource, Task
from pynb_dag_runner.model.json_values import decode, encode, json_problem
from pynb_dag_runner.plan.fingerprints import fingerprint
from pynb_dag_runner.run_folder.records import GivenRecord, PlannedTask
from pynb_dag_runner.secrets.marking import FROM_ENVIRONMENT, is_secret, redactor_of
from pynb_dag_runner.secrets.masking import Redactor


def redactor_for(dag: Dag) -> Redactor:
    """Hides all secrets of a run of ``dag``."""
    return redactor_of(dag.parameters, *(task.parameters for task in dag.tasks))


def planned_tasks(dag: Dag, base_dir: Path) -> tuple[PlannedTask, ...]:
    """The tasks in plan order; notebooks' paths relative to ``base_dir`` where they lie below it."""
    return tuple(
        PlannedTask(
            name=task.name,
            kind="notebook" if isinstance(task.source, NotebookSource) else "function",
            source=_shown_source(task, base_dir),
            upstream=dag.upstream[task.name],
            options=task.options,
            fingerprint=fingerprint(task),
        )
        for task in dag.tasks
    )


def _shown_source(task: Task, base_dir: Path) -> str:
    if not isinstance(task.source, NotebookSource):
        return task.source.qualified_name
    path = task.source.path
    return (path.relative_to(base_dir) if path.is_relative_to(base_dir) else path).as_posix()


def given_records(given: Mapping[str, Any], converted: Mapping[str, Any], redactor: Redactor) -> dict[str, GivenRecord]:
    """Parameters that were given, so that :func:`given_again` can give them again.

    Args:
        given: as given.
        converted: the same as the pipeline got them.
        redactor: knows the secrets; what holds one is not written down.
    """
    records = {}
    for name, value in given.items():
        final = converted.get(name, value)
        record = _secret_record(value) if is_secret(final) else _given_record(value, final)
        records[name] = record if redactor.value(record.value) == record.value else GivenRecord(form="none")
    return records


def secret_variables(dag: Dag) -> tuple[str, ...]:
    """Environment variables from which secret parameters were taken: for the pipeline, not for whatever it starts."""
    records = (_secret_record(value) for name, value in dag.given.items() if is_secret(dag.parameters.get(name)))
    return tuple(str(record.value).removeprefix(FROM_ENVIRONMENT) for record in records if record.form == "text")


def _secret_record(given: Any) -> GivenRecord:
    """What can be kept of a secret: where it was taken from."""
    text = given.text if isinstance(given, Text) else given
    if isinstance(text, str) and text.startswith(FROM_ENVIRONMENT):
        return GivenRecord(form="text", value=text)
    return GivenRecord(form="none")


def _given_record(given: Any, converted: Any) -> GivenRecord:
    """The value as it was given, since a later pipeline may convert it to another type; else as it was converted."""
    directory = str((given.directory if isinstance(given, Text | GivenBefore) else None) or Path.cwd())
    given = given.value if isinstance(given, GivenBefore) else given
    if isinstance(given, Text):
        return GivenRecord(form="text", value=given.text, directory=directory)
    for value in (given, converted):
        if json_problem(value) is None:
            return GivenRecord(form="json", value=encode(value), directory=directory)
        if type(value) is type(Path()):
            return GivenRecord(form="path", value=str(value), directory=directory)
    return GivenRecord(form="none")


def given_again(records: Mapping[str, GivenRecord], directory: Path | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parameters that were given, and the names of those whose values were not, or could not be, written down.

    Args:
        directory: the current directory of then, for relative paths, where the record does not say it.
    """
    values: dict[str, Any] = {}
    for name, record in records.items():
        then = Path(record.directory) if record.directory else directory
        match record.form:
            case "json":
                values[name] = GivenBefore(decode(record.value), then)
            case "path":
                values[name] = GivenBefore(Path(str(record.value)), then)
            case "text":
                values[name] = Text(str(record.value), then)
    return values, tuple(name for name, record in records.items() if record.form == "none")
