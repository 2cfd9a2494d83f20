"""What the loop does with values, records, pages and messages; see ``test_loop_cases.py`` for what happens when."""

import json
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from pynb_dag_runner import Pipeline, events
from pynb_dag_runner.execute.resume_state import Earlier, MissingPage
from pynb_dag_runner.executors.base import EngineLost, JobEnded, Keep, Waits
from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.writer import AttemptWriter
from pynb_dag_runner.secrets import files
from pynb_dag_runner.secrets.masking import Redactor
from pynb_dag_runner.worker.messages import FilePart
from tests.execute.fakes import (
    Script,
    Stage,
    began,
    dies,
    ended,
    engine_lost,
    fails,
    finished,
    hangs,
    says,
    started,
    succeeds,
)
from tests.factories import START, after, make_verdict


def nothing(**values: Any) -> None: ...


def one_task(name: str = "a", **options: Any) -> Pipeline:
    pipeline = Pipeline("p", base_dir=Path(__file__).parent)
    pipeline.function(nothing, name=name, **options)
    return pipeline


def value_of_another(output: str = "return", **options: Any) -> Pipeline:
    """Task ``use`` is given an output of task ``make``; ``last`` is after it."""
    pipeline = Pipeline("p", base_dir=Path(__file__).parent)
    made = pipeline.function(nothing, name="make").output(output)
    used = pipeline.function(nothing, name="use", parameters={"x": made}, **options)
    pipeline.function(nothing, name="last", after=used)
    return pipeline


def keeps(folder: Path, value: str = "kept") -> Script:
    """The engine keeps what the job returned, which stands in the run folder, too."""
    AttemptWriter(folder / "tasks/make/attempt-1").return_value(b"\x80\x04K\x05.")  # the pickle of 5
    return [*hangs(), (1, says(Keep(value))), (1, finished()), (1, ended())]


LOST: Script = [(0, ended(lost_input=True))]


def test_a_value_goes_from_task_to_task(tmp_path: Path) -> None:
    stage = Stage(tmp_path, value_of_another("x"), scripts={"make#1": succeeds(x=[1, {"y": 2}])})
    assert stage.run().run_status is RunStatus.SUCCEEDED
    (spec,) = stage.engine.jobs[1].call.args  # type: ignore[attr-defined]  # it is a partial
    assert spec.parameters == {"x": [1, {"y": 2}]}


@pytest.mark.parametrize("losses", [1, 3])
def test_a_value_that_the_engine_lost_is_given_to_it_anew(tmp_path: Path, losses: int) -> None:
    stage = Stage(tmp_path, value_of_another())
    stage.script("make#1", keeps(tmp_path))
    stage.script("use#1", *[LOST] * losses, succeeds())
    assert stage.run().run_status is RunStatus.SUCCEEDED
    again = ["1 submit use#1 with put 5"] * losses
    assert stage.trace[4:-6] == ["1 submit use#1 with kept", *again, "1 use#1 starts"]


def test_a_value_that_is_always_lost_fails_the_task_for_good(tmp_path: Path) -> None:
    stage = Stage(tmp_path, value_of_another(retries=2))
    stage.script("make#1", keeps(tmp_path))
    stage.script("use#1", LOST)
    assert stage.run().run_status is RunStatus.FAILED
    assert stage.trace[-4:] == [
        "1 submit use#1 with put 5",
        "1 use#1 FAILED: a value that another task returned was lost: it was lost 4 times on the way",
        "1 use is FAILED",
        "1 last is SKIPPED by use",
    ]


def test_a_value_that_is_lost_everywhere_fails_the_task(tmp_path: Path) -> None:
    stage = Stage(tmp_path, value_of_another())
    stage.script("make#1", keeps(tmp_path))
    (tmp_path / "tasks/make/attempt-1" / paths.RETURN_PICKLE).unlink()
    stage.script("use#1", LOST)
    stage.run()
    assert stage.trace[-3] == (
        "1 use#1 FAILED: a value that another task returned was lost: "
        "its return value is not in the run folder any more"
    )


