"""The steps of a run: in which order they are taken, what is undone, and what a run leaves that ends on the way."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import Pipeline, PipelineError, RunStatus, events, read_run, reports
from pynb_dag_runner.errors import RunInterruptedError
from pynb_dag_runner.execute import steps
from pynb_dag_runner.execute.context import RunContext
from pynb_dag_runner.execute.journal import Journal
from pynb_dag_runner.execute.loop import TasksEnded
from pynb_dag_runner.execute.request import RunInProgress, RunRequest
from pynb_dag_runner.execute.runner import NEW_RUN, RESUMED_RUN, Step, execute_run, take
from pynb_dag_runner.execute.signals import Interrupts
from pynb_dag_runner.executors.base import Executor
from pynb_dag_runner.model.outcomes import TaskStatus
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.reports.pages.queue import PageProblem, Pages, PagesLeft
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.secrets.masking import Redactor
from tests.execute.fakes import FakeClock, FakeEngine, FakePages, Script, WatchedWriter, engine_lost, hangs
from tests.factories import after, make_run_record


def nothing() -> None: ...


class Scene:
    """A request for a run on an engine that follows a script; nothing is started for it."""

    def __init__(self, folder: Path, scripts: dict[str, Script] | None = None, capacity: float = 100) -> None:
        self.trace: list[str] = []
        self.heard: list[events.Event] = []
        self.clock = FakeClock()
        self.engine = FakeEngine(self.clock, self.trace.append, scripts or {}, {}, capacity)
        pipeline = Pipeline("p", base_dir=folder)
        pipeline.function(nothing, name="a")
        self.request = RunRequest(
            dag=pipeline.build(),
            settings=RunSettings(executor="inline"),
            base_dir=folder,
            output_dir=folder / "runs",
            executor=lambda *_: self.engine,
            listeners=[self.heard.append],
            clock=self.clock,
        )


def folders(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "runs" / "p").iterdir())


def test_a_new_run_and_a_resumed_one_differ_in_few_steps() -> None:
    new, resumed = set(NEW_RUN), set(RESUMED_RUN)
    assert {step.__name__ for step in new - resumed} == {
        "make_folder",
        "lock_folder",
        "prestart_processes",
        "describe_run",
    }
    assert {step.__name__ for step in resumed - new} == {"find_folder", "prestart_what_is_needed", "describe_resume"}
    assert [step for step in NEW_RUN if step in resumed] == [step for step in RESUMED_RUN if step in new]


@pytest.mark.parametrize("breaks", [False, True])
def test_steps_are_undone_in_the_opposite_order_whatever_happens(tmp_path: Path, breaks: bool) -> None:
    trace: list[str] = []

    def step_of(number: int) -> Step:
        @contextmanager
        def step(run: RunInProgress) -> Iterator[None]:
            trace.append(f"do {number}")
            try:
                yield
            finally:
                trace.append(f"undo {number}")

        return step

    def plain(run: RunInProgress) -> None:
        trace.append("plain")
        if breaks:
            raise ValueError("no")

    with pytest.raises(ValueError if breaks else AttributeError):  # no step has read the run back
        take([step_of(1), step_of(2), plain, step_of(3)], Scene(tmp_path).request)
    assert trace == ["do 1", "do 2", "plain", *([] if breaks else ["do 3", "undo 3"]), "undo 2", "undo 1"]


def test_a_run_leaves_its_folder_whole_and_the_engine_closed_once(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    result = execute_run(scene.request)
    assert result.status is RunStatus.SUCCEEDED
    assert scene.trace == ["submit a#1", "close the engine"]
    run = read_run(result.folder)
    assert (run.status, run.end) == (RunStatus.SUCCEEDED, after(1))
    assert {paths.RUN, paths.EVENTS, paths.REPORT, paths.SUMMARY} <= {path.name for path in result.folder.iterdir()}
    assert isinstance(scene.heard[-1], events.RunEnded)


def test_a_run_without_its_engine_is_interrupted_and_has_a_report(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"a#1": [*hangs(), (1, engine_lost)]})
    with pytest.raises(RunInterruptedError, match="the node is gone"):
        execute_run(scene.request)
    (folder,) = folders(tmp_path)
    assert read_run(folder).status is RunStatus.INTERRUPTED
    assert (folder / paths.REPORT).is_file()
    assert scene.trace[-1] == "close the engine"


def test_a_task_that_asks_for_too_much_leaves_no_folder(tmp_path: Path) -> None:
    scene = Scene(tmp_path, capacity=0.5)
    with pytest.raises(PipelineError, match="num_cpus=1"):
        execute_run(scene.request)
    assert folders(tmp_path) == []
    assert scene.trace == ["close the engine"]


def test_an_engine_that_does_not_start_leaves_no_folder(tmp_path: Path) -> None:
    def refuse(*_: object) -> Executor:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        execute_run(replace(Scene(tmp_path).request, executor=refuse))
    assert folders(tmp_path) == []


def test_a_task_may_wait_for_nodes(tmp_path: Path) -> None:
    scene = Scene(tmp_path, capacity=0.5)
    settings = RunSettings(executor="inline", wait_for_nodes=True)
    assert execute_run(replace(scene.request, settings=settings)).status is RunStatus.SUCCEEDED
    (warning,) = [event.message for event in scene.heard if isinstance(event, events.Warned)]
    assert warning.endswith("it waits until the cluster has such a node")


def test_an_interruption_that_someone_swallowed_is_raised_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    def start(*_: object) -> Executor:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:  # noqa: BLE001 - as modules do when they are imported
            return scene.engine
        raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        execute_run(replace(scene.request, executor=start))
    assert folders(tmp_path) == []
    assert scene.engine.is_closed


def test_an_interruption_after_the_record_ends_the_run_in_order(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"a#1": hangs()})
    scene.engine.let([(1, lambda now: os.kill(os.getpid(), signal.SIGTERM))])
    before = signal.getsignal(signal.SIGTERM)
    result = execute_run(scene.request)
    assert (result.status, result.interrupted_by) == (RunStatus.CANCELLED, signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_report_that_can_t_be_drawn_changes_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr(reports, "write_reports", refuse)
    scene = Scene(tmp_path)
    assert execute_run(scene.request).status is RunStatus.SUCCEEDED
    (warning,) = [event.message for event in scene.heard if isinstance(event, events.Warned)]
    assert warning == "no report was written: ValueError: no ink"


class Processes:
    """Those of a run, as far as the last steps look at them."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages


