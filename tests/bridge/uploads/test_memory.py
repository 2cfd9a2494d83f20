"""An upload's memory does not depend on how large the files are."""

from pathlib import Path

from tests.bridge.mlflow_contents import Contents
from tests.bridge.uploads.upload_memory import peak_bytes, run_with_artifact

LARGE_BYTES = 200_000_000


def test_a_large_artifact_takes_no_more_memory_than_a_small_one(uri: str, experiment: str, tmp_path: Path) -> None:
    small = peak_bytes(run_with_artifact(tmp_path / "small", 1), uri, f"{experiment} small")
    large = peak_bytes(run_with_artifact(tmp_path / "large", LARGE_BYTES), uri, f"{experiment} large")
    assert large - small < LARGE_BYTES / 10
    contents = Contents(uri, f"{experiment} large")
    run = contents.by_key()["train"]
    [stored] = contents.client.list_artifacts(run.info.run_id, "artifacts")
    assert stored.file_size == LARGE_BYTES