def test_a_job_that_is_stopped_is_not_submitted_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, value_of_another(), when_cancelled={"use#1": LOST})
    stage.script("make#1", keeps(tmp_path))
    stage.script("use#1", [])
    stage.engine.let([(2, stage.press_ctrl_c)])
    assert stage.run().run_status is RunStatus.CANCELLED
    assert stage.trace[-3:] == ["2 cancel use#1", "2 use#1 CANCELLED: the run was cancelled", "2 use is CANCELLED"]


def test_a_value_that_never_came_fails_the_task_for_good(tmp_path: Path) -> None:
    stage = Stage(tmp_path, value_of_another("x", retries=3), scripts={"make#1": succeeds(y=1)})
    assert stage.run().run_status is RunStatus.FAILED
    assert stage.trace[-3:] == [
        "1 use#1 FAILED: task 'make' never set the output 'x'; it set 'y'",
        "1 use is FAILED",
        "1 last is SKIPPED by use",
    ]
    assert [job.key for job in stage.engine.jobs] == ["make#1"]


def test_an_inline_task_that_took_the_ctrl_c_cancels_the_run(tmp_path: Path) -> None:
    pipeline = one_task()
    pipeline.function(nothing, name="b")
    scripts: dict[str, Script] = {"a#1": fails(outcome=Outcome.CANCELLED, why="Ctrl-C"), "b#1": []}
    stage = Stage(tmp_path, pipeline, scripts=scripts, when_cancelled={"b#1": [(0, ended(cancelled=True))]})
    tasks = stage.run()
    assert tasks.cancelled
    assert tasks.run_status is RunStatus.CANCELLED
    assert stage.trace[3:] == [
        "1 a#1 CANCELLED: Ctrl-C",
        "1 a is CANCELLED",
        "1 cancel b#1",
        "1 b#1 CANCELLED: the run was cancelled",
        "1 b is CANCELLED",
    ]


ODD_ORDERS: dict[str, tuple[Script, list[str]]] = {
    "messages of a job that nobody knows": (
        [(0, lambda now: JobEnded(key="strange#1")), *succeeds()],
        ["0 a#1 starts", "1 a#1 SUCCEEDED", "1 a is SUCCEEDED"],
    ),
    "messages after the job's end": (
        [*succeeds(), (1, finished(Outcome.FAILED)), (1, began), (1, ended(death="again"))],
        ["0 a#1 starts", "1 a#1 SUCCEEDED", "1 a is SUCCEEDED"],
    ),
    "a second end of the attempt": (
        [*hangs(), (1, finished()), (2, finished(Outcome.FAILED, "no")), (3, ended())],
        ["0 a#1 starts", "1 a#1 SUCCEEDED", "1 a is SUCCEEDED"],
    ),
    "a start after the attempt's end": (
        [(0, started), (1, finished()), (2, began), (3, ended())],
        ["1 a#1 SUCCEEDED", "1 a is SUCCEEDED"],
    ),
    "the end of a process whose attempt had ended": (
        [*hangs(), (1, finished()), (2, ended(death="killed by SIGKILL"))],
        ["0 a#1 starts", "1 a#1 SUCCEEDED", "1 a is SUCCEEDED"],
    ),
    "an end without a start": (
        [(1, finished(Outcome.FAILED, "its module is not there")), (1, ended())],
        ["1 a#1 FAILED: its module is not there", "1 a is FAILED"],
    ),
}


@pytest.mark.parametrize(("script", "expected"), [pytest.param(*case, id=name) for name, case in ODD_ORDERS.items()])
def test_each_attempt_starts_and_ends_once(tmp_path: Path, script: Script, expected: list[str]) -> None:
    stage = Stage(tmp_path, one_task(), scripts={"a#1": script})
    stage.run()
    assert stage.trace == ["0 submit a#1", *expected]


