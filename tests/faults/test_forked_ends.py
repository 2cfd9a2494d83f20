"""How a forked kernel ends: as a started one does, to the last byte of what it leaves. Each row runs as both."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from pynb_dag_runner import Outcome, Pipeline, RunResult
from pynb_dag_runner.processes.fork_server.client import SWITCH
from tests.faults.kernels import start_of

HELPER = """
    import io, sys, types, weakref
    kept = []

    class Last:
        def __del__(self):
            writer(self.path)  # finds what else is in this module

    def work():
        while True:
            kept.append(io.StringIO()), kept.clear()

    def writer(path):
        path.write_text("finalized")

    class Meta(type):
        __hash__ = None
        def __instancecheck__(self, _): raise ValueError("asked")
        def __subclasscheck__(self, _): raise ValueError("asked")

    class Odd(metaclass=Meta):
        __slots__ = ()
        def __getattribute__(self, name): raise ValueError(name)
        def __repr__(self): raise ValueError("repr")
        def __eq__(self, _): raise ValueError("compared")
        __hash__ = None

    class Claims:
        __slots__ = ()
        __class__ = property(lambda self: types.ModuleType)

    class Proxy(types.ModuleType):
        def __getattribute__(self, name): raise SystemExit(9)

    class Stuck(io.StringIO):
        def flush(self): raise SystemExit(9)

    class Leaves:
        def __del__(self):
            sys.modules.pop("zz_gone", None)

    def fill_modules():
        odd = [None, 3, "text", Odd(), Odd, Claims(), Proxy("proxy"), object(), Leaves(), weakref.proxy(Claims)]
        sys.modules.update({f"odd_{number}": one for number, one in enumerate(odd)})
        sys.modules["zz_gone"] = types.ModuleType("zz_gone")
        sys.modules[3] = None
        types.kept = [Proxy("proxy"), Stuck()]  # by a module that the server has, too
        sys.modules["odd_kept"] = types.kept[0]
