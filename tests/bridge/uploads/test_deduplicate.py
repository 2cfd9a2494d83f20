from dataclasses import replace

from mlflow_bridge.model.values import StoredRun
from mlflow_bridge.tags import SUPERSEDED, UPLOAD, UPLOADER
from mlflow_bridge.uploads.deduplicate import chosen, deleted_by_user, superseded


def stored(run_id: str, key: str = "r", parent: str = "", complete: bool = True, deleted: bool = False) -> StoredRun:
    tags = {"pynb_dag_runner.key": key}
    tags |= {"mlflow.parentRunId": parent} if parent else {}
    tags |= {"pynb_dag_runner.upload": "complete"} if complete else {}
    return StoredRun(id=run_id, artifact_uri="", tags=tags, deleted=deleted)


def gone(*runs: StoredRun) -> list[str]:
    return [run.id for run in superseded(runs, "r")]


def test_of_two_complete_parents_the_smaller_id_stays() -> None:
    assert gone(stored("b"), stored("a")) == ["b"]


def test_what_is_below_a_lost_parent_goes_with_it() -> None:
    below = [stored("t", "r/t", parent="b"), stored("x", "r/t/1", parent="t", complete=False)]
    assert gone(stored("a"), stored("b"), *below) == ["b", "t", "x"]


def test_tasks_and_attempts_of_the_parent_that_stays_converge_too() -> None:
    tasks = [stored("t2", "r/t", parent="a"), stored("t1", "r/t", parent="a")]
    attempts = [stored("x2", "r/t/1", parent="t1"), stored("x1", "r/t/1", parent="t1")]
    assert gone(stored("a"), *tasks, *attempts) == ["t2", "x2"]


def test_an_incomplete_run_is_never_touched() -> None:
    assert gone(stored("a", complete=False), stored("b"), stored("t", "r/t", parent="b", complete=False)) == []


def test_one_set_stays_as_it_is() -> None:
    assert gone(stored("a"), stored("t", "r/t", parent="a"), stored("u", "r/u", parent="a")) == []


def test_deleted_runs_do_not_count() -> None:
    assert gone(stored("a", deleted=True), stored("b")) == []


def test_an_upload_goes_on_with_a_complete_run_before_an_incomplete_one() -> None:
    assert chosen([stored("a", complete=False), stored("b")]) == stored("b")
    assert chosen([stored("b", complete=False), stored("a", complete=False)]) == stored("a", complete=False)
    assert chosen([stored("a", deleted=True)]) is None


def test_a_run_counts_as_deleted_by_someone_if_all_there_was_of_its_key_is_in_the_bin() -> None:
    binned = stored("a", complete=False, deleted=True)
    assert deleted_by_user([binned]) == [binned]
    assert deleted_by_user([binned, stored("b", complete=False)]) == []
    assert deleted_by_user([]) == []


def test_what_the_bridge_itself_has_put_into_the_bin_was_deleted_by_nobody() -> None:
    replaced = replace(binned := stored("a", deleted=True), tags={**binned.tags, UPLOAD: SUPERSEDED})
    assert deleted_by_user([replaced]) == []


def test_what_came_back_with_its_experiment_though_it_was_replaced_goes_again() -> None:
    back = replace(old := stored("b", "r/t", parent="a"), tags={**old.tags, UPLOAD: SUPERSEDED})
    assert gone(stored("a"), stored("c", "r/t", parent="a"), back) == ["b"]


def later(run: StoredRun, revision: int) -> StoredRun:
    return replace(run, tags={**run.tags, "pynb_dag_runner.revision": str(revision)})


def test_the_later_state_of_a_run_stays() -> None:
    assert gone(later(stored("b"), 1), stored("a")) == ["a"]
    newest = later(stored("b", complete=False), 2)
    assert chosen([later(stored("a"), 1), newest]) == newest


def test_incomplete_runs_of_an_uploader_that_is_gone_are_removed_once_there_is_a_complete_one() -> None:
    made = replace(left := stored("t1", "r/t", "a", complete=False), tags={**left.tags, UPLOADER: "x"})
    runs = [stored("a"), made, stored("t2", "r/t", parent="a")]
    assert [run.id for run in superseded(runs, "r", {"x"}.__contains__)] == ["t1"]
    assert superseded(runs, "r", {"y"}.__contains__) == []
    assert superseded(runs[:2], "r", {"x"}.__contains__) == []
