"""A secret reaches the task that was given it, and is found nowhere else: whatever the task does with it."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from mlflow_bridge import upload
from mlflow_bridge.store import open_store
from mlflow_bridge.store.target import resolve_target
from pynb_dag_runner import Outcome, Pipeline, Secret, tracking
from pynb_dag_runner.model.run_settings import ExecutorName
from pynb_dag_runner.secrets.masking import MASK
from tests.faults.leaks import DIGEST, NUMBER, SECRET, SIMPLE, assert_nowhere, run, write_notebook

EXECUTORS: tuple[ExecutorName, ...] = ("inline", "process")

pytestmark = pytest.mark.filterwarnings(
    # MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 deprecates.
    "ignore:The ``noload`` loader strategy:DeprecationWarning"
)


MISUSE = """
import base64, hashlib, html, json, os, pathlib, subprocess, sys, urllib.parse
from pynb_dag_runner import tracking

both = api_key + config["nested"][0]["key"]
tracking.log_text(hashlib.sha256(both.encode()).hexdigest(), "digest.txt")
print("printed:", both, repr(both), ascii(both), [both], json.dumps({"key": both}), json.dumps(json.dumps(both)))
print(urllib.parse.quote(both), urllib.parse.quote_plus(api_key), html.escape(api_key), end="")
print(base64.b64encode(api_key.encode()).decode(), "Basic", base64.b64encode(b"me:" + api_key.encode()).decode())
print(api_key.encode().hex(), number)
for character in api_key:
    print(character, end="", flush=True)
