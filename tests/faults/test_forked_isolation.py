"""Nothing of one notebook is left for the next, although all of them are copies of one process."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import RunStatus
from tests.faults.kernel_facts import CELL, SAME
from tests.faults.kernels import run_notebooks, start_of

PRELOAD = ("numpy", "pandas", "matplotlib.pyplot")
IMPORT = "".join(f"import {name}\n" for name in PRELOAD)
LOOK = f"""
{IMPORT}{CELL}
from pynb_dag_runner import tracking
facts["left"] = [hasattr(numpy, "left_here"), "left_behind" in sys.modules, hasattr(__builtins__, "left_there"),
                 len(matplotlib.pyplot.get_fignums()), "LEFT" in os.environ, pandas.get_option("display.max_rows"),
                 Path(tempfile.gettempdir()).name, sorted(logging.root.manager.loggerDict).count("left")]
tracking.set_output("facts", json.loads(json.dumps(facts)))
"""
SPOIL = f"""
{IMPORT}
import asyncio, builtins, gc, locale, logging, os, random, resource, signal
import sys, tempfile, threading, time, types, warnings
numpy.left_here = builtins.left_there = 1
sys.modules["left_behind"] = types.ModuleType("left_behind")
os.environ.update(LEFT="1", TZ="Asia/Tokyo", OMP_NUM_THREADS="7")
time.tzset()
random.seed(1), numpy.random.seed(1)
matplotlib.use("svg")
matplotlib.rcParams["figure.dpi"] = 11
matplotlib.pyplot.figure()
pandas.set_option("display.max_rows", 3)
held = [open("/dev/zero"), tempfile.TemporaryFile()]
threading.Thread(target=time.sleep, args=(600,), daemon=True, name="left").start()
tempfile.tempdir = "/"
os.chdir("/")
sys.path.insert(0, "/left"), sys.argv.append("left")
signal.signal(signal.SIGTERM, signal.SIG_IGN), signal.signal(signal.SIGUSR2, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGCHLD])
os.umask(0o077), os.nice(1)
locale.setlocale(locale.LC_ALL, "C")
warnings.simplefilter("error"), logging.getLogger("left"), logging.basicConfig(level=1)
asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99)), resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
gc.set_threshold(9), sys.setrecursionlimit(4321), sys.setswitchinterval(0.5)
open("/proc/self/oom_score_adj", "w").write("999")
sys.excepthook = sys.displayhook = sys.unraisablehook = print
"""


@pytest.fixture(scope="module", params=["alike", "preloaded"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, Any]]:
    """What two notebooks see, one before and one after one that changes whatever it can."""
    base = tmp_path_factory.mktemp("isolation")
    preload = PRELOAD if request.param == "preloaded" else ()
    result = run_notebooks(base, {"before": LOOK, "spoil": SPOIL, "after": LOOK}, preload=preload)
    assert result.status is RunStatus.SUCCEEDED, result
    assert [start_of(result, name) for name in result.tasks] == [("forked", list(preload), "")] * 3
    return {name: result.tasks[name].outputs["facts"] for name in ("before", "after")}


@pytest.mark.parametrize("fact", [*SAME, "modules", "left"])
def test_a_notebook_sees_nothing_of_the_one_before_it(seen: Mapping[str, Mapping[str, Any]], fact: str) -> None:
    assert seen["after"][fact] == seen["before"][fact]


def test_the_second_of_two_notebooks_draws_other_numbers(seen: Mapping[str, Mapping[str, Any]]) -> None:
    drawn = [*seen["before"]["drawn"], *seen["after"]["drawn"]]
    assert len(set(drawn)) == len(drawn) == 8, json.dumps(drawn)


def test_variables_of_an_attempt_are_its_own(tmp_path: Path) -> None:
    cell = """
        import os
        from pynb_dag_runner import tracking
        tracking.set_output("task", os.environ["PYNB_DAG_RUNNER_TASK"])
    """
    names = ["one", "two", "three"]
    result = run_notebooks(tmp_path, dict.fromkeys(names, cell), processors=3)
    assert [task.outputs["task"] for task in result.tasks.values()] == names