def test_a_clock_that_is_set_back_makes_no_end_before_its_start(tmp_path: Path) -> None:
    stage = Stage(tmp_path, one_task())
    stage.script("a#1", [(5, started), (5, began), (6, stage.set_back(3600)), (7, finished()), (7, ended())])
    tasks = stage.run()
    (end,) = [event for event in stage.heard if isinstance(event, events.AttemptEnded)]
    assert (end.start, end.time) == (after(5), after(5))
    assert tasks.time == START  # the run's own start


def test_a_long_wait_shows_signs_of_life(tmp_path: Path) -> None:
    stage = Stage(tmp_path, one_task(), scripts={"a#1": succeeds(after=25)})
    stage.run()
    assert stage.signs_of_life == [10.25, 20.5]


def test_no_sign_of_life_is_needed_in_a_short_run(tmp_path: Path) -> None:
    stage = Stage(tmp_path, one_task(), scripts={"a#1": succeeds(after=10)})
    stage.run()
    assert stage.signs_of_life == []


def test_what_an_attempt_waits_for_is_told_and_not_recorded(tmp_path: Path) -> None:
    script: Script = [(0, started), (0, says(Waits("importing pandas"))), (2, began), (3, finished()), (3, ended())]
    stage = Stage(tmp_path, one_task(), scripts={"a#1": script}, notes=["it is slow"])
    stage.run()
    assert stage.trace[:4] == [
        "0 warning: it is slow",
        "0 submit a#1",
        "0 a waits: importing pandas",
        "2 a#1 starts",
    ]
    recorded = [json.loads(line)["event"] for line in (tmp_path / paths.EVENTS).read_text().splitlines()]
    assert recorded == ["run_started", "warned", "attempt_started", "attempt_ended", "task_settled"]


def test_files_of_a_worker_on_another_machine_are_written_and_parts_of_files_dropped(tmp_path: Path) -> None:
    log, cut = PurePosixPath("log"), PurePosixPath("cut")
    parts = [
        FilePart(path=log, data=b"one ", last=False),
        FilePart(path=log, data=b"two", last=True),
        FilePart(path=cut, data=b"one", last=False),
    ]
    script: Script = [*hangs(), *((1, says(part)) for part in parts), (2, ended(death="x"))]
    pipeline = one_task()
    pipeline.function(nothing, name="b")
    stage = Stage(tmp_path, pipeline, scripts={"a#1": script, "b#1": succeeds(after=4)})
    found: list[dict[str, bytes]] = []

    def look(now: datetime) -> None:
        found.append({path.name: path.read_bytes() for path in (tmp_path / "tasks/a/attempt-1").iterdir()})

    stage.engine.let([(3, look)])
    stage.run()
    assert found == [{"log": b"one two"}]


def test_secrets_are_masked_in_failures_and_in_what_a_dead_worker_left(tmp_path: Path) -> None:
    folder = tmp_path / "tasks/a/attempt-1"
    folder.mkdir(parents=True)
    (folder / "notes").write_text("my word is hunter2hunter2")
    script = dies(death="hunter2hunter2 killed it")
    stage = Stage(tmp_path, one_task(), redactor=Redactor(["hunter2hunter2"]), scripts={"a#1": script})
    stage.run()
    assert "hunter2" not in stage.trace[2]
    assert "hunter2" not in (folder / "notes").read_text()
    assert "killed it" in stage.trace[2]


def test_files_that_can_t_be_swept_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path, redactor: Redactor) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(files, "sweep", refuse)
    (tmp_path / "tasks/a/attempt-1").mkdir(parents=True)
    stage = Stage(tmp_path, one_task(), redactor=Redactor(["hunter2hunter2"]), scripts={"a#1": dies()})
    stage.run()
    assert stage.trace[2] == "1 warning: secrets may be left in the files of a#1: the disk is full"


