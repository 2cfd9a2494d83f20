"""What tasks log is what a reader of the run folder gets; outside a run the same calls show what they would log."""

import json
import math
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy
import pandas
import pytest
from PIL import Image

from pynb_dag_runner import tracking
from pynb_dag_runner.model.outcomes import TaskStatus
from pynb_dag_runner.run_folder import AttemptDetails, paths, read_attempt_details, read_run
from pynb_dag_runner.run_folder.records import SCHEMA_VERSION, Metric
from tests.factories import attempt_started, make_attempt_record, run_functions, write_run


class Logged:
    """The attempt that this test logs to, as a reader sees it."""

    def __init__(self, output_dir: Path) -> None:
        self._run = write_run(output_dir, events=[attempt_started()], attempts=[make_attempt_record()])
        self.folder = paths.attempt_folder(self._run, "train", 1)

    @property
    def details(self) -> AttemptDetails:
        run = read_run(self._run)
        return read_attempt_details(run, run.by_name["train"].attempts[0])

    @property
    def tracking(self) -> Any:
        return json.loads((self.folder / paths.TRACKING).read_text())

    def text(self, artifact: str) -> str:
        return (self.folder / paths.ARTIFACTS / artifact).read_text()


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logged:
    attempt = Logged(tmp_path)
    monkeypatch.setenv(tracking.ATTEMPT_DIR_VARIABLE, str(attempt.folder))
    monkeypatch.chdir(tmp_path)
    return attempt


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv(tracking.ATTEMPT_DIR_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_metrics_come_back_in_the_order_of_logging(logged: Logged) -> None:
    tracking.log_metric("loss", 0.5, step=3, timestamp=1_700_000_000_123)
    as_users_have_them: Any = numpy.float32(0.25), numpy.int64(4)
    tracking.log_metrics({"loss": as_users_have_them[0], "acc": True}, step=as_users_have_them[1], timestamp=0)
    then, epoch = datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)
    assert logged.details.metrics == (
        Metric(key="loss", value=0.5, step=3, timestamp=then),
        Metric(key="loss", value=0.25, step=4, timestamp=epoch),
        Metric(key="acc", value=1.0, step=4, timestamp=epoch),
    )


def test_a_metric_has_step_0_and_the_current_time_unless_told(logged: Logged) -> None:
    before = datetime.now(UTC)
    tracking.log_metric("loss", 1)
    (metric,) = logged.details.metrics
    assert metric.step == 0
    assert (metric.timestamp - before).total_seconds() > -0.001  # stored in whole milliseconds
    assert metric.timestamp <= datetime.now(UTC)


def test_metrics_that_are_no_numbers_of_json_are_kept(logged: Logged) -> None:
    tracking.log_metrics({"a": math.nan, "b": math.inf, "c": -math.inf})
    assert [repr(metric.value) for metric in logged.details.metrics] == ["nan", "inf", "-inf"]
    assert not any(metric.is_finite for metric in logged.details.metrics)


def test_params_and_tags_are_kept_as_text(logged: Logged) -> None:
    assert tracking.log_param("depth", 3) == 3
    tracking.log_params({"layers": [1, 2]})
    tracking.set_tag("stage", "first")
    tracking.set_tags({"stage": None, "größe": "ü"})
    assert logged.details.params == {"depth": "3", "layers": "[1, 2]"}
    assert logged.details.tags == {"stage": "None", "größe": "ü"}


def test_a_param_can_not_change(logged: Logged) -> None:
    tracking.log_param("depth", 3)
    tracking.log_param("depth", "3")
    with pytest.raises(ValueError, match=r"^param 'depth' was logged as '3' and can't change to '4'$"):
        tracking.log_params({"other": 1, "depth": 4})
    assert logged.details.params == {"depth": "3"}


def test_outputs_are_written_without_loss(logged: Logged) -> None:
    tracking.set_output("score", 0.5)
    tracking.set_output("score", [math.inf, {"a": None}])
    assert logged.tracking["outputs"] == {"score": [{"$float": "Infinity"}, {"a": None}]}


