"""A preload is imported for each set of variables and directory of notebooks, and waited for before clocks start."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import Outcome, Pipeline, RunStatus
from pynb_dag_runner.events import AttemptStarted, AttemptWaits, Event
from pynb_dag_runner.model.run_settings import ExecutorName
from pynb_dag_runner.processes.fork_server import importers
from pynb_dag_runner.processes.fork_server.client import ForkRefused, ask
from pynb_dag_runner.processes.fork_server.wire import FIND, WAIT, ForkRequest
from tests.faults.kernels import attempt_of, fork_server, run_notebooks, start_of

WAITS = """
import pathlib, time
here = pathlib.Path(__file__)
here.with_name("pipe").read_text()
here.with_name("imported-at").write_text(str(time.time()))
"""
READS = """
import os
found = {"threads": os.environ.get("OMP_NUM_THREADS"), "own": os.environ.get("OWN"), "directory": os.getcwd()}
"""
TELLS = """
# %%
import os, sys
assert {"reads", "numpy"} <= sys.modules.keys(), "they were imported before"
import reads, threadpoolctl
from pynb_dag_runner import tracking
threads = [one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]
now = {"threads": os.environ.get("OMP_NUM_THREADS"), "own": os.environ.get("OWN"), "directory": os.getcwd()}
tracking.set_output("told", [reads.found, now, threads])
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is on the search path."""
    (tmp_path / "reads.py").write_text(READS)
    (tmp_path / "waits.py").write_text(WAITS)
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))  # where the check before the run looks
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


def run_waiting(base: Path, executor: ExecutorName, on_waiting: Callable[[], object], heard: list[Event]) -> Any:
    """Run a notebook whose preload is imported when somebody writes into the pipe."""
    (base / "it.py").write_text("# %%\nimport waits\n")

    def listen(event: Event) -> None:
        heard.append(event)
        if isinstance(event, AttemptWaits):
            on_waiting()

    pipeline = Pipeline("waits", base_dir=base, preload=["waits"])
    pipeline.notebook("it.py", timeout_s=60)
    return pipeline.run(executor=executor, progress=False, output_dir=base / "runs", listeners=[listen])


@pytest.mark.parametrize("executor", ["process", "inline", "ray"])
def test_the_clock_starts_when_the_preload_has_been_imported(base: Path, executor: ExecutorName) -> None:
    heard: list[Event] = []
    result = run_waiting(base, executor, lambda: (base / "pipe").write_text("go on"), heard)
    assert result.status is RunStatus.SUCCEEDED
    assert start_of(result, "it") == ("forked", ["waits"], "")
    waits, started = [one for one in heard if isinstance(one, AttemptWaits | AttemptStarted)]
    assert isinstance(waits, AttemptWaits)
    assert waits.reason == "importing waits (preload)"
    assert isinstance(started, AttemptStarted)
    assert started.time.timestamp() >= float((base / "imported-at").read_text())
    attempt, _ = attempt_of(result, "it")
    assert attempt["queue_s"] > 0


def test_a_run_whose_time_is_over_waits_no_longer(base: Path) -> None:
    (base / "it.py").write_text("# %%\nimport waits\n")
    pipeline = Pipeline("waits", base_dir=base, preload=["waits"])
    pipeline.notebook("it.py")
    result = pipeline.run(executor="process", progress=False, output_dir=base / "runs", timeout_s=4)
    assert result.tasks["it"].attempts[0].outcome in (Outcome.CANCELLED, Outcome.TIMED_OUT)


def test_each_notebook_has_what_was_imported_for_its_variables_and_directory(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (base / "other").mkdir()
    pipeline = Pipeline("surroundings", base_dir=base, preload=["numpy", "reads"])
    for name, options in {"one": {}, "two": {"num_cpus": 2}, "again": {"num_cpus": 2}, "there": {}}.items():
        path = base / ("other" if name == "there" else ".") / f"{name}.py"
        path.write_text(TELLS)
        pipeline.notebook(path, name=name, **options)  # type: ignore[arg-type]
    monkeypatch.setenv("OWN", "of the driver")
    result = pipeline.run(executor="process", num_cpus=2, progress=False, output_dir=base / "runs")
    assert result.status is RunStatus.SUCCEEDED, {name: task.failure for name, task in result.tasks.items()}
    for name, task in result.tasks.items():
        found, now, threads = task.outputs["told"]
        number = 1 if name in ("one", "there") else 2
        expected = {"threads": str(number), "own": "of the driver", "directory": str(base)}
        assert found == now == {**expected, "directory": str(base / "other") if name == "there" else str(base)}
        assert set(threads) == {min(number, os.cpu_count() or 1)}
        assert start_of(result, name) == ("forked", ["numpy", "reads"], "")


def test_no_more_than_a_few_are_kept(base: Path) -> None:
    """The one that was not asked for longest makes room for the next."""
    environment = {**os.environ, "OWN": "0"}
    request = ForkRequest(arguments=(), cwd=str(base), environment=environment)

    def found(own: int) -> Path:
        mine = replace(request, environment={**environment, "OWN": str(own)}, purpose=FIND)
        server = ask(place.socket, mine).found()
        ask(server, replace(mine, purpose=WAIT), bound_s=60).imported()
        return server

    with fork_server("reads") as place:
        first = found(0)
        assert found(0) == first
        others = [found(number) for number in range(1, importers.MOST)]
        assert len({first, *others}) == importers.MOST
        assert found(0) == first
        found(importers.MOST)
        assert found(0) == first
        assert found(1) != others[0]
        while others[0].exists():
            pass
        with pytest.raises(ForkRefused, match="did not answer"):
            ask(others[0], request)


def test_a_secret_that_an_import_prints_is_hidden(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / "speaks.py").write_text("import os\nprint('signed in with', os.environ['TOKEN'])")
    monkeypatch.setenv("TOKEN", "correct-horse")
    monkeypatch.setenv("PYNB_DAG_RUNNER_REDACT", "TOKEN")
    result = run_notebooks(base, {"it": "import speaks"}, preload=["speaks"])
    _, preloaded, remarks = start_of(result, "it")
    assert (preloaded, "signed in with" in remarks, "horse" in remarks) == (["speaks"], True, False)


def test_its_variables_are_no_attempt_s(base: Path) -> None:
    """What an attempt knows of itself, and its secrets, is not there when a module is imported for many."""
    (base / "dumps.py").write_text(
        "import json, os, pathlib\npathlib.Path(__file__).with_suffix('.json').write_text(json.dumps(dict(os.environ)))"
    )
    own = {"PYNB_DAG_RUNNER_SECRET_1": "hidden", "MLFLOW_RUN_ID": "1", "OWN": "1"}
    request = ForkRequest(arguments=(), cwd=str(base), environment={**os.environ, **own}, purpose=FIND)
    with fork_server("dumps") as place:
        ask(ask(place.socket, request).found(), replace(request, purpose=WAIT), bound_s=60).imported()
    seen = json.loads((base / "dumps.json").read_text())
    assert {name: seen.get(name) for name in own} == {**dict.fromkeys(own), "OWN": "1"}
    assert seen["JPY_PARENT_PID"]
