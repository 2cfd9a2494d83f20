"""A pipeline to be resumed. Each task appends its name to a file outside of the run folder: so it is counted how often
it really ran.
"""

import subprocess
from collections import Counter
from pathlib import Path
from textwrap import dedent

from pynb_dag_runner import Run, find_runs, read_run
from tests.end_to_end.cli_process import pynb, write

PIPELINE = """
    import os
    import time
    from pathlib import Path
    from pynb_dag_runner import Pipeline, pipeline

    HERE = Path(__file__).parent

    def note(name):
        with open(HERE / "ran.txt", "a") as file:
            file.write(name + "\\n")

    def load(rows: int) -> set:
        note("load")
        return set(range(rows))

    def fit(rows: set, depth: int = 1) -> float:
        note("fit")
        if (HERE / "broken").exists():
            raise ValueError("broken")
        while (HERE / ("stuck-" + os.environ["PYNB_DAG_RUNNER_ATTEMPT"])).exists():
            time.sleep(0.05)
        return len(rows) / depth

    def other() -> str:
        note("other")
        return "other"

    def report(score: float, mean: float) -> float:
        note("report")
        return score + mean

    @pipeline
    def sales(p: Pipeline, rows: int = 4, depth: int = 1):
        loaded = p.function(load, parameters={"rows": rows})
        fitted = p.function(fit, parameters={"rows": loaded.output(), "depth": depth})
        p.function(other)
        mean = p.notebook("mean.py", parameters={"rows": rows, "here": str(HERE)})
        p.function(report, parameters={"score": fitted.output(), "mean": mean.output("mean")})
"""
NOTEBOOK = """
    # %% tags=["parameters"]
    rows = 1
    here = ""
    # %%
    from pynb_dag_runner import tracking
    with open(here + "/ran.txt", "a") as file:
        file.write("mean\\n")
    tracking.set_output("mean", rows / 2)
"""
ALL = {"load": 1, "fit": 1, "other": 1, "mean": 1, "report": 1}


def write_project(directory: Path) -> Path:
    """The pipeline and its notebook; returns ``directory``."""
    return write(directory, {"pipeline.py": dedent(PIPELINE), "mean.py": dedent(NOTEBOOK).lstrip()})


def ran(project: Path) -> dict[str, int]:
    """How often each task ran since this was asked last."""
    path = project / "ran.txt"
    names = path.read_text().split() if path.exists() else []
    path.write_text("")
    return dict(Counter(names))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def run_once(project: Path, *options: str, executor: str = "inline") -> Path:
    """Run the pipeline; the run folder."""
    done = pynb("run", "pipeline.py", "--executor", executor, *options, cwd=project)
    assert done.returncode in (0, 1), done.stderr
    return Path(done.stdout.strip())


def resume(folder: Path, *options: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    # From another directory than that of the run: nothing may depend on it.
    return pynb("resume", folder, *options, cwd=cwd or folder.parent)


def statuses(folder: Path) -> dict[str, str]:
    return {task.name: task.status.value for task in read_run(folder).tasks}


def only_run(project: Path) -> Run:
    (folder,) = find_runs(project / "runs")
    return read_run(folder)