ANY: Any = tracking
"""The module without its types, for calls that a type checker would refuse."""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ANY.log_metric("a", "many"), "metric 'a' must be a number, got 'many' of type str"),
        (lambda: ANY.log_metric("a", 1, step=0.5), "step must be a whole number, got 0.5"),
        (lambda: tracking.log_metric("", 1), "the name of a metric must be a text that is not empty, got ''"),
        (lambda: ANY.set_tag(3, "x"), "the name of a tag must be a text that is not empty, got 3"),
        (
            lambda: tracking.set_output("rows", {"a": (1,)}),
            "output 'rows'['a'] is a tuple: (1,); "
            "an output holds None, bool, int, float, str, lists and dicts of these",
        ),
        (lambda: tracking.log_figure("picture", "a.png"), "log_figure takes a matplotlib or plotly figure, got a str"),
    ],
)
@pytest.mark.parametrize("where", ["logged", "outside"])
def test_a_wrong_argument_is_told_in_a_run_and_outside(
    call: Any, message: str, where: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(where)
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == message


def test_texts_and_dicts_become_artifacts(logged: Logged) -> None:
    tracking.log_text("größe\n", "notes/a.txt")
    tracking.log_dict({"b": [1], "a": Path("/x")}, "a.json")
    tracking.log_dict({"b": [1], "a": Path("/x")}, "a.yml")
    assert logged.details.artifacts == (Path("a.json"), Path("a.yml"), Path("notes/a.txt"))
    assert logged.text("notes/a.txt") == "größe\n"
    assert json.loads(logged.text("a.json")) == {"b": [1], "a": "/x"}
    assert logged.text("a.yml") == "b:\n- 1\na: /x\n"


def test_a_figure_is_saved_in_the_format_of_its_ending(logged: Logged) -> None:
    figure = plt.figure(figsize=(1, 1))
    tracking.log_figure(figure, "plots/a.png", save_kwargs={"dpi": 50})
    tracking.log_figure(figure, "plots/a.svg")
    plt.close(figure)
    with Image.open(logged.folder / paths.ARTIFACTS / "plots/a.png") as image:
        assert (image.format, image.size) == ("PNG", (50, 50))
    assert "<svg" in logged.text("plots/a.svg")


@pytest.mark.parametrize(
    ("pixels", "mode", "corner"),
    [
        (numpy.full((2, 3), 0.5), "L", 128),  # floats from 0 to 1
        (numpy.full((2, 3, 1), 7, dtype=numpy.uint8), "L", 7),
        (numpy.full((2, 3, 3), 7, dtype=numpy.uint8), "RGB", (7, 7, 7)),
        (Image.new("RGB", (3, 2), (1, 2, 3)), "RGB", (1, 2, 3)),
    ],
)
def test_an_image_is_saved(logged: Logged, pixels: Any, mode: str, corner: Any) -> None:
    tracking.log_image(pixels, "a.png")
    with Image.open(logged.folder / paths.ARTIFACTS / "a.png") as image:
        assert (image.mode, image.size, image.getpixel((0, 0))) == (mode, (3, 2), corner)


@pytest.mark.parametrize(
    "table", [{"x": [1, 2], "y": ["a", "b"]}, pandas.DataFrame({"x": [1, 2], "y": ["a", "b"]})], ids=["dict", "pandas"]
)
def test_a_table_is_written_in_the_form_that_mlflow_shows(logged: Logged, table: Any) -> None:
    tracking.log_table(table, "t.json")
    assert json.loads(logged.text("t.json")) == {"columns": ["x", "y"], "data": [[1, "a"], [2, "b"]]}


def test_a_table_with_columns_of_several_lengths(logged: Logged) -> None:
    with pytest.raises(ValueError, match=r"^the columns of a table have one length; got {'x': 2, 'y': 1}$"):
        tracking.log_table({"x": [1, 2], "y": 3}, "t.json")


def test_files_and_folders_are_copied(logged: Logged, tmp_path: Path) -> None:
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "b.txt").write_text("b")
    (tmp_path / "a.txt").write_text("a")
    tracking.log_artifact("a.txt", "notes")
    tracking.log_artifacts("out")
    tracking.log_artifact(tmp_path / "out")
    assert logged.details.artifacts == (Path("deep/b.txt"), Path("notes/a.txt"), Path("out/deep/b.txt"))


def test_a_file_that_is_not_there(logged: Logged, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        tracking.log_artifact("a.txt")
    assert str(caught.value) == f"log_artifact: there is no file 'a.txt' in {tmp_path}"


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "../a", "a/../../b", "a\0b"])
def test_an_artifact_stays_in_its_folder(logged: Logged, name: str) -> None:
    with pytest.raises(ValueError, match=r"^an artifact's name is a relative path without '..', got "):
        tracking.log_text("x", name)


