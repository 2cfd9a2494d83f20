from mlflow_bridge.converging import chosen, nothing_to_send, superseded
from mlflow_bridge.values import StoredRun


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


def test_there_is_nothing_to_send_for_a_run_that_is_complete_or_was_deleted() -> None:
    assert nothing_to_send([stored("a")])
    assert nothing_to_send([stored("a", complete=False, deleted=True)])
    assert not nothing_to_send([stored("a", complete=False)])
    assert not nothing_to_send([])
