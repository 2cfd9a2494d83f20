"""Run folders from strangers, thousands of them: each is read safely, or one clear error says what is wrong.

"Safely": nothing outside the folder is opened or changed, nothing is executed or unpickled, nothing waits for ever and
no memory is eaten. The same examples are tried every time; `make soak` tries thousands of others.
"""

import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mlflow_bridge.errors import UploadError
from mlflow_bridge.mapping import runs
from mlflow_bridge.mapping.notes import Places, attempt_note, pipeline_index, pipeline_note, task_note
from mlflow_bridge.mapping.timeline import trace_of
from mlflow_bridge.model.values import MappedRun
from mlflow_bridge.source.folder_files import open_inside
from mlflow_bridge.tags import NOTE
from mlflow_bridge.uploads.experiments import experiment_name
from mlflow_bridge.uploads.one_run import readable_run
from pynb_dag_runner.cli.list import list_runs
from pynb_dag_runner.cli.report import report
from pynb_dag_runner.cli.show import show
from pynb_dag_runner.errors import RunFolderError, UsageError
from pynb_dag_runner.model.text import visible
from pynb_dag_runner.reports import write_reports
from pynb_dag_runner.run_folder import AttemptDetails, Run, find_runs, read_attempt_details, read_run
from tests.faults.damage import KINDS, Damage, damages, replace
from tests.faults.fuzzing import FUZZ
from tests.faults.watching import watching

GOLDEN = Path(__file__).parents[1] / "golden" / "run-folder-1.1"
GOLDEN_FILES = sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*") if path.is_file())
SECRET = "the canary sings"
NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
MAX_SECONDS = 20.0
MAX_MORE_BYTES = 1 << 30
"""Bounds for looking at one damaged folder of a few kilobytes; it takes some 30 ms and next to no memory."""


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that no run folder may lead to."""
    directory = tmp_path_factory.mktemp("canary")
    (directory / "secret").write_text(SECRET)
    (directory / "run.json").write_text(SECRET)
    return directory


@contextmanager
def bounded() -> Iterator[None]:
    """Memory is limited and processor time is measured in the body of the ``with``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_MORE_BYTES, hard))
    began = time.process_time()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert time.process_time() - began < MAX_SECONDS


def look_at(folder: Path) -> list[object]:
    """Do with a run folder everything that does not need a server. Gives what was found, and errors, for a look."""
    found: list[object] = [find_runs(folder.parent)]
    for command, argument in ((show, folder), (list_runs, folder.parent), (report, folder)):
        result = CliRunner().invoke(command, [str(argument)], standalone_mode=False)
        found.append(result.output)
        if result.exception is not None:
            found.append(expected(result.exception, folder))
    try:
        run = read_run(folder, NOW)
        found.append(run)
        details = {
            (task.name, attempt.number): read_attempt_details(run, attempt)
            for task in run.tasks
            for attempt in task.attempts
        }
    except RunFolderError as error:
        return [*found, expected(error, folder)]
    try:
        write_reports(run)
        found += [(folder / name).read_text() for name in ("report.html", "summary.md")]
    except OSError as error:
        found.append(expected(error, folder))
    return [*found, details, *mapped(run, details)]


def mapped(run: Run, details: dict[tuple[str, int], AttemptDetails]) -> Iterator[object]:
    """What an upload would send."""
    try:
        readable_run(run.folder)
        yield experiment_name(run, None)
    except UploadError as error:
        yield str(error)
    places = Places(experiment_id="1", run_id="0" * 32, tasks={task.name: "1" * 32 for task in run.tasks})
    yield from (pipeline_note(run, places), pipeline_index(run, places))
    yield from sent(run, runs.map_pipeline(run))
    yield trace_of(run, "1").response
    for task in run.tasks:
        last = task.last_attempt
        of_last = details[task.name, last.number] if last else AttemptDetails()
        yield task_note(run, task, places, "1" * 32, of_last.tags.get(NOTE))
        yield from sent(run, runs.map_task(run, task, of_last))
        for attempt in task.attempts[:-1]:
            of_attempt = details[task.name, attempt.number]
            yield attempt_note(attempt, places, "2" * 32)
            yield from sent(run, runs.map_attempt(run, task, attempt, of_attempt))


def sent(run: Run, made: MappedRun) -> Iterator[object]:
    """A mapped run, checked against what every store can hold, and the beginning of each of its files."""
    assert all(-(2**63) <= point.step < 2**63 for point in made.metrics)
    assert 0 < made.start_ms <= made.end_ms < 2**63
    yield made
    for file in made.files:
        assert not Path(file.target).is_absolute()
        assert ".." not in Path(file.target).parts
        try:
            with open_inside(run.folder, file.source) as descriptor:
                yield os.read(descriptor, 10_000)
        except UploadError as error:
            yield str(error)


