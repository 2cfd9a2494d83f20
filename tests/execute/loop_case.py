"""One case of the loop: what its tasks and their processes do, and what must happen, second by second."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynb_dag_runner import Pipeline
from pynb_dag_runner.model.outcomes import RunStatus
from pynb_dag_runner.model.run_settings import RunSettings
from tests.execute.fakes import (
    Script,
    Stage,
)


def nothing(**values: Any) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a run is, what happens in it, and what is expected.

    Attributes:
        tasks: names and options; a task is after those that its option ``after`` names.
        scripts, when_cancelled: see :class:`~tests.execute.fakes.FakeEngine`.
        settings: of the run.
        ctrl_c: when the user presses it.
        chance: what is drawn for retries, from 0 to 1.
        expected: what the loop does and says, in order.
    """

    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"a": {}})
    scripts: Mapping[str, Script] = field(default_factory=dict)
    when_cancelled: Mapping[str, Script] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    ctrl_c: tuple[float, ...] = ()
    chance: float = 0.5
    status: RunStatus = RunStatus.SUCCEEDED
    expected: str


def pipeline_of(tasks: Mapping[str, Mapping[str, Any]]) -> Pipeline:
    pipeline = Pipeline("p", base_dir=Path(__file__).parent)
    for name, options in tasks.items():
        pipeline.function(nothing, name=name, **options)
    return pipeline


def stage_of(folder: Path, case: Case) -> Stage:
    return Stage(
        folder=folder,
        pipeline=pipeline_of(case.tasks),
        scripts=case.scripts,
        when_cancelled=case.when_cancelled,
        settings=RunSettings(executor="process", **case.settings),
        chance=case.chance,
    )


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def check(case: Case, tmp_path: Path) -> None:
    stage = stage_of(tmp_path, case)
    stage.engine.let([(second, stage.press_ctrl_c) for second in case.ctrl_c])
    tasks = stage.run()
    assert stage.trace == lines(case.expected)
    assert tasks.run_status is case.status
    assert tasks.cancelled == bool(case.ctrl_c)
