"""What notebooks show does not depend on whether their imports were made before, or on how their kernels came about."""

import json
import re
from textwrap import dedent
from typing import Any

import nbformat
import pytest

from pynb_dag_runner import Pipeline, RunStatus
from pynb_dag_runner.processes.fork_server.client import SWITCH
from tests.faults.kernels import start_of

ASKS = """
    # Everything that libraries ask at their import to find out whether they run in a notebook.
    import builtins, logging, os, signal, sys
    import comm, IPython
    from IPython.core.interactiveshell import InteractiveShell
    from ipykernel.ipkernel import IPythonKernel
    from ipykernel.kernelapp import IPKernelApp

    shell = IPython.get_ipython()
    try:
        typed = get_ipython()
    except NameError:
        typed = None
    found = {
        "shell": [repr(type(shell)), typed is shell, shell is sys.modules["IPython"].get_ipython()],
        "builtins": sorted({"get_ipython", "__IPYTHON__", "display"} & vars(builtins).keys()),
        "singletons": [one.initialized() for one in (InteractiveShell, IPythonKernel, IPKernelApp)],
        "kernel": [repr(type(getattr(shell, "kernel", 0))), getattr(shell, "parent", 0) is getattr(shell, "kernel", 1)],
        "application": ["IPKernelApp" in getattr(shell, "config", {}), repr(type(IPKernelApp.instance().kernel))],
        "main": sorted(name for name in vars(sys.modules["__main__"]) if not name.startswith("_i")),
        "streams": [repr(type(one)) + f"{one.isatty()} {one.encoding} {one.closed} {one.name}" for one in
                    (sys.stdout, sys.stderr)],
        "hooks": [repr(type(sys.displayhook)), sys.excepthook.__qualname__, hasattr(sys, "ps1")],
        "interrupts": signal.getsignal(signal.SIGINT).__name__,
        "variables": {name: os.environ.get(name) for name in ("TERM", "FORCE_COLOR", "MPLBACKEND", "PAGER")},
        "modules": sorted({"ipykernel", "IPython", "zmq"} & sys.modules.keys()),
        "magics": len(shell.magics_manager.lsmagic()["line"]) if shell else None,
    }

    # What they register then, and what they keep.
    class Thing:
        pass

    class Events:
        kept = []

    output, log = sys.stdout, logging.getLogger("asks")
    log.addHandler(logging.StreamHandler())
    log.propagate = False
    if shell:
        shell.display_formatter.formatters["text/html"].for_type(Thing, lambda _: "<b>thing</b>")
        shell.events.register("post_run_cell", lambda result: Events.kept.append(result.success))
        shell.register_magic_function(lambda line: f"magic {line}", magic_name="asked")
        shell.push({"pushed": "by the import"})
        shell.set_custom_exc((ZeroDivisionError,), lambda shell, kind, error, trace, tb_offset=None: print("divided"))
        shell.input_transformers_post.append(lambda lines: [line.replace("SHORT", "'long'") for line in lines])
        comm.get_comm_manager().register_target("asks", lambda *_: None)
"""
CELLS = """
    # %%
    import asks, json
    print(json.dumps(asks.found, indent=1))
    # %%
    asks.log.warning("a handler that was made at the import")
    print("a stream that was kept", file=asks.output)
    # %%
    asks.Thing()
    # %%
    %asked here
    # %%
    print(asks.Events.kept, pushed, SHORT, "asks" in __import__("comm").get_comm_manager().targets)
    # %%
    import pandas
    pandas.DataFrame({f"column {number}": [number] for number in range(30)})
    # %%
    print(pandas.DataFrame({f"column {number}": [number] for number in range(30)}))
    pandas.get_option("display.max_columns"), pandas.get_option("display.width")
    # %%
    import matplotlib, matplotlib.pyplot as plt
    matplotlib.get_backend(), matplotlib.is_interactive(), plt._REPL_DISPLAYHOOK.name
    # %%
    _ = plt.plot([1, 3, 2])
    # %%
    plt.get_fignums()
    # %%
    %matplotlib inline
    plt.figure(figsize=(1, 1)), plt.isinteractive()
    # %%
    import warnings
    warnings.simplefilter("ignore")  # about ipywidgets, which is not installed
    from tqdm.auto import tqdm
    from tqdm.autonotebook import tqdm as other
    tqdm.__module__, other.__module__
    # %%
    import rich, rich.pretty, rich.table
    console = rich.get_console()
    print(console.is_jupyter, console.is_terminal, console.width)
    rich.print("[bold]text[/bold]", {"a": 1})
    # %%
    table = rich.table.Table("column")
    table.add_row("value")
    table
    # %%
    rich.pretty.install()
    {"a": [1, 2, 3]}
    # %%
    import os
    get_ipython().starting_dir == os.getcwd(), [str(one) == os.getcwd() for one in _dh], In[1][:11]
    # %% tags=["raises-exception"]
    1 / 0
"""
PRELOAD = ["asks", "pandas", "matplotlib.pyplot", "tqdm.auto", "tqdm.autonotebook", "rich.pretty", "rich.table"]
WAYS = {"preloaded": PRELOAD, "forked": [], "started": []}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The outputs of each cell, by the way in which the kernel came about."""
    outputs = {}
    with pytest.MonkeyPatch.context() as patch:
        for way, preload in WAYS.items():
            base = tmp_path_factory.mktemp(f"shows-{way}-")
            (base / "asks.py").write_text(dedent(ASKS))
            (base / "it.py").write_text(dedent(CELLS))
            patch.setenv("PYTHONPATH", str(base))
            patch.syspath_prepend(str(base))  # where the check before the run looks
            patch.setenv(SWITCH, "off" if way == "started" else "")
            pipeline = Pipeline("shows", base_dir=base, preload=preload)
            pipeline.notebook("it.py")
            result = pipeline.run(executor="process", num_cpus=1, progress=False, output_dir=base / "runs")
            assert result.status is RunStatus.SUCCEEDED, result.tasks["it"].failure
            how, preloaded, remarks = start_of(result, "it")
            assert (how, preloaded) == ("started" if way == "started" else "forked", preload), remarks
            notebook = nbformat.read(
                result.folder / result.tasks["it"].attempts[0].folder / "notebook.ipynb", as_version=4
            )
            text = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
            outputs[way] = json.loads(re.sub(r"0x[0-9a-f]+", "", text.replace(str(base), "")))
    return outputs


@pytest.mark.parametrize("way", ["preloaded", "forked"])
def test_every_cell_shows_the_same(shown: dict[str, list[Any]], way: str) -> None:
    assert _lines(shown[way]) == _lines(shown["started"])
    assert sum(map(bool, shown[way])) == 17


def test_they_show_what_they_show_in_a_notebook(shown: dict[str, list[Any]]) -> None:
    text = json.dumps(shown["preloaded"])
    for what in (
        "30 columns",
        "<b>thing</b>",
        "a stream that was kept",
        "divided",
        "magic here",
        "image/png",
        "(20, 80)",
    ):
        assert what in text


def _lines(outputs: list[Any]) -> list[str]:
    return json.dumps(outputs, indent=1).replace("\\n", "\n").splitlines()
