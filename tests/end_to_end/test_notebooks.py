"""Notebooks of every kind, run in this process: the inline executor starts real kernels as Ray's workers do."""

import asyncio
import json
import re
from pathlib import Path
from textwrap import dedent

import jupytext
import nbformat
import pytest

from pynb_dag_runner import Pipeline, PipelineError, RunStatus, TaskStatus, UsageError, read_run, tracking
from pynb_dag_runner.notebooks import kernelspecs
from pynb_dag_runner.notebooks.kernel_names import OWN
from pynb_dag_runner.notebooks.source import UnreadableNotebook, read_notebook
from pynb_dag_runner.run_folder import read_attempt_details
from tests.end_to_end.one_notebook import run_one

SOURCE = """
    # %% tags=["parameters"]
    value = 1
    # %%
    from pynb_dag_runner import tracking
    tracking.set_output("value", repr(value))
"""


def test_a_notebook_in_any_format_gets_its_parameters(tmp_path: Path) -> None:
    notebook = jupytext.reads(dedent(SOURCE).lstrip(), fmt="py:percent")
    p = Pipeline("formats", base_dir=tmp_path)
    for name in ("a.py", "a.md", "a.Rmd", "a.ipynb", "a.lgt.py"):
        jupytext.write(notebook, tmp_path / name, fmt="py:light" if name == "a.lgt.py" else None)
        p.notebook(name, name=name, parameters={"value": [1.5, None, {"k": "ü\n'\""}]})
    result = p.run(executor="inline", progress=False, output_dir=tmp_path / "runs")
    expected = {"value": "[1.5, None, {'k': 'ü\\n\\'\"'}]"}
    assert {name: task.outputs for name, task in result.tasks.items()} == dict.fromkeys(result.tasks, expected)


VALUES = [
    (Path("/data/x"), "PosixPath('/data/x')"),
    (float("nan"), "nan"),
    ([float("-inf")], "[-inf]"),
    (10**30, str(10**30)),
    (True, "True"),
    ('"""\\ \t{x}', repr('"""\\ \t{x}')),
]
"""A parameter, and its ``repr`` in the notebook."""


def test_a_parameter_arrives_as_the_value_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(dedent(SOURCE).lstrip())
    p = Pipeline("values", base_dir=tmp_path)
    for number, (value, _) in enumerate(VALUES):
        p.notebook("a.py", name=str(number), parameters={"value": value})
    result = p.run(executor="inline", progress=False, output_dir=tmp_path / "runs")
    assert [result.tasks[str(number)].outputs for number in range(len(VALUES))] == [
        {"value": seen} for _, seen in VALUES
    ]


def test_parameters_come_after_the_cell_tagged_so_and_the_file_is_left_alone(tmp_path: Path) -> None:
    _, folder = run_one(tmp_path, "a.py", SOURCE, parameters={"value": 2})
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    assert [cell.source for cell in notebook.cells[:2]] == ["value = 1", "# Parameters\nvalue = 2\n"]
    assert (tmp_path / "a.py").read_text() == dedent(SOURCE).lstrip()


def test_the_evaluated_notebook_names_its_source_and_its_parameters(tmp_path: Path) -> None:
    _, folder = run_one(tmp_path, "a.py", SOURCE, parameters={"value": Path("/x")})
    metadata = json.loads((folder / "notebook.ipynb").read_text())["metadata"]
    assert metadata["papermill"] == {
        "input_path": str(tmp_path / "a.py"),
        "output_path": None,
        "parameters": {"value": "/x"},
    }


def test_leaving_early_with_success_is_a_success(tmp_path: Path) -> None:
    task, folder = run_one(tmp_path, "a.py", "# %%\nimport sys\nsys.exit(0)\n# %%\n1 / 0\n")
    assert task.status is TaskStatus.SUCCEEDED
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    assert notebook.cells[1].execution_count is None


