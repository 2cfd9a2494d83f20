"""A server behind a proxy that loses, delays and refuses requests, as networks and proxies do."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_bridge import StoreError, UploadOutcome, upload
from pynb_dag_runner.model.outcomes import Outcome, RunStatus
from tests.bridge.mlflow_contents import Contents
from tests.bridge.run_folders import SKIPPED, VALUE_ERROR, Attempt, Task, make_run
from tests.bridge.targets.faulty_proxy import Fault, FaultyProxy, Plan, Seen, faulty_proxy

RETRIED = (Attempt(outcome=Outcome.FAILED, seconds=2, error=VALUE_ERROR), Attempt(start_s=3, params={"a": "1"}))
KEYS = {"", "a", "a/1", "b", "report"}
ANSWERS: dict[str, Fault] = {
    "500 before": Fault(status=500),
    "500 after": Fault(status=500, after=True),
    "503 that asks for an hour": Fault(status=503, headers=(("Retry-After", "3600"),)),
    "429 after": Fault(status=429, after=True),
    "reset before": Fault(),
    "reset after": Fault(after=True),
    "late": Fault(late_s=2.5, after=True),
}


@pytest.fixture
def proxy(server_uri: str) -> Iterator[FaultyProxy]:
    """A proxy that does what it should, until it gets another plan."""
    with faulty_proxy(server_uri) as running:
        yield running


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who waits neither long nor often."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


def small_run(directory: Path, **changes: Any) -> Path:
    tasks = (Task(name="a", attempts=RETRIED), Task(name="b", attempts=(Attempt(**changes),)), SKIPPED)
    return make_run(directory / "runs", *tasks, status=RunStatus.FAILED)


def every(n: int, fault: Fault) -> Plan:
    """Each n-th request meets a fault, but no two in a row."""
    return lambda seen: fault if seen.number % n == 0 else None


def posts(fault: Fault) -> Plan:
    """The first try of every POST that makes something meets a fault; what follows at once is let through."""
    met = itertools.count()
    makes = ("/runs/create", "/experiments/create", "/runs/log-batch", "/runs/delete")

    def plan(seen: Seen) -> Fault | None:
        return fault if seen.path.endswith(makes) and next(met) % 2 == 0 else None

    return plan


def is_complete(uri: str, experiment: str, keys: set[str] = KEYS) -> None:
    contents = Contents(uri, experiment)
    statuses = contents.statuses()
    assert statuses.keys() == keys
    assert {mark for _, mark in statuses.values()} == {"complete"}
    run = contents.by_key()["b"]
    assert {"notebook.html", "notebook.ipynb", "output.log"} <= set(contents.artifacts(run))


def binned(uri: str, experiment: str) -> list[str | None]:
    from mlflow.entities import ViewType

    contents = Contents(uri, experiment)
    runs = contents.client.search_runs([contents.experiment_id], run_view_type=ViewType.DELETED_ONLY)
    return [run.data.tags.get("pynb_dag_runner.upload") for run in runs]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_fault_now_and_then_stops_no_upload(
    name: str, proxy: FaultyProxy, server_uri: str, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "late":
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    proxy.plan = every(9 if name == "late" else 5, ANSWERS[name])
    folder = small_run(tmp_path)
    assert upload(folder, proxy.uri, experiment).outcome is UploadOutcome.UPLOADED
    assert proxy.faults >= 4
    is_complete(server_uri, experiment)
    assert set(binned(server_uri, experiment)) <= {"superseded"}
    proxy.plan = lambda seen: None
    assert upload(folder, proxy.uri, experiment).outcome is UploadOutcome.UNCHANGED


@pytest.mark.parametrize("fault", [Fault(status=500, after=True), Fault(after=True)], ids=["answered 500", "reset"])
def test_a_request_that_was_done_but_not_answered_leaves_no_second_run(
    fault: Fault, proxy: FaultyProxy, server_uri: str, experiment: str, tmp_path: Path
) -> None:
    # One task after the other: the retry of a request is the next one of its kind.
    folder = make_run(tmp_path / "runs", Task(name="b"))
    proxy.plan = posts(fault)
    upload(folder, proxy.uri, experiment)
    is_complete(server_uri, experiment, {"", "b"})
    # Both runs were made twice; the copies are in the bin.
    assert binned(server_uri, experiment) == ["superseded", "superseded"]


@pytest.mark.parametrize(
    ("status", "words"), [(401, "asks who you are"), (403, "no permission"), (500, "again and again (500)")]
)
def test_a_refusal_in_the_middle_stops_with_a_sentence_and_the_next_upload_goes_on(
    status: int, words: str, proxy: FaultyProxy, server_uri: str, experiment: str, tmp_path: Path, hurried: None
) -> None:
    folder = small_run(tmp_path)
    proxy.plan = lambda seen: Fault(status=status) if seen.number > 14 else None
    with pytest.raises(StoreError) as caught:
        upload(folder, proxy.uri, experiment)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    proxy.plan = lambda seen: None
    assert upload(folder, proxy.uri, experiment).outcome is UploadOutcome.COMPLETED
    is_complete(server_uri, experiment)


def test_no_answer_in_time_is_said(proxy: FaultyProxy, experiment: str, tmp_path: Path, hurried: None) -> None:
    folder = small_run(tmp_path)
    proxy.plan = lambda seen: Fault(late_s=60) if seen.number > 14 else None
    with pytest.raises(StoreError) as caught:
        upload(folder, proxy.uri, experiment)
    assert str(caught.value) == f"no answer from {proxy.uri} in time"


def test_a_file_that_is_too_large_is_left_out_with_a_warning(
    proxy: FaultyProxy, server_uri: str, experiment: str, tmp_path: Path
) -> None:
    proxy.plan = lambda seen: Fault(status=413) if seen.length > 1_000_000 else None
    folder = small_run(tmp_path, artifacts={"big.bin": b"x" * 2_500_000, "small.bin": b"x"})
    result = upload(folder, proxy.uri, experiment)
    (warning,) = result.warnings
    assert "big.bin (2.5 MB) was left out" in warning
    assert f"{proxy.uri}, or a proxy before it, refuses files of this size (413)" in warning
    is_complete(server_uri, experiment)
    contents = Contents(server_uri, experiment)
    names = contents.artifacts(contents.by_key()["b"])
    assert "artifacts/small.bin" in names
    assert "artifacts/big.bin" not in names


def test_data_that_is_too_large_stops_the_upload(proxy: FaultyProxy, experiment: str, tmp_path: Path) -> None:
    proxy.plan = lambda seen: Fault(status=413) if seen.path.endswith("/log-batch") else None
    with pytest.raises(StoreError, match=r"refuses a request as too large \(413\)"):
        upload(small_run(tmp_path), proxy.uri, experiment)


def test_what_the_user_has_set_is_kept(proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "33")
    proxy.plan = lambda seen: Fault(status=503)
    with pytest.raises(StoreError, match=r"again and again \(503\)"):
        upload(small_run(tmp_path), proxy.uri)
    assert len(proxy.seen) == 1
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "33"


def test_the_first_contact_is_tried_twice_each_time(proxy: FaultyProxy, tmp_path: Path) -> None:
    folder = small_run(tmp_path)
    proxy.plan = lambda seen: Fault(status=503)
    for tries in (2, 4):
        with pytest.raises(StoreError, match="again and again"):
            upload(folder, proxy.uri)
        assert len(proxy.seen) == tries


def test_a_later_request_is_tried_five_times(
    proxy: FaultyProxy, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No waiting between the tries; how often is left to the upload.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    proxy.plan = lambda seen: Fault(status=503) if seen.path.endswith("/log-batch") else None
    with pytest.raises(StoreError, match=r"again and again \(503\)"):
        upload(make_run(tmp_path / "runs", Task(name="b")), proxy.uri, experiment)
    assert len([seen for seen in proxy.seen if seen.path.endswith("/log-batch")]) == 5