def test_an_artifact_that_could_not_be_made_leaves_nothing(logged: Logged) -> None:
    with pytest.raises(UnicodeEncodeError):
        tracking.log_text("\ud800", "a.txt")
    assert logged.details.artifacts == ()
    assert {path.name for path in logged.folder.rglob("*")} == {paths.ATTEMPT, paths.ARTIFACTS}


KILLED = """
import os, signal
from pynb_dag_runner import tracking

class Figure:
    def savefig(self, path):
        path.write_text("half of a fig")
        os.kill(os.getpid(), signal.SIGKILL)

tracking.log_figure(Figure(), "plots/a.png")
"""


def python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_a_task_that_is_killed_while_it_writes_an_artifact_leaves_no_part_of_it(logged: Logged) -> None:
    process = python(KILLED)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert any("half of a fig" in path.read_text() for path in logged.folder.glob(".*.png"))  # it was in the middle
    assert logged.details.artifacts == ()


LOGGER = """
import sys, threading
from pynb_dag_runner import tracking

def log(who):
    for n in range(50):
        tracking.log_metric(who, n, step=n)
        tracking.set_tag(f"{who}-{n}", n)
        tracking.log_text(who * 100, "shared.txt")

threads = [threading.Thread(target=log, args=(sys.argv[1] + name,)) for name in "xy"]
print("ready", flush=True)
sys.stdin.readline()
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def test_threads_and_processes_log_at_once_and_nothing_is_lost(logged: Logged) -> None:
    processes = [python(LOGGER, name) for name in "ab"]
    assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * 2
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0)] * 2
    details = logged.details
    writers = ["ax", "ay", "bx", "by"]
    assert details.tags == {f"{writer}-{n}": str(n) for writer in writers for n in range(50)}
    assert Counter(metric.key for metric in details.metrics) == dict.fromkeys(writers, 50)
    assert logged.text("shared.txt") in [writer * 100 for writer in writers]
    assert details.artifacts == (Path("shared.txt"),)


def test_a_task_of_a_run_logs_to_its_own_attempt(tmp_path: Path) -> None:
    def first() -> None:
        tracking.log_metric("who", 1)
        tracking.set_output("done", True)

    def second() -> None:
        thread = threading.Thread(target=tracking.log_metric, args=("who", 2))
        thread.start()
        thread.join()

    result = run_functions(tmp_path, first, second)
    run = read_run(result.folder)
    values = {task.name: read_attempt_details(run, task.attempts[0]).metrics[0].value for task in run.tasks}
    assert values == {"first": 1.0, "second": 2.0}
    assert result.tasks["first"].outputs == {"done": True, "return": None}
    assert {task.status for task in run.tasks} == {TaskStatus.SUCCEEDED}


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (lambda: tracking.log_metric("loss", 0.5), "metric: loss = 0.5"),
        (lambda: tracking.log_metrics({"a": 1}, step=2), "metric: a = 1, step = 2"),
        (lambda: tracking.log_param("depth", 3), "param: depth = '3'"),
        (lambda: tracking.set_tag("stage", "x"), "tag: stage = 'x'"),
        (lambda: tracking.set_output("rows", [1]), "output: rows = [1]"),
        (lambda: tracking.log_text("abc", "notes/a.txt"), "artifact: notes/a.txt = '3 bytes'"),
    ],
)
def test_outside_a_run_calls_show_what_they_would_log(
    outside: Path, capsys: pytest.CaptureFixture[str], call: Any, shown: str
) -> None:
    call()
    assert capsys.readouterr().out == f"[tracking] {shown}\n"
    assert list(outside.iterdir()) == []


def test_the_names_in_the_run_folder_are_those_that_readers_know(logged: Logged) -> None:
    # tracking loads the standard library only, and so keeps names and version of its own.
    tracking.log_metric("a", 1)
    tracking.set_tag("a", 1)
    tracking.log_text("a", "a")
    written = {path.name for path in logged.folder.iterdir()} - {paths.ATTEMPT}
    assert written == {paths.METRICS, paths.TRACKING, paths.ARTIFACTS}
    assert logged.tracking["schema_version"] == SCHEMA_VERSION