def test_a_cell_that_is_skipped_is_not_executed(tmp_path: Path) -> None:
    source = """
        # %% tags=["skip-execution"]
        1 / 0
        # %%
        1
        # %%
        raise SystemExit(3)
    """
    task, folder = run_one(tmp_path, "a.py", source)
    assert task.failure is not None
    assert task.failure.message.startswith("sys.exit(3) in cell 2")
    record = json.loads((folder / "attempt.json").read_text())
    assert (record["cells"], record["cells_executed"]) == (3, 2)


def test_leaving_with_an_error_code_is_a_failure(tmp_path: Path) -> None:
    task, _ = run_one(tmp_path, "a.py", "# %%\nimport sys\nsys.exit(3)\n")
    assert task.failure is not None
    message = "sys.exit(3) in cell 1; sys.exit(0) would end the notebook with success"
    assert (task.failure.kind, task.failure.message) == ("SystemExit", message)


def test_a_cell_that_may_raise_does_not_fail_the_notebook(tmp_path: Path) -> None:
    task, _ = run_one(tmp_path, "a.py", '# %% tags=["raises-exception"]\n1 / 0\n# %%\nprint("on")\n')
    assert task.status is TaskStatus.SUCCEEDED


def test_an_interruption_at_the_timeout_shows_where_it_was_stuck(tmp_path: Path) -> None:
    task, folder = run_one(tmp_path, "a.py", "# %%\nimport time\ntime.sleep(600)\n# %%\nprint(1)\n", timeout_s=8)
    assert task.status is TaskStatus.TIMED_OUT
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    assert notebook.cells[0].outputs[0].ename == "KeyboardInterrupt"
    assert notebook.cells[1].outputs == []


