"""Where a kernel can't be forked it is started, and where it can't be preloaded it is forked; the record says why."""

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import Pipeline, RunStatus
from pynb_dag_runner.events import Event, RunStarted
from pynb_dag_runner.notebooks import kernelspecs
from pynb_dag_runner.notebooks.kernel_names import OWN
from pynb_dag_runner.processes.fork_server.client import SWITCH, ServerPlace, ask
from pynb_dag_runner.processes.fork_server.wire import FIND, WAIT, ForkRequest
from tests.end_to_end.cli_process import pynb
from tests.faults.kernels import fork_server, kernel, run_notebooks, start_of

MODULES = {
    "fine": "",
    "starts_a_thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    "raises": "raise ValueError('no licence')",
    "exits": "import sys\nsys.exit('no licence')",
    "dies": "import os\nos._exit(3)",
    "prints": "import sys\nprint('one', file=sys.stderr)\nprint('deprecated')",
    "shows": "from IPython.display import display\ndisplay('a library that is loading')",
    "keeps_a_file": "kept = open(__file__)",
    "keeps_a_socket": "import socket\nkept = socket.socketpair()",
}


@dataclass(frozen=True)
class Case:
    """What stands in the way, and how the record says it.

    Attributes:
        remark: beginning of it; empty: there is none.
        driver: variables that are there from the beginning.
        options: of the task.
    """

    how: str
    remark: str
    preload: tuple[str, ...] = ()
    preloaded: tuple[str, ...] = ()
    driver: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    "nothing": Case("forked", "", ("fine",), ("fine",)),
    "the switch": Case("started", "there is no fork server: ", ("fine",), driver={SWITCH: "off"}),
    "another kernelspec": Case("started", "only kernels of the runner's own interpreter", options={"kernel": "other"}),
    "more threads": Case("forked", "", ("fine",), ("fine",), options={"num_cpus": 2}),
    "a thread": Case("forked", "importing fine, starts_a_thread started 1 threads", ("fine", "starts_a_thread")),
    "an error": Case("forked", "importing 'raises' raised ValueError: no licence", ("raises",)),
    # Before the run packages alone are looked for: a part is found only by importing the package.
    "a part that is not there": Case("forked", "importing 'json.none' raised ModuleNotFoundError", ("json.none",)),
    # What imports print or show, each notebook would.
    "a print": Case("forked", "what an import printed is not in the notebook: one", ("prints",), ("prints",)),
    "a display": Case("forked", "importing 'shows' raised RuntimeError: it shows something, which each", ("shows",)),
    "sys.exit": Case("forked", "importing 'exits' raised SystemExit: no licence", ("exits",)),
    "its end": Case("forked", "importing dies ended its process: exit code 3", ("dies",)),
    "a file": Case("forked", "importing keeps_a_file left files open", ("keeps_a_file",)),
    "a socket": Case("forked", "importing keeps_a_socket left files open", ("keeps_a_socket",)),
}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with modules to import ahead, and a kernelspec called "other"."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    folder = tmp_path / "jupyter" / "kernels" / "other"
    folder.mkdir(parents=True)
    argv = kernelspecs.KernelSpecs().get_kernel_spec(OWN).argv
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Other", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))  # where the check before the run looks
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_what_stands_in_the_way_is_said(base: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    case = CASES[name]
    for variable, value in case.driver.items():
        monkeypatch.setenv(variable, value)
    result = run_notebooks(base, {"it": "1"}, processors=2, preload=case.preload, **case.options)
    assert result.status is RunStatus.SUCCEEDED
    how, preloaded, remarks = start_of(result, "it")
    assert (how, tuple(preloaded)) == (case.how, case.preloaded)
    assert re.match(case.remark or "$", remarks), remarks


def test_an_import_that_hangs_is_waited_for_once_and_no_longer_than_it_hangs(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in a task
    pipe = base / "pipe"
    os.mkfifo(pipe)
    (base / "waits.py").write_text(f"open({str(pipe)!r}).read()")
    request = ForkRequest(arguments=(), cwd=str(base), environment=dict(os.environ))
    with fork_server("waits") as place:
        server = ask(place.socket, replace(request, purpose=FIND)).found()
        first = ask(server, replace(request, purpose=WAIT), bound_s=100.0)
        assert not first.is_answered(0.0)
        assert str(first.give_up()) == "the fork server did not answer within 100 s"
        late = "the fork server did not answer within 0.5 s"
        assert asyncio.run(_how(base, place)) == ("forked", (), (late,))
        pipe.write_text("")
        while asyncio.run(_how(base, place)) != ("forked", ("waits",), ()):
            pass


async def _how(folder: Path, place: ServerPlace) -> tuple[str, Sequence[str], Sequence[str]]:
    async with kernel(folder, place) as one:
        assert one.how is not None
        return one.how.how, one.how.preloaded, one.how.remarks


READ_ONCE = ("LC_ALL", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "PYTHONHASHSEED", "PYTHONWARNINGS")


def test_variables_that_are_read_once_are_not_those_of_the_server(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program sets them once the run has begun."""

    def listener(event: Event) -> None:
        if isinstance(event, RunStarted):
            for variable in READ_ONCE:
                monkeypatch.setenv(variable, "1")

    cell = f"tracking.set_output('seen', [os.environ.get(name) for name in {READ_ONCE}])"
    (base / "it.py").write_text(f"# %%\nimport os\nfrom pynb_dag_runner import tracking\n{cell}\n")
    pipeline = Pipeline("p", base_dir=base)
    pipeline.notebook("it.py")
    result = pipeline.run(executor="inline", progress=False, output_dir=base / "runs", listeners=[listener])
    assert result.tasks["it"].outputs == {"seen": ["1"] * len(READ_ONCE)}
    remark = f"environment variables that are read once differ: {', '.join(READ_ONCE)}"
    assert start_of(result, "it") == ("started", [], remark)


@pytest.mark.parametrize(
    ("preload", "sentence"),
    [
        ("['no_such_module']", "preload: there is no module 'no_such_module' in the runner's environment"),
        ("['import os']", "preload: expected names of modules, such as 'pandas'; got 'import os'"),
        ("['']", "preload: expected names of modules, such as 'pandas'; got ''"),
        ("[3]", "preload: expected names of modules, such as 'pandas'; got 3"),
        ("'no_such_module'", "preload: there is no module 'no_such_module' in the runner's environment"),
        ("3", "preload: expected names of modules, such as 'pandas'; got 3"),
    ],
)
@pytest.mark.parametrize("way", ["decorator", "builder"])
def test_a_mistake_in_preload_is_told_before_anything_runs(
    tmp_path: Path, way: str, preload: str, sentence: str
) -> None:
    (tmp_path / "it.py").write_text("# %%\n1\n")
    head = "from pynb_dag_runner import Pipeline, pipeline\n"
    decorated = f"@pipeline(preload={preload})\ndef p(q):\n    q.notebook('it.py')\n"
    built = f"p = Pipeline('p', preload={preload})\np.notebook('it.py')\n"
    (tmp_path / "pipeline.py").write_text(head + (decorated if way == "decorator" else built))
    done = pynb("run", "pipeline.py", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr == f"error: pipeline 'p': {sentence}\n"
    assert not (tmp_path / "runs").exists()