class Ending:
    """A run whose tasks have ended, and whose pages are being made."""

    def __init__(
        self, folder: Path, says: list[tuple[float, PageProblem | PagesLeft]], *, cancelled: bool = False
    ) -> None:
        scene = Scene(folder)
        self.heard, self.signs_of_life = scene.heard, 0
        self.pages = FakePages(scene.clock, says)
        self.run = RunInProgress(scene.request)
        self.run.interrupts = Interrupts()
        self.run.processes = Processes(self.pages)  # type: ignore[assignment]  # real ones would start processes
        self.run.record = make_run_record(status="RUNNING", end=None)
        self.run.context = RunContext(
            dag=scene.request.dag,
            folder=folder,
            record=self.run.record,
            base_dir=folder,
            clock=scene.clock,
            listeners=scene.request.listeners,
            redactor=Redactor(["hunter2hunter2"]),
        )
        self.writer = WatchedWriter(folder, self.run.record)
        self.writer.on_touch = self.count_sign_of_life
        self.run.journal = Journal(self.run.context, self.writer)
        self.run.tasks = TasksEnded(statuses={"a": TaskStatus.SUCCEEDED}, cancelled=cancelled, time=after(1))

    def take(self, step: Callable[[RunInProgress], None]) -> None:
        """Take this step, the last one."""
        with closing(self.writer):
            step(self.run)

    def count_sign_of_life(self) -> None:
        self.signs_of_life += 1


@pytest.mark.parametrize(("cancelled", "patience_s"), [(False, None), (True, 2.0)])
def test_pages_are_waited_for_unless_the_user_cancels(
    tmp_path: Path, cancelled: bool, patience_s: float | None
) -> None:
    said: list[Any] = [(5, PagesLeft(left=2, total=3)), (6, PageProblem(key="n#1", problem="hunter2hunter2 is broken"))]
    ending = Ending(tmp_path, said, cancelled=cancelled)
    ending.take(steps.finish_pages)
    assert ending.pages.patience_s == [patience_s] * 2
    left, problem = ending.heard
    assert left == events.PagesBeingMade(time=after(5), left=2, total=3)
    assert isinstance(problem, events.Warned)
    assert problem.message.startswith("no HTML page of n#1: ")
    assert "hunter2" not in problem.message
    assert ending.signs_of_life == 1  # else readers on other machines would take the driver for dead


def test_ctrl_c_while_pages_are_made_gives_them_up_soon(tmp_path: Path) -> None:
    ending = Ending(tmp_path, [(1, PagesLeft(left=1, total=1))])
    ending.run.interrupts.count = 1
    ending.take(steps.finish_pages)
    assert ending.pages.patience_s == [2.0]


def test_the_end_of_a_run_is_that_of_its_tasks(tmp_path: Path) -> None:
    ending = Ending(tmp_path, [])
    ending.take(steps.write_end)
    assert ending.heard == [events.RunEnded(time=after(1), status=RunStatus.SUCCEEDED)]