WIDGET = """
    # %%
    import comm
    model = {"_model_name": "FloatProgressModel", "_model_module": "x", "_model_module_version": "1", "value": 0}
    bar = comm.create_comm(target_name="jupyter.widget", comm_id="bar", data={"state": model, "buffer_paths": []})
    # %%
    bar.send({"method": "update", "state": {"value": 3}, "buffer_paths": []})
    # %%
    others = [comm.create_comm(target_name="other", data={"state": state}) for state in ("on", {"_model_name": 1}, [1])]
    # %%
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [("", TaskStatus.SUCCEEDED), ("1 / 0", TaskStatus.FAILED), ("import os; os._exit(3)", TaskStatus.CRASHED)],
)
def test_widgets_keep_their_last_state_however_the_notebook_ends(tmp_path: Path, end: str, status: TaskStatus) -> None:
    task, folder = run_one(tmp_path, "a.py", dedent(WIDGET) + end)
    assert task.status is status
    saved = json.loads((folder / "notebook.ipynb").read_text())["metadata"]["widgets"]
    (state,) = saved["application/vnd.jupyter.widget-state+json"]["state"].values()
    assert state["state"]["value"] == 3


def test_what_cells_and_their_child_processes_print_is_logged_once(tmp_path: Path) -> None:
    source = "# %%\nimport os\n_ = os.system('echo from a child')\n# %%\nprint('from a cell')\n"
    _, folder = run_one(tmp_path, "a.py", source)
    assert (folder / "output.log").read_text() == "from a child\nfrom a cell\n"


def test_the_page_of_a_notebook_loads_nothing_from_the_network(tmp_path: Path) -> None:
    source = "# %%\nfrom IPython.display import HTML\nHTML('<b>bold</b>')\n# %% [markdown]\n# a *word*\n"
    _, folder = run_one(tmp_path, "a.py", source)
    page = (folder / "notebook.html").read_text()
    assert "<b>bold</b>" in page
    assert "<em>word</em>" in page
    assert re.findall(r"""(?:src|href)=["']?https?:[^>]*|url\(["']?https?:|import\(["']https?:.*""", page) == []


def test_a_working_directory_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    source = "# %%\nimport os\nfrom pynb_dag_runner import tracking\ntracking.set_output('cwd', os.getcwd())\n"
    task, _ = run_one(tmp_path, "a.py", source, cwd="elsewhere")
    assert task.outputs == {"cwd": str(tmp_path / "elsewhere")}


def test_a_kernelspec_that_is_not_there_is_no_obstacle_for_python(tmp_path: Path) -> None:
    metadata = {"kernelspec": {"name": "my-env", "display_name": "My env", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")], metadata=metadata)
    nbformat.write(notebook, tmp_path / "a.ipynb")
    task, _ = run_one(tmp_path, "a.ipynb")
    assert (task.status, task.attempts[0].kernel) == (TaskStatus.SUCCEEDED, OWN)


def test_a_kernel_for_another_language_that_is_not_there_is_found_before_the_run(tmp_path: Path) -> None:
    metadata = {"kernelspec": {"name": "nobodys", "display_name": "N", "language": "Nobodys"}}
    nbformat.write(nbformat.v4.new_notebook(metadata=metadata), tmp_path / "a.ipynb")
    reason = "it is written in nobodys and names the kernelspec 'nobodys'; no kernel for nobodys is installed"
    with pytest.raises(PipelineError, match=reason):
        run_one(tmp_path, "a.ipynb")


def test_another_installed_kernelspec_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "jupyter" / "kernels" / "other"
    folder.mkdir(parents=True)
    own = kernelspecs.KernelSpecs().get_kernel_spec(OWN)
    spec = {"argv": own.argv, "display_name": "Other", "language": "python", "env": {"WHICH": "other"}}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    source = "# %%\nimport os\nfrom pynb_dag_runner import tracking\ntracking.set_output('w', os.environ['WHICH'])\n"
    task, _ = run_one(tmp_path, "a.py", source, kernel="other")
    assert (task.outputs, task.attempts[0].kernel) == ({"w": "other"}, "other")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no.py", None, "there is no such file"),
        ("a.ipynb", b"{]", "it is no JSON: Expecting property name"),
        ("a.py", b"\xff\xfe", "it is no text in UTF-8"),
        ("a.docx", b"x", "its ending '.docx' is none of a notebook"),
    ],
)
def test_what_is_no_notebook_is_refused_in_words(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableNotebook, match=message):
        read_notebook(tmp_path / name)


def test_a_function_prints_to_the_terminal_and_to_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def speak() -> None:
        print("a word")
        tracking.log_metric("m", 1)

    p = Pipeline("speaking", base_dir=tmp_path)
    p.function(speak)
    result = p.run(executor="inline", progress=False, output_dir=tmp_path)
    run = read_run(result.folder)
    attempt = run.tasks[0].attempts[0]
    assert capsys.readouterr().out == "a word\n"
    assert attempt.log is not None
    assert (run.folder / attempt.log).read_text() == "a word\n"
    assert [metric.key for metric in read_attempt_details(run, attempt).metrics] == ["m"]


def test_inline_notebooks_are_refused_inside_an_event_loop(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("# %%\n1\n")

    async def inside() -> None:
        run_one(tmp_path, "a.py")

    with pytest.raises(UsageError, match="an event loop is running, as in Jupyter"):
        asyncio.run(inside())


def test_a_pipeline_runs_on_ray_from_within_a_notebook(tmp_path: Path) -> None:
    source = """
        # %%
        from pynb_dag_runner import Pipeline, tracking
        p = Pipeline("inner")
        def two(): return 2
        p.function(two)
        result = p.run(num_cpus=1)
        tracking.set_output("inner", result.tasks["two"].outputs)
    """
    task, folder = run_one(tmp_path, "a.py", source)
    assert task.outputs == {"inner": {"return": 2}}, (folder / "output.log").read_text()
    assert read_run(next((tmp_path / "runs" / "inner").iterdir())).status is RunStatus.SUCCEEDED