print(file=sys.stderr)
os.write(2, api_key.encode() + b" from a descriptor\\n")
os.write(1, api_key[:9].encode())
os.write(1, api_key[9:].encode() + b" in two pieces\\n")
subprocess.run(["sh", "-c", 'echo "echoed $0"', api_key], check=True)
tracking.log_param("key", api_key)
tracking.log_param(api_key, 1)
tracking.set_tag("key", {"key": api_key})
tracking.log_metric("of " + config["nested"][0]["key"], 1)
tracking.log_metric("number", number)
tracking.log_text(api_key, "text.txt")
tracking.log_text(config["nested"][0]["key"], config["nested"][0]["key"] + "/" + config["nested"][0]["key"] + ".txt")
tracking.log_dict({"a": [api_key], api_key: 1}, "dict.json")
tracking.log_dict({"a": [api_key]}, "dict.yaml")
tracking.log_table({"column": [api_key, both]}, "table.json")
own = pathlib.Path(os.environ["PYNB_DAG_RUNNER_ATTEMPT_DIR"])
(own / "artifacts" / "large.bin").write_bytes(b"x" * ((1 << 20) - 5) + api_key.encode() + b"y" * 99)
(own / "mine.txt").write_text(api_key)
tracking.set_output("key", api_key)
tracking.set_output("harmless", "plain")
tracking.set_output("deep", {"a": [number, api_key]})
"""

SHOW = """
from IPython.display import HTML, JSON, SVG, display
display(HTML(f"<b>{html.escape(api_key)}</b>"), JSON({"key": api_key, "number": number}), {"key": api_key})
display(SVG(f"<svg xmlns='http://www.w3.org/2000/svg'><text>{html.escape(config['nested'][0]['key'])}</text></svg>"))
display({"image/png": base64.b64encode(b"before" + api_key.encode()).decode()}, raw=True)
import matplotlib
matplotlib.rcParams["svg.fonttype"] = "none"
import matplotlib.pyplot as plt
figure = plt.figure()
figure.suptitle(config["nested"][0]["key"])
tracking.log_figure(figure, "figure.svg")
print(1, number)
api_key
"""


def misuse(api_key: str, config: dict[str, Any], number: int) -> dict[str, Any]:
    exec(MISUSE, {"api_key": api_key, "config": config, "number": number})
    return {"returned": [api_key]}


def parameters() -> dict[str, Any]:
    return {
        "api_key": Secret(SECRET),
        "config": {"host": "example", "nested": [{"key": Secret(SIMPLE)}]},
        "number": Secret(NUMBER),
    }


def given_again(key: str, deep: dict[str, Any], returned: Any = None) -> dict[str, Any]:
    """Downstream tasks get what was set, and may misuse it, too."""
    print(key, deep)
    digest = hashlib.sha256((key + SIMPLE).encode()).hexdigest()
    return {"digest": digest, "number": deep["a"][0] == NUMBER, "again": key, "returned": returned}


@pytest.mark.parametrize("executor", EXECUTORS)
def test_misused_in_every_way_by_a_notebook_and_a_function(tmp_path: Path, executor: ExecutorName) -> None:
    write_notebook(tmp_path, MISUSE, SHOW, "raise ValueError(api_key + 'x' * 3000)")
    p = Pipeline("leaks", base_dir=tmp_path, parameters=parameters())
    works = p.function(misuse, name="function", parameters=parameters())
    p.notebook("misuse.py", name="notebook", parameters=parameters(), extra_parameters=True)
    p.function(
        given_again,
        name="after",
        parameters={"key": works.output("key"), "deep": works.output("deep"), "returned": works.output("return")},
    )
    result = run(p, tmp_path, executor)
    assert {name: task.status for name, task in result.tasks.items()} == {
        "function": "SUCCEEDED",
        "notebook": "FAILED",
        "after": "SUCCEEDED",
    }
    assert_nowhere(result.folder, SECRET, SIMPLE, str(NUMBER))

    # The task did get it, and so did the one after it.
    for name in ("function", "notebook"):
        folder = result.folder / result.tasks[name].attempts[0].folder
        assert (folder / "artifacts" / "digest.txt").read_text() == DIGEST
        log = (folder / "output.log").read_text()
        assert f"printed: {MASK}{MASK} '" in log
        # Letter by letter, too, while others write between the letters.
        assert not any(SECRET[start : start + 6] in log for start in range(len(SECRET) - 5))
        if name == "notebook" or executor != "inline":  # inline, a function's descriptors are the terminal's
            assert f"echoed {MASK}\n" in log
            # What a notebook prints and what its processes write to descriptors come by two ways, each in its order.
            assert log.index(f"{MASK} from a descriptor\n") < log.index(f"{MASK} in two pieces\n")
        assert (folder / "artifacts" / MASK / f"{MASK}.txt").read_text() == MASK
        assert (folder / "artifacts" / "large.bin").stat().st_size == (1 << 20) - 5 + len(MASK) + 99
    after = result.tasks["after"].outputs["return"]
    assert (after["digest"], after["number"], after["again"]) == (DIGEST, True, MASK)

    # What is no secret is still there.
    function = result.tasks["function"].attempts[0]
    assert function.outputs["harmless"] == "plain"
    assert set(function.redacted_outputs) == {"key", "deep", "return"}
    assert function.parameters == {
        "api_key": MASK,
        "config": {"host": "example", "nested": [{"key": MASK}]},
        "number": MASK,
    }
    failure = result.tasks["notebook"].failure
    assert failure is not None
    assert failure.kind == "ValueError"
    assert failure.message.startswith(f"{MASK}xxx")
    assert 'raise ValueError(api_key + "x" * 3000)'.replace('"', "'") in failure.traceback

    location = tmp_path / "store"
    location.mkdir()
    store = f"sqlite:///{location}/mlflow.db"
    upload(result.folder, tracking_uri=store)
    assert open_store(resolve_target(store)) is not None
    assert (location / "mlflow.db").stat().st_size > 0
    assert any(path.name == "digest.txt" for path in location.rglob("*"))
    assert_nowhere(location, SECRET, SIMPLE, str(NUMBER))


BETWEEN = """
import os, pathlib
log = pathlib.Path(os.environ["PYNB_DAG_RUNNER_ATTEMPT_DIR"]) / "output.log"
os.write(1, api_key[:9].encode())
print("printed between", flush=True)
while b"printed between" not in log.read_bytes():
    pass