def test_a_task_s_record_has_all_its_attempts(tmp_path: Path) -> None:
    stage = Stage(tmp_path, one_task(retries=1), scripts={"a#1": fails()})
    stage.run()
    record = (tmp_path / "tasks/a" / paths.TASK).read_text()
    assert record.count('"outcome": "FAILED"') == 1
    assert record.count('"number"') == 2


def test_the_start_of_an_attempt_says_where_it_runs(tmp_path: Path) -> None:
    stage = Stage(tmp_path, one_task())
    stage.run()
    (start,) = [event for event in stage.heard if isinstance(event, events.AttemptStarted)]
    assert (start.host, start.pid, start.time) == ("there", 7, START)


def test_a_lost_engine_ends_the_loop(tmp_path: Path) -> None:
    stage = Stage(tmp_path, one_task(), scripts={"a#1": [*hangs(), (1, engine_lost)]})
    with pytest.raises(EngineLost, match="the node is gone"):
        stage.run()


NOTEBOOK = "# %% tags=['parameters']\nx = 1\n"


@pytest.mark.parametrize(
    ("html", "script", "asked"),
    [
        (True, fails(), ["n#1", "n#2"]),  # a page of each attempt
        (False, fails(), []),
        (True, [(1, ended(death="it can't start"))], ["n#2"]),  # nothing was evaluated
    ],
)
def test_pages_of_notebooks_are_asked_for(tmp_path: Path, html: bool, script: Script, asked: list[str]) -> None:
    (tmp_path / "n.py").write_text(NOTEBOOK)
    pipeline = Pipeline("p", base_dir=tmp_path)
    pipeline.notebook("n.py", retries=1)
    pipeline.function(nothing)
    settings = RunSettings(executor="process", html=html)
    stage = Stage(tmp_path, pipeline, settings=settings, scripts={"n#1": script})
    stage.run()
    assert stage.pages.asked == asked


def test_a_notebook_s_worker_has_three_seconds_more(tmp_path: Path) -> None:
    (tmp_path / "n.py").write_text(NOTEBOOK)
    pipeline = Pipeline("p", base_dir=tmp_path)
    pipeline.notebook("n.py", timeout_s=5)
    stage = Stage(tmp_path, pipeline, scripts={"n#1": hangs()})
    stage.run()
    assert "9 force n#1" in stage.trace


def test_a_resumed_run_goes_on_with_what_it_has(tmp_path: Path) -> None:
    pipeline = value_of_another()
    died = events.AttemptEnded(
        time=after(5),
        task="use",
        number=1,
        outcome=Outcome.CRASHED,
        start=after(2),
        failure=Failure(kind="DriverDied", message="gone"),
        retry_at=None,
    )
    earlier = Earlier(
        reused=frozenset({"make"}),
        verdicts={"make": [make_verdict()], "use": [make_verdict(outcome=Outcome.CRASHED)]},
        ends=(died,),
        kept={"make": "value"},
        pages_missing=(MissingPage(task="gone", number=3, outcome=Outcome.FAILED, failure=None),),
    )
    stage = Stage(tmp_path, pipeline, earlier=earlier, attempts_before={"use": 1})
    stage.script("use#2", LOST, succeeds())
    keeps(tmp_path)
    stage.run()
    assert isinstance(stage.heard[0], events.RunResumed)
    assert stage.trace == [
        "0 make is REUSED",
        "0 submit use#2 with put value",
        "0 submit use#2 with put 5",
        "0 use#2 starts",
        "1 use#2 SUCCEEDED",
        "1 use is SUCCEEDED",
        "1 submit last#1",
        "1 last#1 starts",
        "2 last#1 SUCCEEDED",
        "2 last is SUCCEEDED",
    ]
    assert stage.pages.asked == ["gone#3"]
    assert '"number":1,"outcome":"CRASHED"' in (tmp_path / paths.EVENTS).read_text()  # recorded, and told to nobody