def expected(error: BaseException, folder: Path) -> str:
    """The text of an error that a user may see; any other error is raised."""
    if isinstance(error, RunFolderError):
        assert error.file.is_relative_to(folder)
        assert error.problem
        assert len(str(error)) < 2_000
        assert str(error) == visible(str(error))
    elif not isinstance(error, UsageError | OSError):
        raise error
    return str(error)


def plain(folder: Path) -> Path:
    """A copy of the golden run as it is."""
    return folder


def outside_state(canary: Path) -> object:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in canary.iterdir()}


def resumed(folder: Path) -> Path:
    """Make a run that was resumed of a copy of the golden one: other keys, another kind of event."""
    run = json.loads((folder / "run.json").read_text())
    end = run["end"]
    again = [{"task": "fit", "reason": "its notebook changed"}]
    run["resumes"] = [{"start": end, "previous_status": "FAILED", "previous_end": end, "driver": run["driver"]}]
    run["resumes"][0] |= {"again": again, "reused": ["load"], "parameters": ["rows"], "dropped": ["old"]}
    run["given"] = {"rows": {"form": "json", "value": 5}}
    run["target"] = {"location": "pipeline.py", "name": None, "directory": "/"}
    run["settings"] = {"executor": "inline", "tasks": ["fit"], "num_cpus": 2, "timeout_s": 5.0}
    for task in run["tasks"]:
        task |= {"attempts_before": int(task["name"] == "fit"), "resumed": 0, "fingerprint": {"source": "00"}}
    (folder / "run.json").write_text(json.dumps(run))
    event = {"event": "run_resumed", "time": end, "pipeline": run["pipeline"], "run_id": run["run_id"], "host": "here"}
    event |= {"pid": 5, "tasks": [task["name"] for task in run["tasks"]], "again": again}
    with (folder / "events.jsonl").open("a") as events:
        events.write(json.dumps(event) + "\n")
    return folder


@pytest.mark.soak
def test_nothing_but_a_clear_error_comes_of_a_damaged_folder(tmp_path: Path, canary: Path) -> None:
    # The whole folders first: what is loaded late is loaded now, and nothing of it is refused.
    for base in (plain, resumed):
        found = look_at(base(shutil.copytree(GOLDEN, tmp_path / base.__name__ / "run")))
        assert [run.id for run in found if isinstance(run, Run)] == [read_run(GOLDEN).id]

    @FUZZ
    @given(st.sampled_from([plain, resumed]), damages(GOLDEN_FILES, canary))
    def try_damaged(base: Callable[[Path], Path], drawn: list[Damage]) -> None:
        folder = base(shutil.copytree(GOLDEN, tmp_path / "runs" / "run"))
        try:
            for damage in drawn:
                damage.apply(folder)
            look_at_safely(folder, canary)
        finally:
            shutil.rmtree(folder.parent)

    try_damaged()


PLACES = (
    "run.json",
    "events.jsonl",
    "report.html",
    "tasks",
    "tasks/fit",
    "tasks/fit/task.json",
    "tasks/fit/attempt-1",
    "tasks/fit/attempt-1/attempt.json",
    "tasks/fit/attempt-1/metrics.jsonl",
    "tasks/fit/attempt-1/tracking.json",
    "tasks/fit/attempt-1/artifacts",
    "tasks/fit/attempt-1/artifacts/notes",
    "tasks/fit/attempt-1/artifacts/notes/rows.txt",
    "tasks/explore/attempt-1/notebook.html",
    "tasks/explore/attempt-1/output.log",
)


@pytest.mark.parametrize("kind", [*KINDS, "nothing"])
def test_nothing_outside_is_reached_whatever_stands_in_a_files_place(tmp_path: Path, canary: Path, kind: str) -> None:
    look_at(shutil.copytree(GOLDEN, tmp_path / "warm-up" / "run"))
    for number, place in enumerate(PLACES):
        folder = shutil.copytree(GOLDEN, tmp_path / str(number) / "run")
        assert os.path.lexists(folder / place)
        replace(folder / place, kind, canary)
        look_at_safely(folder, canary)


def look_at_safely(folder: Path, canary: Path) -> None:
    """Look at a folder within bounds, and at whether that reached out of it."""
    before = outside_state(canary)
    with bounded(), watching(folder.parent) as watch:
        found = look_at(folder)
    assert watch.outside == []
    assert SECRET not in repr(found)
    assert outside_state(canary) == before