os.write(1, api_key[9:].encode() + b" in two pieces\\n")
"""


def test_what_a_notebook_prints_between_two_pieces_of_a_secret_does_not_show_them(tmp_path: Path) -> None:
    write_notebook(tmp_path, BETWEEN)
    p = Pipeline("leaks", base_dir=tmp_path)
    p.notebook("misuse.py", name="notebook", parameters=parameters(), timeout_s=60, extra_parameters=True)
    result = run(p, tmp_path, "inline")
    assert result.tasks["notebook"].status == "SUCCEEDED"
    log = result.folder / result.tasks["notebook"].attempts[0].folder / "output.log"
    assert log.read_text() == f"printed between\n{MASK} in two pieces\n"
    assert_nowhere(result.folder, SECRET)


def raises(api_key: str) -> None:
    tracking.log_param("key", api_key)
    raise ValueError("x" * (1000 - len(api_key) // 2) + api_key + "y" * 1000)  # a message is cut at 1,000 characters


def crashes(api_key: str) -> None:
    tracking.log_param("key", api_key)
    tracking.set_output("key", api_key)
    tracking.log_text(api_key, "text.txt")
    print(api_key, "first", flush=True)
    os.write(1, f"{api_key} last words".encode())
    os._exit(3)


def hangs(api_key: str) -> None:
    tracking.log_param("key", api_key)
    while True:
        print(api_key, flush=True)
        time.sleep(0.01)


def stuck(api_key: str) -> None:
    """Its process has to be ended from outside."""
    import signal

    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    hangs(api_key)


def exits(api_key: str) -> None:
    sys.exit(f"no use for {api_key}")


def reads_its_log(api_key: str) -> None:
    """What is on the disk while the task runs."""
    print(api_key, flush=True)
    log = Path(os.environ["PYNB_DAG_RUNNER_ATTEMPT_DIR"], "output.log")
    for _ in range(1000):
        text = log.read_text()
        assert api_key not in text
        if MASK in text:
            return
        time.sleep(0.02)
    raise AssertionError("nothing came to the log")


def leaves_a_child(api_key: str) -> None:
    subprocess.Popen(["sh", "-c", 'echo "$0"; sleep 60', api_key])


ENDS: dict[str, tuple[Callable[[str], None], Outcome, dict[str, Any]]] = {
    "raises": (raises, Outcome.FAILED, {}),
    "crashes": (crashes, Outcome.CRASHED, {}),
    "hangs": (hangs, Outcome.TIMED_OUT, {"timeout_s": 8}),
    "stuck": (stuck, Outcome.TIMED_OUT, {"timeout_s": 8}),
    "reads_its_log": (reads_its_log, Outcome.SUCCEEDED, {}),
    "exits": (exits, Outcome.FAILED, {}),
    "leaves_a_child": (leaves_a_child, Outcome.SUCCEEDED, {}),
}


def test_functions_that_end_in_every_way(tmp_path: Path) -> None:
    p = Pipeline("ends", base_dir=tmp_path)
    for name, (function, _, options) in ENDS.items():
        p.function(function, name=name, parameters={"api_key": Secret(SECRET)}, **options)
    result = run(p, tmp_path, "process")
    ended = {name: task.attempts[0].outcome for name, task in result.tasks.items()}
    assert ended == {name: outcome for name, (_, outcome, _) in ENDS.items()}
    assert_nowhere(result.folder, SECRET)
    logs = {name: (result.folder / task.attempts[0].folder / "output.log") for name, task in result.tasks.items()}
    assert logs["crashes"].read_text() == f"{MASK} first\n{MASK} last words"
    assert f"{MASK}\n{MASK}\n" in logs["hangs"].read_text()
    assert f"{MASK}\n{MASK}\n" in logs["stuck"].read_text()
    for name in ("crashes", "stuck"):
        tracked = json.loads((logs[name].parent / "tracking.json").read_text())
        assert tracked["params"] == {"key": MASK}
    halves = result.tasks["raises"].failure
    assert halves is not None
    assert not any(SECRET[start : start + 6] in halves.message + halves.traceback for start in range(len(SECRET) - 5))


NOTEBOOK_ENDS = {
    "crashes": (
        "print(api_key, flush=True)\nos.write(2, api_key.encode() + b' last words')\nos._exit(3)",
        Outcome.CRASHED,
    ),
    "hangs": ("while True:\n    print(api_key)\n    time.sleep(0.01)", Outcome.TIMED_OUT),
    "verbose": ("get_ipython().run_line_magic('xmode', 'Verbose')\ndef f(key): 1 / 0\nf(api_key)", Outcome.FAILED),
    "cleared": (
        "from IPython.display import display, update_display, clear_output\n"
        "handle = display('x', display_id='d')\nupdate_display(api_key, display_id='d')\nprint(api_key[:5], end='')\n"
        "sys.stdout.flush()\nprint(api_key[5:])",
        Outcome.SUCCEEDED,
    ),
    "no_child_inherits": (
        "import subprocess\nout = subprocess.run(['env'], capture_output=True, text=True, check=True).stdout\n"
        "assert 'PYNB_DAG_RUNNER_SECRET' not in out and api_key not in out\n"
        "assert not [name for name in dir() if 'json' in name]",
        Outcome.SUCCEEDED,
    ),
}


def test_notebooks_that_end_in_every_way(tmp_path: Path) -> None:
    p = Pipeline("ends", base_dir=tmp_path)
    for name, (source, _) in NOTEBOOK_ENDS.items():
        (tmp_path / f"{name}.py").write_text(f"# %%\nimport os, sys, time\n\n# %%\n{source}\n")
        p.notebook(
            f"{name}.py", name=name, parameters={"api_key": Secret(SECRET)}, timeout_s=40 if name != "hangs" else 10
        )
    result = run(p, tmp_path, "process")
    ended = {name: task.attempts[0].outcome for name, task in result.tasks.items()}
    assert ended == {name: outcome for name, (_, outcome) in NOTEBOOK_ENDS.items()}
    assert_nowhere(result.folder, SECRET)
    assert MASK in (result.folder / result.tasks["hangs"].attempts[0].folder / "notebook.html").read_text()
    assert "last words" in (result.folder / result.tasks["crashes"].attempts[0].folder / "output.log").read_text()
    injected = nbformat.read(
        result.folder / result.tasks["cleared"].attempts[0].folder / "notebook.ipynb", as_version=4
    ).cells[0]
    assert "injected-parameters" in injected.metadata.tags
    assert 'environ.pop("PYNB_DAG_RUNNER_SECRET_1")' in injected.source


def leaves_holes(api_key: str) -> None:
    folder = Path(os.environ["PYNB_DAG_RUNNER_ATTEMPT_DIR"], "artifacts")
    folder.mkdir()
    for name, said in (("clean.bin", ""), ("secret.bin", api_key)):
        with open(folder / name, "wb") as file:
            file.truncate(1 << 38)
            file.seek(1 << 22)
            file.write(said.encode())
        os.truncate(folder / name, (1 << 38) if not said else (1 << 22) + len(api_key.encode()))


def test_a_file_of_holes_is_searched_where_there_is_something(tmp_path: Path) -> None:
    p = Pipeline("holes", base_dir=tmp_path)
    p.function(leaves_holes, name="it", parameters={"api_key": Secret(SIMPLE)}, timeout_s=300)
    result = run(p, tmp_path, "inline")  # 256 GB of zeros would take half an hour
    assert result.status == "SUCCEEDED"
    artifacts = result.folder / result.tasks["it"].attempts[0].folder / "artifacts"
    assert (artifacts / "clean.bin").stat().st_size == 1 << 38
    with open(artifacts / "secret.bin", "rb") as file:
        file.seek(1 << 22)
        assert file.read() == MASK.encode()
