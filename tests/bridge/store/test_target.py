from pathlib import Path

import pytest

from mlflow_bridge.errors import TargetError
from mlflow_bridge.mapping.links import artifact_link, run_link
from mlflow_bridge.store.target import resolve_target


def test_the_default_is_a_file_in_the_current_directory(tmp_path: Path) -> None:
    target = resolve_target(None, {})
    assert target.database == tmp_path / "mlflow.db"
    assert target.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert target.artifact_root == tmp_path / "mlruns"


def test_the_environment_is_used_before_the_default_and_an_option_before_both() -> None:
    environment = {"MLFLOW_TRACKING_URI": "http://one.example"}
    assert resolve_target(None, environment).uri == "http://one.example"
    assert resolve_target("http://two.example", environment).uri == "http://two.example"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://host:5000/", "http://host:5000"),
        ("https://host/mlflow/", "https://host/mlflow"),  # a server behind a prefix
        ("http://host:5000/#/experiments/1?x=y", "http://host:5000"),  # copied from the browser
        ("http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_addresses_of_servers(uri: str, expected: str) -> None:
    assert resolve_target(uri, {}).uri == expected


def test_a_password_in_the_address_is_used_and_not_shown() -> None:
    target = resolve_target("https://ada:secret@host:8443/x", {})
    assert target.uri == "https://ada:secret@host:8443/x"
    assert target.shown == "https://host:8443/x"
    assert target.url("#/y") == "https://host:8443/x/#/y"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "mlruns",
            "the tracking URI 'mlruns' can't be uploaded to; expected sqlite:///FILE or http(s)://SERVER (MLflow ",
        ),
        ("ftp://host", "the tracking URI 'ftp://host' can't be uploaded to; expected"),
        ("http://", "the tracking URI 'http://' can't be uploaded to"),
        ("http://host:port", "is no URL"),
        ("postgresql://ada:secret@host/db", "'postgresql://…@host/db' can't be uploaded to; expected"),
        ("sqlite://mlflow.db", "expected sqlite:///FILE"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////x/a%20b.db", "holds a %"),
        ("sqlite:////", "names a directory"),
    ],
)
def test_other_uris_are_refused_with_a_sentence(uri: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        resolve_target(uri, {})
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_wrong_uri_in_the_environment_is_named_after_the_variable() -> None:
    with pytest.raises(TargetError, match=r"^MLFLOW_TRACKING_URI 'x' can't"):
        resolve_target(None, {"MLFLOW_TRACKING_URI": "x"})


def test_links_open_MLflow_in_the_mode_that_shows_runs() -> None:
    assert run_link("1", "r") == "#/experiments/1/runs/r?workflowType=machine_learning"
    assert artifact_link("1", "r", "a b/ü.html") == (
        "#/experiments/1/runs/r/artifacts/a%20b/%C3%BC.html?workflowType=machine_learning"
    )


def test_pages_may_be_elsewhere_than_the_tracking_uri() -> None:
    inside = resolve_target("http://me:pw@mlflow:5000", {"PYNB_DAG_RUNNER_MLFLOW_UI": "https://ml.example.com/ui/#/x"})
    assert inside.uri == "http://me:pw@mlflow:5000"
    assert inside.url("#/experiments/1") == "https://ml.example.com/ui/#/experiments/1"
    assert resolve_target("http://mlflow:5000", {}).url("#/x") == "http://mlflow:5000/#/x"
    for wrong in ("localhost:5000", "http://", "http://[::1"):
        with pytest.raises(TargetError, match=r"PYNB_DAG_RUNNER_MLFLOW_UI .*expected the address of MLflow's UI"):
            resolve_target("http://mlflow:5000", {"PYNB_DAG_RUNNER_MLFLOW_UI": wrong})
