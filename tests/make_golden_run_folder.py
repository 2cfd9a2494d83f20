"""Makes the sample run folder of the current version of the format, by really running a pipeline:

    python -m tests.make_golden_run_folder DIRECTORY

A sample is made once, when a version of the format is new, and kept for ever: readers to come must read it. Nothing in
it tells where it was made; host, user, directories and HTML (of which a line stays) are replaced.
"""

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from pynb_dag_runner.run_folder import find_runs

PIPELINE = '''\
import time
from pathlib import Path

from pynb_dag_runner import Pipeline, pipeline, tracking


def load(rows: int, rate: float) -> list[int]:
    """Fails in its first attempt, as a network does."""
    mark = Path("was-here")
    if not mark.exists():
        mark.touch()
        raise ConnectionError("the database went away")
    print("loaded", rows, "rows")
    return list(range(rows))


def fit(values: list[int]) -> float:
    tracking.log_param("depth", 3)
    tracking.set_tag("stage", "trial")
    for step, loss in enumerate([0.5, 0.25, float("nan")]):
        tracking.log_metric("loss", loss, step=step)
    tracking.log_text("bad rows: 7", "notes/rows.txt")
    tracking.set_output("worst", float("inf"))
    raise ValueError("rows 3 | 4 have no price")


def distinct(values: list[int]) -> set[int]:
    return set(values)


def wait() -> None:
    print("waiting", flush=True)
    time.sleep(60)


def publish() -> None:
    pass


@pipeline
def orders(p: Pipeline, rows: int = 5, rate: float = float("inf"), data: Path = Path("data")) -> None:
    """Every way in which a task ends in a run with an end."""
    loaded = p.function(load, parameters={"rows": rows, "rate": rate}, retries=2, num_cpus=0.5)
    p.notebook("notebooks/explore.py", parameters={"values": loaded.output(), "data": data})
    p.function(distinct, parameters={"values": loaded.output()})
    fitted = p.function(fit, parameters={"values": loaded.output()}, memory=1_000_000)
    slow = p.function(wait, name="wait: 60 s/1", timeout_s=0.5)
    p.function(publish, after=[fitted, slow])


if __name__ == "__main__":
    orders.run(executor="inline", progress=False)
'''
NOTEBOOK = """\
# %% tags=["parameters"]
values = [1]
data = None

# %%
from pynb_dag_runner import tracking

print(sum(values))
tracking.log_metrics({"sum": sum(values)})
tracking.set_output("sum", sum(values))
"""
CI = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "ada/orders", "GITHUB_RUN_ID": "17", "GITHUB_TOKEN": "never shown"}
HOME = "/home/ada/orders"


def make(destination: Path) -> None:
    """Write a sample run folder to ``destination``, which must not exist."""
    with tempfile.TemporaryDirectory() as directory:
        project = Path(directory, "orders")
        (project / "notebooks").mkdir(parents=True)
        (project / "pipeline.py").write_text(PIPELINE)
        (project / "notebooks" / "explore.py").write_text(NOTEBOOK)
        commit(project)
        environment = {**os.environ, **CI, "PYTHONPATH": str(Path.cwd())}
        subprocess.run([sys.executable, "pipeline.py"], cwd=project, env=environment, check=True)
        (folder,) = find_runs(project / "runs")
        anonymise(folder, project)
        shutil.copytree(folder, destination)


def commit(project: Path) -> None:
    """Put the project under git, as most are."""
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for arguments in (
        ["init", "--quiet", "--initial-branch=main"],
        ["remote", "add", "origin", "https://ada:secret@git.example.org/ada/orders.git"],
        ["add", "."],
        [*identity, "commit", "--quiet", "--message=Orders"],
    ):
        subprocess.run(["git", *arguments], cwd=project, check=True)


def anonymise(folder: Path, project: Path) -> None:
    """Replace what tells where the folder was made."""
    for path in folder.rglob("*"):
        if path.suffix == ".html":
            path.write_text("<!DOCTYPE html><title>cut: the page is not part of the format</title>\n")
        elif path.is_file() and path.suffix != ".pkl":
            text = path.read_text().replace(str(project), HOME)
            text = re.sub(rf'("host": ?)"{re.escape(socket.gethostname())}"', r'\1"laptop"', text)
            text = re.sub(rf'("user": ?)"{re.escape(getpass.getuser())}"', r'\1"ada"', text)
            path.write_text(text)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
