"""What an MLflow store holds, asked with MLflow's own client, in a form that tests can compare."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class Contents:
    """An experiment of a store."""

    uri: str
    experiment: str

    @cached_property
    def client(self) -> "MlflowClient":
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    @property
    def experiment_id(self) -> str:
        found = self.client.get_experiment_by_name(self.experiment)
        assert found is not None
        return str(found.experiment_id)

    def runs(self) -> list["Run"]:
        """Active runs."""
        return list(self.client.search_runs([self.experiment_id]))

    def by_key(self) -> Mapping[str, "Run"]:
        """Active runs by the bridge's key, without the run id before it; no key may be there twice."""
        runs = self.runs()
        keys = [_short_key(run) for run in runs]
        assert len(keys) == len(set(keys)), f"doubled: {sorted(keys)}"
        return dict(zip(keys, runs, strict=True))

    def tree(self) -> dict[str, str | None]:
        """The key of the run that each run is nested in, by key."""
        by_key = self.by_key()
        keys = {run.info.run_id: key for key, run in by_key.items()}
        return {key: keys.get(run.data.tags.get("mlflow.parentRunId", "")) for key, run in by_key.items()}

    def statuses(self) -> dict[str, tuple[str, str | None]]:
        """MLflow's status and our mark of completeness, by key."""
        return {
            key: (run.info.status, run.data.tags.get("pynb_dag_runner.upload")) for key, run in self.by_key().items()
        }

    def artifacts(self, run: "Run", directory: str | None = None) -> list[str]:
        """Names of all files below a run's artifacts."""
        found = []
        for info in self.client.list_artifacts(run.info.run_id, directory):
            found += self.artifacts(run, info.path) if info.is_dir else [info.path]
        return sorted(found)

    def content(self, run: "Run", artifact: str, directory: Path) -> bytes:
        """What an artifact holds; it is downloaded to ``directory``."""
        return Path(self.client.download_artifacts(run.info.run_id, artifact, str(directory))).read_bytes()

    def history(self, run: "Run", metric: str) -> list[tuple[float, int, int]]:
        """Value, step and time in ms of each point."""
        return [(p.value, p.step, p.timestamp) for p in self.client.get_metric_history(run.info.run_id, metric)]


def _short_key(run: "Run") -> str:
    _, _, rest = run.data.tags["pynb_dag_runner.key"].partition("/")
    return rest
