"""Other releases of libraries: private names are gone, or have another shape. The run goes on, and its log says so.

The libraries are counterfeit: the real ones, changed when they are imported.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pynb_dag_runner import read_run
from pynb_dag_runner.model.outcomes import RunStatus

SITE = """
import importlib.machinery, sys
CHANGES = {changes!r}

class Changer:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            exec(CHANGES[name], vars(module))

        spec.loader.exec_module = exec_module
        return spec

for name in CHANGES:
    if name in ("atexit", "threading"):
        __import__(name)
        exec(CHANGES[name], vars(sys.modules[name]))
sys.meta_path.insert(0, Changer)
"""

PIPELINE = """
from pynb_dag_runner import Pipeline, pipeline

def double(n: int) -> int:
    return 2 * n

@pipeline
def both(p: Pipeline):
    p.notebook("it.py")
    first = p.function(double, parameters={"n": 1})
    p.function(double, name="again", parameters={"n": first.output("return")})
"""

NOTEBOOK = """
# %% [markdown]
# # A title
# %%
import subprocess, sys
print("said")
_ = subprocess.run("echo by a child", shell=True)
print("said", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        (
            {
                "ipykernel.kernelapp": "bind = IPKernelApp._bind_socket\n"
                "IPKernelApp._bind_socket = lambda self, s, port, more=0: bind(self, s, port)"
            },
            "it",
            "IPKernelApp._bind_socket takes (self, s, port, more), not (self, s, port)",
        ),
        (
            {"ipykernel.ipkernel": "IPythonKernel._process_children = lambda self, all=None: []"},
            "it",
            "IPythonKernel._process_children takes (self, all), not (self)",
        ),
        (
            {
                "ipykernel.iostream": "OutStream._send_all = OutStream.__dict__['_flush']\n"
                "OutStream._flush = lambda self, wait=True: self._send_all()"
            },
            "it",
            "OutStream._flush takes (self, wait), not (self)",
        ),
        (
            {
                "ipykernel.kernelapp": "begin = IPKernelApp.init_io\n"
                "def init_io(self):\n"
                "    assert 'pynb' not in str(self.outstream_class), 'no stream of others'\n"
                "    begin(self)\n"
                "IPKernelApp.init_io = init_io"
            },
            "it",
            "the kernel is ipykernel's own",
        ),
        (
            {
                "nbclient.client": "poll = NotebookClient._async_poll_output_msg\n"
                "async def changed(self, parent_msg_id, cell, cell_index, more=None):\n"
                "    await poll(self, parent_msg_id, cell, cell_index)\n"
                "NotebookClient._async_poll_output_msg = changed"
            },
            "it",
            "NotebookClient._async_poll_output_msg takes (self, parent_msg_id, cell, cell_index, more)",
        ),
        ({"atexit": "del _clear"}, "double", "it has no atexit._clear; attempts of functions are not forked"),
        (
            {"threading": "stop = _shutdown\ndef _shutdown(wait=True):\n    stop()"},
            "it",
            "",
        ),
        (
            {
                "nbconvert.filters.widgetsdatatypefilter": "begin = WidgetsDataTypeFilter.__init__\n"
                "def __init__(self, notebook_metadata, resources, **options):\n"
                "    begin(self, notebook_metadata, resources, **options)\n"
                "WidgetsDataTypeFilter.__init__ = __init__"
            },
            "",
            "the page is the one that it makes by itself",
        ),
    ],
    ids=["socket", "children", "flush", "application", "poll", "atexit", "threading", "page"],
)
def test_a_run_does_without_what_a_library_has_changed(
    tmp_path: Path, changes: dict[str, str], where: str, said: str
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(SITE.format(changes=changes))
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "it.py").write_text(NOTEBOOK)
    command = [sys.executable, "-m", "pynb_dag_runner", "run", "pipeline.py", "--executor", "process"]
    ran = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    run = read_run(Path(tmp_path, ran.stdout.strip()))
    assert run.status is RunStatus.SUCCEEDED
    attempts = {task.name: task.attempts[-1] for task in run.tasks}
    assert attempts["again"].outputs == {"return": 4}
    written = attempts[where].log if where else None
    log = ran.stderr if written is None else (run.folder / written).read_text()
    assert said in log
    page = (run.folder / "tasks/it/attempt-1/notebook.html").read_text()
    assert "A title" in page
    notebook = json.loads((run.folder / "tasks/it/attempt-1/notebook.ipynb").read_text())
    printed = [
        (output["name"], "".join(output["text"])) for cell in notebook["cells"] for output in cell.get("outputs", [])
    ]
    assert {name for name, _ in printed} == {"stdout", "stderr"}
    assert "by a child" in "".join(text for _, text in printed) + log
