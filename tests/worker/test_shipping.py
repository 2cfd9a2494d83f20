"""An attempt whose worker does not see the run folder: its files come in parts, and make the folder they would have."""

import os
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from pynb_dag_runner import tracking
from pynb_dag_runner.executors.base import LimitsOver
from pynb_dag_runner.processes.private_directory import SCRATCH_VARIABLE
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.file_parts import Arrivals
from pynb_dag_runner.worker import shipping
from pynb_dag_runner.worker.attempt import run_attempt
from pynb_dag_runner.worker.messages import AttemptBegan, AttemptFinished, AttemptSpec, FilePart, FunctionWork


def log_something() -> str:
    os.write(1, b"printed\n")  # the tests' own capture has taken Python's stdout
    tracking.log_metric("loss", 1)
    tracking.log_text("x" * (shipping.PART_BYTES + 1), "large/file.txt")
    Path(os.environ[tracking.ATTEMPT_DIR_VARIABLE], "artifacts/link").symlink_to("/etc/passwd")
    return "done"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the worker keeps what it can't write into the run folder."""
    directory = tmp_path / "scratch"
    directory.mkdir()
    monkeypatch.setenv(SCRATCH_VARIABLE, str(directory))
    return directory


def make_spec(run_folder: Path, *, inode: int) -> AttemptSpec:
    return AttemptSpec(
        run_id=run_folder.name,
        task="task",
        number=1,
        folder=paths.attempt_folder(run_folder, "task", 1),
        run_folder_inode=inode,
        scratch="pdr-a-test",
        work=FunctionWork(function=log_something),
        queued=datetime.now(UTC),
    )


def test_what_a_worker_writes_elsewhere_arrives_whole(tmp_path: Path, scratch: Path) -> None:
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    messages = list(run_attempt(make_spec(run_folder, inode=run_folder.stat().st_ino + 1)))
    assert list(run_folder.iterdir()) == []
    assert list(scratch.iterdir()) == []
    assert [type(message) for message in messages if not isinstance(message, FilePart)] == [
        AttemptBegan,
        LimitsOver,
        AttemptFinished,
    ]
    assert isinstance(messages[-1], AttemptFinished)
    parts = [message for message in messages if isinstance(message, FilePart)]
    assert parts[-1].path == PurePosixPath(paths.ATTEMPT), "what says that all is there comes last"
    assert max(len(part.data) for part in parts) == shipping.PART_BYTES

    arrivals = Arrivals()
    for part in parts:
        arrivals.take(tmp_path / "arrived", part.path, part.data, last=part.last)
    arrivals.close()
    arrived = sorted(path.relative_to(tmp_path / "arrived") for path in (tmp_path / "arrived").rglob("*.*"))
    expected = ["artifacts/large/file.txt", "attempt.json", "metrics.jsonl", "output.log"]
    assert [path.as_posix() for path in arrived] == expected
    assert (tmp_path / "arrived/output.log").read_text() == "printed\n"
    assert (tmp_path / "arrived/artifacts/large/file.txt").stat().st_size == shipping.PART_BYTES + 1


def test_a_worker_that_sees_the_run_folder_sends_nothing(tmp_path: Path, scratch: Path) -> None:
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    messages = list(run_attempt(make_spec(run_folder, inode=run_folder.stat().st_ino)))
    assert [type(message) for message in messages] == [AttemptBegan, AttemptFinished]
    assert (run_folder / "tasks/task/attempt-1/output.log").read_text() == "printed\n"


def test_what_a_dead_worker_left_is_rescued_once(tmp_path: Path, scratch: Path) -> None:
    spec = make_spec(tmp_path / "run", inode=0)
    left = scratch / spec.scratch / "task" / "attempt-1"
    left.mkdir(parents=True)
    (left / "output.log").write_text("last words")
    rescued = [message for message in shipping.rescue(spec) if isinstance(message, FilePart)]
    assert (PurePosixPath("output.log"), b"last words") in [(part.path, part.data) for part in rescued]
    assert list(shipping.rescue(spec)) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("path", ["../outside", "/outside", "a/../../outside", "."])
def test_a_part_never_lands_outside_of_its_attempt(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="expected one inside the attempt's folder"):
        Arrivals().take(tmp_path / "attempt", PurePosixPath(path), b"x", last=True)
    assert list(tmp_path.rglob("outside")) == []


def test_a_file_that_never_gets_whole_is_dropped(tmp_path: Path) -> None:
    arrivals = Arrivals()
    arrivals.take(tmp_path, PurePosixPath("a/b.bin"), b"half", last=False)
    arrivals.drop(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
