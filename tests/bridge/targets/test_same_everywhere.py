"""One run folder on every kind of target: all of them hold the same afterwards."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from mlflow_bridge import UploadOutcome, upload
from pynb_dag_runner.model.outcomes import Outcome, RunStatus
from pynb_dag_runner.run_folder.records import Error
from tests.bridge.mlflow_contents import Contents
from tests.bridge.run_folders import SKIPPED, VALUE_ERROR, Attempt, Task, make_run
from tests.bridge.targets.conftest import PASSWORD, USER, Served

ODD_ERROR = Error(kind="Value\x00Error", message="a NUL: \x00 | and ü数", traceback="line\x00\n" * 2000)
VALUES = {
    "nul": "before\x00after",
    "long": "ü" * 6001,
    "longest for tags": "数" * 9000,
    "lines": "a\r\nb\tc\x1b[0m",
    "empty": "",
    "emoji 🙂": "🙂" * 5999,
    "n\x00ul": "\x00",
}
METRICS = [
    ("loss", 0.5, 0),
    ("loss", float("nan"), 1),
    ("loss", 1e308, 2),
    ("loss", -1e-320, 3),
    ("loss", 0.25, 2**62),
    ("loss", 0.125, -3),
    ("m" * 300, 1.0, 0),
    ("per cent %", 2.0, 0),
]


def odd_run(directory: Path) -> Path:
    """A run with all that one target could take and another could not."""
    retried = Attempt(outcome=Outcome.FAILED, seconds=2, error=ODD_ERROR, params={"lr": "0.1\x00"}, tags=VALUES)
    good = Attempt(
        start_s=3,
        seconds=4,
        parameters={"nested": {"a": [1, "x\x00y"], "b\x00": None}, "text": "x" * 7000},
        params=VALUES,
        tags={**VALUES, "mlflow.note.content": "note\x00 of *mine*"},
        metrics=METRICS,
        artifacts={
            "d/e/ü 数.csv": b"1,2\n",
            "a#b?c%20d.txt": b"odd",
            "empty": b"",
            "mid.bin": bytes(range(256)) * 4096,
        },
    )
    train = Task(name="train\x00 & co", attempts=(Attempt(outcome=Outcome.FAILED, start_s=8, error=VALUE_ERROR),))
    return make_run(
        directory,
        Task(name="in/ge st ü", attempts=(retried, good)),
        train,
        SKIPPED,
        Task(name="plain", kind="function"),
        status=RunStatus.FAILED,
        description="Describes \x00 itself. " + "d" * 21000,
        parameters={"p\x00": "v\x00", "long": "y" * 6500},
        ci={"job": "j\x00ob", "url": "u" * 8100},
    )


def holds(database: str, experiment: str, artifacts: Path | None = None) -> dict[str, Any]:
    """All of an experiment that does not depend on where it is; ids and addresses are replaced.

    Args:
        artifacts: where a server keeps them.
    """
    contents = Contents(database, experiment)
    keys = {run.info.run_id: key for key, run in contents.by_key().items()}

    def neutral(text: str) -> str:
        for run_id, key in keys.items():
            text = text.replace(run_id, f"<{key}>")
        return text.replace(f"experiments/{contents.experiment_id}/", "experiments/<>/")

    held: dict[str, Any] = {}
    for key, run in contents.by_key().items():
        tags = {k: neutral(v) for k, v in run.data.tags.items() if not k.endswith((".uploader", ".note_digest"))}
        place = str(run.info.artifact_uri)
        root = artifacts / place.removeprefix("mlflow-artifacts:/") if artifacts else Path(place)
        files = [path for path in root.rglob("*") if path.is_file()]
        held[key] = {
            "info": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time, run.info.user_id),
            "tags": tags,
            "params": run.data.params,
            "metrics": {name: sorted(map(_comparable, contents.history(run, name))) for name in run.data.metrics},
            "artifacts": {str(path.relative_to(root)): neutral(path.read_bytes().decode("latin-1")) for path in files},
        }
    found = contents.client.get_experiment_by_name(experiment)
    held["experiment"] = {k: v for k, v in found.tags.items() if "sharedViewState" not in k} if found else None
    return held


def _comparable(point: tuple[float, int, int]) -> tuple[int, str, int]:
    value, step, time_ms = point
    return step, repr(value), time_ms


@pytest.fixture(scope="module")
def on_sqlite(new_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the default target holds."""
    directory = tmp_path_factory.mktemp("same")
    uri = f"sqlite:///{directory}/mlflow.db"
    shutil.copy(new_store, directory / "mlflow.db")
    upload(odd_run(directory), uri, "same")
    return holds(uri, "same")


@pytest.mark.parametrize("kind", ["postgresql", "protected"])
def test_a_target_holds_what_sqlite_holds(
    kind: str,
    request: pytest.FixtureRequest,
    on_sqlite: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind == "protected":
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    target: Served = request.getfixturevalue(kind)
    folder = odd_run(tmp_path / "runs")
    assert upload(folder, target.uri, "same").outcome is UploadOutcome.UPLOADED
    held = holds(target.database, "same", target.artifacts)
    assert held.keys() == on_sqlite.keys()
    for key, expected in on_sqlite.items():
        assert held[key] == expected, key
    again = upload(folder, target.uri, "same")
    assert again.outcome is UploadOutcome.UNCHANGED
    assert holds(target.database, "same", target.artifacts) == held


def test_what_not_every_database_keeps_is_replaced_visibly_and_kept_in_an_artifact(on_sqlite: dict[str, Any]) -> None:
    task = on_sqlite["in%2Fge st ü"]
    assert task["params"]["nul"] == "before␀after"
    assert '"nul": "before\\u0000after"' in task["artifacts"]["original-values.json"]
    assert "\x00" not in task["tags"]["mlflow.note.content"]
