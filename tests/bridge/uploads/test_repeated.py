"""Uploads that are cut off, that meet another one, or that find something deleted in MLflow."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from mlflow_bridge import StoreError, UploadError, UploadOutcome, upload
from mlflow_bridge.model.values import Batch
from mlflow_bridge.store import MlflowStore, open_store
from mlflow_bridge.store.protocol import TrackingStore
from mlflow_bridge.store.target import resolve_target
from mlflow_bridge.tags import RUN_ID as RUN_ID_TAG
from mlflow_bridge.tags import SUPERSEDED, UPLOAD
from mlflow_bridge.uploads.deduplicate import superseded
from mlflow_bridge.uploads.one_run import upload_folder
from pynb_dag_runner.model.outcomes import Outcome, RunStatus
from tests.bridge.mlflow_contents import Contents
from tests.bridge.run_folders import RUN_ID, Attempt, Task, make_run

RETRIED = Task(name="a", attempts=(Attempt(outcome=Outcome.FAILED), Attempt(start_s=11, metrics=[("loss", 1.0, 0)])))
PLAIN = Task(name="b", attempts=(Attempt(html=None, params={"p": "1"}),))
TREE = {"": None, "a": "", "a/1": "a", "b": ""}


def small_run(directory: Path) -> Path:
    return make_run(directory, RETRIED, PLAIN)


class Watched:
    """A real store; before each call, something may happen."""

    def __init__(self, store: MlflowStore, before: Callable[[int, str], None]) -> None:
        self._store = store
        self._before = before
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        if not callable(value):
            return value

        def call(*args: object, **options: object) -> object:
            self._before(self.calls, name)
            self.calls += 1
            return value(*args, **options)

        return call


def watched(store: MlflowStore, before: Callable[[int, str], None]) -> TrackingStore:
    return cast(TrackingStore, Watched(store, before))


def cut_off_at(last: int) -> Callable[[int, str], None]:
    def before(call: int, name: str) -> None:
        if call == last:
            raise StoreError("cut off")

    return before


def cut_off_before_making_run(number: int) -> Callable[[int, str], None]:
    """Of the four runs, in their order: parent, a, attempt 1 of a, b."""
    made = iter(range(1, 5))

    def before(call: int, name: str) -> None:
        if name == "create_run" and next(made) == number:
            raise StoreError("cut off")

    return before


def number_of_calls(store: MlflowStore, folder: Path) -> int:
    counting = Watched(store, lambda call, name: None)
    upload_folder(folder, cast(TrackingStore, counting), experiment="counted")
    return counting.calls


def upload_and_die(folder: str, uri: str, experiment: str) -> None:
    """Runs in a process of its own."""

    def before(call: int, name: str) -> None:
        if call == 9:
            os.kill(os.getpid(), signal.SIGKILL)

    upload_folder(Path(folder), watched(open_store(resolve_target(uri)), before), experiment=experiment)


def assert_one_complete_set(contents: Contents) -> None:
    assert contents.tree() == TREE
    assert {mark for _, mark in contents.statuses().values()} == {"complete"}
    run = contents.by_key()["a"]
    assert [value for value, _, _ in contents.history(run, "loss")] == [1.0]
    assert contents.artifacts(run) == ["notebook.html", "notebook.ipynb", "output.log"]


def test_an_upload_that_was_cut_off_anywhere_is_completed(
    sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path
) -> None:
    folder = small_run(tmp_path / "runs")
    for last in range(number_of_calls(sqlite_store, folder)):
        experiment = f"cut off at {last}"
        with pytest.raises(StoreError):
            upload_folder(folder, watched(sqlite_store, cut_off_at(last)), experiment=experiment)
        upload_folder(folder, sqlite_store, experiment=experiment)
        assert_one_complete_set(Contents(sqlite_uri, experiment))


def test_completing_says_so_and_keeps_the_runs_that_are_there(
    sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path
) -> None:
    folder = small_run(tmp_path / "runs")
    with pytest.raises(StoreError):
        upload_folder(folder, watched(sqlite_store, cut_off_before_making_run(4)))
    before = {run.info.run_id for run in Contents(sqlite_uri, "digits").runs()}
    assert len(before) == 3
    assert upload_folder(folder, sqlite_store).outcome is UploadOutcome.COMPLETED
    assert before < {run.info.run_id for run in Contents(sqlite_uri, "digits").runs()}


def test_an_upload_of_a_copy_at_any_moment_of_another_leaves_one_set(
    sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path
) -> None:
    folder = small_run(tmp_path / "runs")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for moment in range(number_of_calls(sqlite_store, folder)):
        experiment = f"met at {moment}"

        def meet(call: int, name: str, moment: int = moment, experiment: str = experiment) -> None:
            if call == moment:
                upload_folder(copy, sqlite_store, experiment=experiment)

        upload_folder(folder, watched(sqlite_store, meet), experiment=experiment)
        assert_one_complete_set(Contents(sqlite_uri, experiment))


def put_away(store: MlflowStore, run_id: str) -> None:
    """What another upload does with a run that lost."""
    store.log_batch(run_id, Batch(tags=((UPLOAD, SUPERSEDED),)))
    store.delete_run(run_id)


def test_an_upload_whose_runs_are_put_away_by_another_goes_on_with_those_that_won(
    sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path
) -> None:
    folder = small_run(tmp_path / "runs")
    calls: list[str] = []
    upload_folder(folder, watched(sqlite_store, lambda _, name: calls.append(name)), experiment="counted")
    # From the first request after that for the parent, to the last before the set is looked over.
    for moment in range(calls.index("create_run") + 1, len(calls) - calls[::-1].index("search") - 1):
        contents = Contents(sqlite_uri, f"lost at {moment}")

        def meet(call: int, name: str, moment: int = moment, contents: Contents = contents) -> None:
            if call == moment:
                for run in contents.runs():
                    put_away(sqlite_store, run.info.run_id)

        upload_folder(folder, watched(sqlite_store, meet), experiment=f"lost at {moment}")
        assert_one_complete_set(contents)


def test_two_uploads_that_put_the_same_runs_away(sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path) -> None:
    folder = small_run(tmp_path / "runs")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    calls: list[str] = []

    def meet(call: int, name: str) -> None:
        calls.append(name)
        if call == 4:  # the parent is there, and the other upload goes on with it
            upload_folder(copy, sqlite_store, experiment="counted")

    upload_folder(folder, watched(sqlite_store, meet), experiment="counted")
    marks_first = calls.index("delete_run") - 1
    assert calls[marks_first] == "log_batch"
    contents = Contents(sqlite_uri, "digits")

    def lose(call: int, name: str) -> None:
        if call == 4:
            upload_folder(copy, sqlite_store)
        if call == marks_first:
            lost = superseded(sqlite_store.search(contents.experiment_id, RUN_ID_TAG, RUN_ID), RUN_ID)
            assert lost
            for run in lost:
                put_away(sqlite_store, run.id)

    upload_folder(folder, watched(sqlite_store, lose))
    assert_one_complete_set(contents)


def test_an_error_that_stays_is_told(sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path) -> None:
    folder = small_run(tmp_path / "runs")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)

    def meet_and_fail(call: int, name: str) -> None:
        if call == 4:
            upload_folder(copy, sqlite_store)
        if name == "delete_run":
            raise StoreError("no")

    with pytest.raises(StoreError, match=r"^no$"):
        upload_folder(folder, watched(sqlite_store, meet_and_fail))


def test_after_two_uploads_the_links_lead_to_the_runs_that_are_left(
    sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path
) -> None:
    names = [f"t{n}" for n in range(6)]
    folder = make_run(tmp_path / "runs", *(Task(name=name) for name in names))
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)

    def meet(call: int, name: str) -> None:
        if call == 4:  # the parent is there, and the other upload goes on with it
            upload_folder(copy, sqlite_store)

    upload_folder(folder, watched(sqlite_store, meet))
    by_key = Contents(sqlite_uri, "digits").by_key()
    for name in names:
        assert by_key[name].info.run_id in by_key[""].data.tags["mlflow.note.content"]


def upload_at_once(folders: list[Path], uri: str, experiment: str) -> None:
    code = "import sys; from mlflow_bridge import upload; upload(*sys.argv[1:])"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), uri, experiment], stderr=subprocess.PIPE)
        for folder in folders
    ]
    errors = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(folders), errors


def test_two_processes_that_upload_to_a_new_store_at_once_leave_one_set(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "runs")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    upload_at_once([folder, copy], uri, "digits")
    assert_one_complete_set(Contents(uri, "digits"))


def test_processes_that_upload_to_a_server_at_once_leave_one_set(
    server_uri: str, experiment: str, tmp_path: Path
) -> None:
    folder = small_run(tmp_path / "runs")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    upload_at_once([folder, folder, copy], server_uri, experiment)
    assert_one_complete_set(Contents(server_uri, experiment))


def test_an_upload_that_was_killed_is_completed(server_uri: str, experiment: str, tmp_path: Path) -> None:
    folder = small_run(tmp_path / "runs")
    code = "import sys; from tests.bridge.uploads.test_repeated import upload_and_die; upload_and_die(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(folder), server_uri, experiment]
    assert subprocess.run(command, cwd=Path(__file__).parents[3]).returncode == -signal.SIGKILL
    assert 0 < len(Contents(server_uri, experiment).runs()) <= 4
    assert upload(folder, server_uri, experiment).outcome is UploadOutcome.COMPLETED
    assert_one_complete_set(Contents(server_uri, experiment))


def test_a_run_that_was_deleted_in_MLflow_is_not_uploaded_again(uri: str, experiment: str, tmp_path: Path) -> None:
    folder = small_run(tmp_path / "runs")
    contents = Contents(uri, experiment)
    contents.client.delete_run(upload(folder, uri, experiment).mlflow_run_id)
    with pytest.raises(UploadError, match=f"the run {RUN_ID} was deleted in MLflow .*restore it with --restore"):
        upload(folder, uri, experiment)
    contents.client.restore_run(contents.client.search_runs([contents.experiment_id], run_view_type=2)[0].info.run_id)
    assert upload(folder, uri, experiment).outcome is UploadOutcome.UNCHANGED


def test_a_task_run_that_was_deleted_stays_so_and_is_named(
    sqlite_store: MlflowStore, sqlite_uri: str, tmp_path: Path
) -> None:
    folder = small_run(tmp_path / "runs")
    contents = Contents(sqlite_uri, "digits")
    with pytest.raises(StoreError):
        upload_folder(folder, watched(sqlite_store, cut_off_before_making_run(4)))
    contents.client.delete_run(contents.by_key()["a"].info.run_id)
    result = upload_folder(folder, sqlite_store)
    assert result.warnings == ("task runs deleted in MLflow stay deleted (--restore brings them back): a",)
    assert "a" not in contents.by_key()


def test_a_deleted_experiment_is_named_with_what_to_do(uri: str, experiment: str, tmp_path: Path) -> None:
    folder = small_run(tmp_path / "runs")
    upload(folder, uri, experiment)
    contents = Contents(uri, experiment)
    contents.client.delete_experiment(contents.experiment_id)
    with pytest.raises(UploadError, match=r"restore it with --restore .*mlflow gc.*--experiment"):
        upload(folder, uri, experiment)


def test_an_experiment_of_a_server_can_not_be_written_to_through_its_database(sqlite_uri: str, tmp_path: Path) -> None:
    Contents(sqlite_uri, "").client.create_experiment("digits", "mlflow-artifacts:/7")
    with pytest.raises(UploadError, match=r"was made by an MLflow server.*--tracking-uri http://"):
        upload(small_run(tmp_path / "runs"), sqlite_uri)


def test_a_run_that_is_still_going_on_is_refused(sqlite_uri: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", PLAIN, status=RunStatus.RUNNING, alive=True)
    with pytest.raises(UploadError, match="is still going on; upload it when it has ended"):
        upload(folder, sqlite_uri)


def test_a_run_whose_runner_died_is_uploaded_as_far_as_it_came(sqlite_uri: str, tmp_path: Path) -> None:
    running = Task(name="a", attempts=(Attempt(outcome=None),))
    folder = make_run(tmp_path / "runs", running, Task(name="b", attempts=()), status=RunStatus.RUNNING)
    upload(folder, sqlite_uri)
    statuses = Contents(sqlite_uri, "digits").statuses()
    assert statuses == dict.fromkeys(("", "a", "b"), ("KILLED", "complete"))


def test_links_in_a_run_folder_are_not_followed(sqlite_uri: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", Task(attempts=(Attempt(artifacts={"real.txt": b"real"}),)))
    (tmp_path / "secret.txt").write_text("secret")
    artifacts = folder / "tasks" / "train" / "attempt-1" / "artifacts"
    (artifacts / "link.txt").symlink_to(tmp_path / "secret.txt")
    (artifacts / "folder").symlink_to(tmp_path)
    upload(folder, sqlite_uri)
    contents = Contents(sqlite_uri, "digits")
    assert [n for n in contents.artifacts(contents.by_key()["train"]) if "artifacts/" in n] == ["artifacts/real.txt"]


def test_a_file_exchanged_for_a_link_while_the_upload_goes_on_is_refused(
    sqlite_store: MlflowStore, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "runs", Task(attempts=(Attempt(artifacts={"a.txt": b"a", "b.txt": b"b"}),)))
    victim = folder / "tasks" / "train" / "attempt-1" / "artifacts" / "b.txt"
    (tmp_path / "secret.txt").write_text("secret")

    def exchange(call: int, name: str) -> None:
        if name == "log_artifact" and not victim.is_symlink():
            victim.unlink()
            victim.symlink_to(tmp_path / "secret.txt")

    with pytest.raises(UploadError, match=r"b\.txt can't be read"):
        upload_folder(folder, watched(sqlite_store, exchange))


def test_a_run_id_that_could_not_stand_in_a_search_is_refused(sqlite_uri: str, tmp_path: Path) -> None:
    with pytest.raises(UploadError, match="run_id: got"):
        upload(make_run(tmp_path / "runs", PLAIN, run_id="x' OR '1"), sqlite_uri)


def test_an_upload_writes_nothing_into_the_run_folder(sqlite_uri: str, tmp_path: Path) -> None:
    folder = small_run(tmp_path / "runs")
    before = sorted(folder.rglob("*"))
    upload(folder, sqlite_uri)
    assert sorted(folder.rglob("*")) == before