"""


@dataclass(frozen=True)
class End:
    """A notebook's only cell, and what must be there when its kernel has ended.

    Attributes:
        cell: ``here`` is a folder of its own, ``helper`` a module that it imported.
        left: content of each file in that folder.
        failure: beginning of the failure's message.
    """

    cell: str
    left: Mapping[str, str]
    outcome: Outcome = Outcome.SUCCEEDED
    failure: str = ""


ENDS = {
    "exit handlers run": End("import atexit\natexit.register((here / 'a').write_text, 'at exit')", {"a": "at exit"}),
    "one that exits does not keep the others from running": End(
        "import atexit, sys\natexit.register((here / 'a').write_text, 'at exit')\natexit.register(sys.exit, 3)",
        {"a": "at exit"},
    ),
    "a file of the notebook's is flushed": End("f = open(here / 'a', 'w')\n_ = f.write('text')", {"a": "text"}),
    "a binary file, too": End("f = open(here / 'a', 'wb')\n_ = f.write(b'bytes')", {"a": "bytes"}),
    "a file of an imported module's": End(
        "helper.f = open(here / 'a', 'w')\n_ = helper.f.write('text')", {"a": "text"}
    ),
    # The module was imported before the fork.
    "a file of a module that the server has, too": End(
        "import json\njson.f = open(here / 'a', 'w')\n_ = json.f.write('text')", {"a": "text"}
    ),
    "finalizers of an imported module find their functions": End(
        "last = helper.Last()\nlast.path = here / 'a'\nhelper.kept.append(last)\ndel last", {"a": "finalized"}
    ),
    # cffi's libraries stand among the modules and say that they are one, without being weakly referable.
    "a library of cffi's": End(
        """
        import sys, types, cryptography.hazmat.bindings._rust
        claim = [module for module in sys.modules.values() if isinstance(module, types.ModuleType)]
        assert any(not issubclass(type(module), types.ModuleType) for module in claim)
        f = open(here / "a", "w")
        _ = f.write("text")
        """,
        {"a": "text"},
    ),
    "odd things among the modules": End(
        """
        import importlib.util, sys, types
        helper.fill_modules()
        spec = importlib.util.find_spec("loaded_when_used")
        spec.loader = importlib.util.LazyLoader(spec.loader)
        lazy = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(lazy)
        types.lazy = lazy  # a module that the server has, too, holds it
        f = helper.f = open(here / "a", "w")
        _ = f.write("text")
        """,
        {"a": "text"},
    ),
    "a thread is waited for": End(
        """
        import threading
        def late():
            threading.main_thread().join()
            (here / "a").write_text("late")
        threading.Thread(target=late).start()
        """,
        {"a": "late"},
    ),
    "a pool's threads end what they do": End(
        """
        import concurrent.futures, time
        pool = concurrent.futures.ThreadPoolExecutor(2)
        done = pool.submit(lambda: (time.sleep(0.2), (here / "a").write_text("done")))
        """,
        {"a": "done"},
    ),
    "a daemon thread that works on": End(
        """
        import json, threading
        json.helper = helper  # a module that the server has, too, holds it
        threading.Thread(target=helper.work, daemon=True).start()
        f = open(here / "a", "w")
        _ = f.write("text")
        """,
        {"a": "text"},
    ),
    "children of multiprocessing": End(
        """
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool:
            (here / "a").write_text(str(pool.map(abs, [-1, -2])))
        """,
        {"a": "[1, 2]"},
    ),
    "children of multiprocessing that are started": End(
        """
        import multiprocessing
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            (here / "a").write_text(str(pool.map(abs, [-1, -2])))
        """,
        {"a": "[1, 2]"},
    ),
    "os._exit": End("import os\nos._exit(3)", {}, Outcome.CRASHED, "the kernel died in cell 1: exit code 3"),
    "a segmentation fault": End(
        "import ctypes\nctypes.string_at(0)", {}, Outcome.CRASHED, "the kernel died in cell 1: signal SIGSEGV"
    ),
    "SIGTERM": End(
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nwhile True: signal.pause()",
        {},
        Outcome.CRASHED,
        "the kernel died in cell 1: signal SIGTERM",
    ),
    "sys.exit": End("import sys\nsys.exit('no data')", {}, Outcome.FAILED, "no data"),
}


@pytest.fixture(scope="module", params=["forked", "started"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """One run with a notebook for every end."""
    base = tmp_path_factory.mktemp(request.param)
    (base / "helper.py").write_text(dedent(HELPER))
    (base / "loaded_when_used.py").write_text("raise SystemExit('it was used')")
    pipeline = Pipeline("ends", base_dir=base)
    for number, (name, end) in enumerate(ENDS.items()):
        (base / f"of-{number}").mkdir()
        begin = f"from pathlib import Path\nimport helper\nhere = Path({str(base / f'of-{number}')!r})"
        (base / f"{number}.py").write_text(f"# %%\n{begin}\n{dedent(end.cell)}")
        pipeline.notebook(f"{number}.py", name=name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "off" if request.param == "started" else "")
        return pipeline.run(executor="process", num_cpus=2, progress=False, output_dir=base / "runs")


@pytest.mark.parametrize("name", ENDS)
def test_a_kernel_ends_in_order(run: RunResult, name: str) -> None:
    number, end, task = [*ENDS].index(name), ENDS[name], run.tasks[name]
    assert task.attempts[0].outcome is end.outcome, task.failure
    assert (task.failure.message if task.failure else "").startswith(end.failure)
    folder = run.folder.parents[2] / f"of-{number}"
    assert {path.name: path.read_text() for path in folder.iterdir()} == end.left


def test_they_came_about_as_they_should(run: RunResult) -> None:
    assert {start_of(run, name)[0] for name in ENDS} == {run.folder.parents[2].name.rstrip("0")}


SPEAK = {
    # sys.exit in a notebook: IPython's own advice.
    "sys.exit",
    # ipykernel waits for multiprocessing's resource tracker, which ignores SIGTERM, for longer than a kernel may take.
    "children of multiprocessing that are started",
    # IPython empties the notebook's namespace at its exit; a thread that works on then may notice, or not.
    "a daemon thread that works on",
}


@pytest.mark.parametrize("run", ["forked"], indirect=True)  # a started one does speak of its daemon threads
@pytest.mark.parametrize("name", [name for name in ENDS if name not in SPEAK])
def test_nothing_is_said_about_it_in_the_log(run: RunResult, name: str) -> None:
    log = run.folder / run.tasks[name].attempts[0].folder / "output.log"
    assert not log.exists(), log.read_text()


def test_a_forked_kernel_does_not_wait_for_finalizers_that_take_long(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nclass Slow:\n    def __del__(self): time.sleep(600)\nkept = Slow()\n"
    )
    source = f"# %%\nimport slow\nslow.file = open({str(tmp_path / 'a')!r}, 'w')\n_ = slow.file.write('text')\n"
    (tmp_path / "a.py").write_text(source)
    pipeline = Pipeline("ends", base_dir=tmp_path)
    pipeline.notebook("a.py", name="it")
    result = pipeline.run(executor="process", num_cpus=1, progress=False, output_dir=tmp_path / "runs")
    assert (result.tasks["it"].attempts[0].outcome, start_of(result, "it")[0]) == (Outcome.SUCCEEDED, "forked")
    assert (tmp_path / "a").read_text() == "text"
    log = result.folder / result.tasks["it"].attempts[0].folder / "output.log"
    assert not log.exists(), log.read_text()


SLOW_END = """
# %%
import atexit, time
def work_on(busy_s=0.06, pause_s=0.2, rounds=12):
    for _ in range(rounds):
        give_up = time.process_time() + busy_s
        while time.process_time() < give_up:
            pass
        time.sleep(pause_s)
    open({path!r}, "w").write("done")
_ = atexit.register(work_on)
"""
"""Takes more than the 2 s of a kernel's end by the clock, and less of processor time, as on a busy machine."""


def test_a_kernel_that_gets_on_with_its_end_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SLOW_END.format(path=str(tmp_path / "end")).lstrip())
    pipeline = Pipeline("ends", base_dir=tmp_path)
    pipeline.notebook("a.py", name="it")
    result = pipeline.run(executor="inline", progress=False, output_dir=tmp_path / "runs")
    assert (tmp_path / "end").read_text() == "done"
    log = result.folder / result.tasks["it"].attempts[0].folder / "output.log"
    assert not log.exists(), log.read_text()
