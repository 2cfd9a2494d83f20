"""Traces of tasks on a server with a stricter database than sqlite."""

from pathlib import Path

import pytest

from mlflow_bridge import upload
from tests.bridge.mlflow_contents import Contents
from tests.bridge.targets.conftest import Served
from tests.bridge.traced_run import BY_RUN, Traces, traced_run


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_traces_of_tasks_arrive(postgresql: Served, tmp_path: Path) -> None:
    result = upload(traced_run(tmp_path).folder, postgresql.uri, "traced")
    assert result.warnings == ()
    traces = Traces(Contents(postgresql.uri, "traced"))
    assert traces.by_run() == BY_RUN
    assert [len(one.data.spans) for one in traces.found()] == [2, 1, 1, 1]
    assert [len(one.info.assessments) for one in traces.found()] == [0, 0, 3, 0]
