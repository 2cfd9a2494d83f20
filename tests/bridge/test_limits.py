from pathlib import PurePosixPath

import pytest

from mlflow_bridge.limits import MAX_KEY_CHARACTERS, artifact_name, batches, cut, legal_keys
from mlflow_bridge.model.values import MetricPoint


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("loss", "loss"),  # legal keys stay
        ("val/loss: top-1_b.c d", "val/loss: top-1_b.c d"),  # every legal kind of character
        ("größe", "größe"),  # letters of every script
        ("recall@10", "recall_10"),
        ("f1 (macro), %", "f1 _macro__ _"),
        ("a\nb", "a_b"),
        ("", "_"),
        ("/a//b/", "_/a/_/b/_"),  # MLflow refuses empty parts
        ("a/../b/.", "a/_/b/_"),  # and parts that a file system would resolve
        ("..a", "__a"),  # and a path that starts with two dots
    ],
)
def test_a_key_becomes_one_that_MLflow_takes(key: str, expected: str) -> None:
    assert legal_keys([key]) == {key: expected}


def test_keys_that_would_become_equal_stay_apart() -> None:
    legal = legal_keys(["a@b", "a_b", "a#b"])
    assert legal["a_b"] == "a_b"
    assert len(set(legal.values())) == 3


def test_long_keys_are_cut_and_stay_apart() -> None:
    legal = legal_keys(["x" * 300 + "1", "x" * 300 + "2"])
    assert len(set(legal.values())) == 2
    assert all(len(key) <= MAX_KEY_CHARACTERS for key in legal.values())


def test_mlflow_accepts_every_key_that_we_make() -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    for key in legal_keys(
        ["/", "..", "../x", "a/./b", "a" * 251, "é" * 400, "q?#[]=", "...", " ", "\x00", "a/"]
    ).values():
        _validate_metric_name(key)
        _validate_param_name(key)
        _validate_tag_name(key)


def test_a_cut_text_says_so_and_fits() -> None:
    assert cut("x" * 100, 20) == "x" * 13 + " […cut]"
    assert cut("x" * 20, 20) == "x" * 20


@pytest.mark.parametrize(
    "name", ["figures/roc.png", "a b & c+d;e:f'g\"[h].txt", "größe/数据.csv", "-x", "no suffix", ".hidden"]
)
def test_an_artifact_keeps_its_name_if_MLflow_keeps_it(name: str) -> None:
    assert artifact_name(PurePosixPath(name)) == name


@pytest.mark.parametrize("name", ["a#b.html", "a?b.html", "a%20b.html", "a\\b.html", "a\nb.html", "a\udcffb.html"])
def test_an_artifact_whose_name_MLflow_would_lose_gets_another_with_the_same_suffix(name: str) -> None:
    new = artifact_name(PurePosixPath("plots", name))
    assert new.startswith("plots/a_b_" if "%" not in name else "plots/a_20b_")
    assert new.endswith(".html")


def test_artifacts_that_would_get_the_same_name_stay_apart() -> None:
    assert artifact_name(PurePosixPath("a#b")) != artifact_name(PurePosixPath("a?b"))


def test_an_artifact_part_stays_as_short_as_a_file_system_holds() -> None:
    assert len(artifact_name(PurePosixPath("ü" * 126 + "#.png")).encode()) <= 255


def test_the_prefix_of_MLflows_temporary_files_is_not_used() -> None:
    assert not artifact_name(PurePosixPath(".artifact.uploading.x")).startswith(".artifact")


def test_batches_hold_at_most_what_a_request_may() -> None:
    points = [MetricPoint(key="m", value=1.0, step=step, timestamp_ms=1) for step in range(2500)]
    params = {f"p{n}": "1" for n in range(250)}
    tags = {f"t{n}": "1" for n in range(250)}
    made = list(batches(params, points, tags))
    assert [param for batch in made for param in batch.params] == list(params.items())
    assert [point for batch in made for point in batch.metrics] == points
    assert [tag for batch in made for tag in batch.tags] == list(tags.items())
    for batch in made:
        assert len(batch.params) <= 100
        assert len(batch.tags) <= 100
        assert len(batch.params) + len(batch.metrics) + len(batch.tags) <= 1000


def test_the_last_tag_comes_in_the_last_batch() -> None:
    points = [MetricPoint(key="m", value=1.0, step=step, timestamp_ms=1) for step in range(1000)]
    made = list(batches({}, points, {"complete": "yes"}))
    assert [bool(batch.tags) for batch in made] == [False, True]


def test_a_run_of_usual_size_needs_one_batch() -> None:
    points = [MetricPoint(key="m", value=1.0, step=step, timestamp_ms=1) for step in range(500)]
    assert len(list(batches({"p": "1"}, points, {"t": "1"}))) == 1
