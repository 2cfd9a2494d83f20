"""Notebooks in other languages than Python: with IRkernel, bash_kernel, and a language that was made up for this."""

from pathlib import Path
from typing import Any

import nbformat
import pytest

from pynb_dag_runner import PipelineError, TaskStatus, read_run
from pynb_dag_runner.api.definitions import notebook_pipeline
from pynb_dag_runner.notebooks import kernel_choice, translators
from pynb_dag_runner.notebooks.languages import of_notebook
from pynb_dag_runner.notebooks.papermill import papermill_translators
from pynb_dag_runner.notebooks.source import read_notebook
from tests.end_to_end.cli_process import pynb
from tests.end_to_end.one_notebook import make_kernelspec, run_one

QUUX = """
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel

class Quux(Kernel):
    implementation = banner = "quux"
    implementation_version = "1"
    language_info = {"name": "quux", "mimetype": "text/x-quux", "file_extension": ".quux"}

    def do_execute(self, code, silent, *args, **kwargs):
        self.send_response(self.iopub_socket, "stream", {"name": "stdout", "text": f"quux reads {code}\\n"})
        return {"status": "ok", "execution_count": self.execution_count, "payload": [], "user_expressions": {}}

IPKernelApp.launch_instance(kernel_class=Quux)
"""


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for kernelspecs, beside those of the machine."""
    (tmp_path / "jupyter").mkdir()
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    return tmp_path / "jupyter"


@pytest.fixture
def quux(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (kernels / "quux_kernel.py").write_text(QUUX)
    make_kernelspec(kernels, "quux-2", "Quux", "quux_kernel", env={"PYTHONPATH": str(kernels)})


@pytest.fixture
def bash(kernels: Path) -> None:
    make_kernelspec(kernels, "my-bash", "bash", "bash_kernel")


@pytest.fixture
def ir() -> None:
    try:
        kernel_choice.choose(None, {}, "R")
    except LookupError:
        pytest.skip("there is no IRkernel; make test installs it where it may, as Debian's r-cran-irkernel")


@pytest.mark.parametrize(
    ("metadata", "suffix", "language"),
    [
        ({}, ".ipynb", "python"),
        ({}, ".py", "python"),
        ({}, ".md", "python"),
        ({}, ".R", "R"),
        ({}, ".r", "R"),
        ({}, ".jl", "julia"),
        ({}, ".ps1", "powershell"),
        ({}, ".sh", "bash"),
        ({}, ".cs", "csharp"),
        ({"kernelspec": {"name": "my-env", "language": "python"}}, ".R", "python"),
        ({"kernelspec": {"name": "my-env", "language": "C++17"}}, ".ipynb", "c++"),
        ({"kernelspec": {"name": "ir"}}, ".ipynb", "R"),
        ({"kernelspec": {"name": "ir42"}}, ".ipynb", "R"),
        ({"kernelspec": {"name": "julia-1.11"}}, ".ipynb", "julia"),
        ({"kernelspec": {"name": ".net-csharp"}}, ".ipynb", "csharp"),
        ({"kernelspec": {"name": "bash"}}, ".md", "bash"),
        ({"kernelspec": {"name": "go-figures"}}, ".ipynb", "python"),  # the name of an environment
        ({"kernelspec": {"name": "ir", "language": "python"}}, ".ipynb", "python"),
        ({"language_info": {"name": "R"}}, ".ipynb", "R"),
        ({"language_info": {"name": "ipython"}}, ".ipynb", "python"),
        ({"jupytext": {"main_language": "julia"}}, ".md", "julia"),
    ],
)
def test_the_language_comes_from_the_metadata_or_else_from_the_ending(
    metadata: dict[str, Any], suffix: str, language: str
) -> None:
    assert of_notebook(metadata, suffix) == language


@pytest.mark.parametrize(
    ("name", "source", "language"),
    [
        ("a.R", 'print("x")\n', "R"),
        ("a.Rmd", "# Title\n\n```{r}\nprint(1)\n```\n", "R"),
        ("b.Rmd", "# Title\n\n```{python}\nprint(1)\n```\n", "python"),
        ("a.md", "# Title\n\n```bash\necho 1\n```\n", "bash"),
        ("b.md", "# Title\n\n```python\nprint(1)\n```\n\n```bash\necho 1\n```\n", "python"),
        ("c.md", "---\nkernelspec:\n  name: ir\n  display_name: R\n---\n\n```{code-cell}\nprint(1)\n```\n", "R"),
        ("a.py", "# %%\n1\n", "python"),
    ],
)
def test_the_language_of_a_text_notebook(tmp_path: Path, name: str, source: str, language: str) -> None:
    (tmp_path / name).write_text(source)
    assert read_notebook(tmp_path / name).language == language


def test_a_language_without_a_kernel_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.logtalk").write_text("% %%\n:- object(a).\n")
    reason = "it is written in logtalk; no kernel for logtalk is installed. Install one, or choose another with kernel="
    with pytest.raises(PipelineError, match=reason):
        run_one(tmp_path, "a.logtalk")
    checked = pynb("check", "a.logtalk", cwd=tmp_path)
    assert checked.returncode == 2
    assert reason in checked.stderr
    assert not (tmp_path / "runs").exists()


def test_a_chosen_kernel_runs_what_is_written_in_another_language(tmp_path: Path, quux: None) -> None:
    task, folder = run_one(tmp_path, "a.logtalk", "% %%\n:- object(a).\n", kernel="quux-2")
    assert task.status is TaskStatus.SUCCEEDED
    assert (folder / "output.log").read_text() == "quux reads :- object(a).\n"


def notebook_in_quux(base: Path) -> None:
    metadata = {"kernelspec": {"name": "quux-1", "display_name": "Quux", "language": "quux"}}
    cells = [nbformat.v4.new_code_cell("no Python, this")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), base / "a.ipynb")


def test_another_kernel_of_the_language_is_taken_and_named(tmp_path: Path, quux: None) -> None:
    notebook_in_quux(tmp_path)
    task, folder = run_one(tmp_path, "a.ipynb")
    assert (task.status, task.attempts[0].kernel) == (TaskStatus.SUCCEEDED, "quux-2")
    chosen = "its kernelspec 'quux-1' is not installed; it runs in 'quux-2', which is for quux"
    assert (folder / "output.log").read_text() == f"[pynb-dag-runner] {chosen}\nquux reads no Python, this\n"
    note = f"task 'it': notebook {tmp_path / 'a.ipynb'}: {chosen}"
    assert read_run(folder.parents[2]).warnings == (note,)
    checked = pynb("check", "a.ipynb", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, f"note: {note.replace('it', 'a', 1)}\n")


def test_parameters_that_nobody_can_write_are_refused(tmp_path: Path, quux: None) -> None:
    notebook_in_quux(tmp_path)
    with pytest.raises(
        PipelineError, match="papermill can't write parameters in quux, so this notebook can't be given"
    ):
        run_one(tmp_path, "a.ipynb", parameters={"n": 1})


R_VALUES = """
    # %% tags=["parameters"]
    count <- 1
    # %%
    dput(list(count, flag, nothing, name, xs, `_table`, low))
"""


def test_r_receives_parameters(tmp_path: Path, ir: None) -> None:
    values = {
        "count": 3,
        "flag": True,
        "nothing": None,
        "name": 'ü "$x" \\n\n😀',
        "xs": [1.5, "a", None],
        "_table": {"k": [False]},
        "low": [float("-inf")],
    }
    task, folder = run_one(tmp_path, "a.R", R_VALUES, parameters=values)
    log = (folder / "output.log").read_text()
    assert (task.status, task.attempts[0].kernel) == (TaskStatus.SUCCEEDED, "ir"), log
    seen = r"""list(3, TRUE, NULL, "ü \"$x\" \\n\n😀", list(1.5, "a", NULL), list(k = list(FALSE)), list(-Inf))"""
    assert "".join(log.split()) == seen.replace(" ", "")


def test_a_failed_r_notebook_says_why_and_has_its_page(tmp_path: Path, ir: None) -> None:
    source = (
        "---\ntitle: An R notebook\n---\n\n```{r}\ncat('before')\nstop('wrong')\n```\n\n```{r}\ncat('after')\n```\n"
    )
    task, folder = run_one(tmp_path, "a.Rmd", source)
    assert task.status is TaskStatus.FAILED
    assert task.failure is not None
    assert "wrong" in task.failure.message
    assert (folder / "output.log").read_text() == "before"
    assert "wrong" in (folder / "notebook.html").read_text()


def test_a_stuck_r_notebook_is_ended(tmp_path: Path, ir: None) -> None:
    task, folder = run_one(tmp_path, "a.R", "cat('here\\n')\nSys.sleep(600)\n", timeout_s=6)
    assert task.status is TaskStatus.TIMED_OUT
    assert (folder / "output.log").read_text() == "here\n"


def test_a_single_notebook_takes_parameters_that_only_python_would_not_find(tmp_path: Path) -> None:
    (tmp_path / "a.R").write_text('# %% tags=["parameters"]\ncount <- 1\n# %%\ncat(count)\n')
    (task,) = notebook_pipeline(tmp_path / "a.R").define({"count": 3})._tasks
    assert task.parameters == {"count": 3}


def test_a_failed_bash_cell_says_its_exit_code_and_what_it_printed_last(tmp_path: Path, bash: None) -> None:
    source = """
        # %%
        printf '%s|' "$n" "$flag" "$nothing" "$name" "${#xs[@]}" "${xs[0]}"
        # %%
        echo 'no such table' >&2
        (exit 3)
    """
    values = {"n": 5, "flag": True, "nothing": None, "name": "ü '$x\"\n", "xs": ["a b", None, 2]}
    task, folder = run_one(tmp_path, "a.sh", source, parameters=values)
    assert task.attempts[0].kernel == "my-bash"
    assert (folder / "output.log").read_text().split() == ["5|true||ü", "'$x\"", "|3|a", "b|", "no", "such", "table"]
    assert task.failure is not None
    assert (task.failure.kind, task.failure.message) == ("CellFailed", "exit code 3 in cell 3: no such table")
    assert task.failure.traceback == "no such table"


@pytest.mark.parametrize(
    ("name", "values", "problem"),
    [
        ("a.sh", {"x": {"a": 1}}, "parameter 'x' can't be written in bash: bash has no value for a mapping"),
        ("a.sh", {"x": [[1]]}, "parameter 'x' can't be written in bash: an array in bash holds no arrays"),
        ("a.sh", {"x": "a\0b"}, "parameter 'x' can't be written in bash: a text in bash holds no NUL"),
    ],
)
def test_what_bash_has_not_is_refused(
    tmp_path: Path, bash: None, name: str, values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(PipelineError) as refused:
        run_one(tmp_path, name, "# %%\necho\n", parameters=values)
    assert refused.value.problems == (f"task 'it': {problem}",)


@pytest.mark.parametrize(
    ("language", "value", "written"),
    [
        ("R", 'ü😀"', r'x = "\u00fc\U0001f600\""'),
        ("R", 2**53 + 1, None),
        ("R", {"": 1}, None),
        ("R", float("nan"), "x = NaN"),
        ("julia", "5 $ ü\n", r'x = "5 \$ \u00fc\n"'),
        ("julia", float("inf"), "x = Inf"),
        ("scala", "😀", r'val x = "\ud83d\ude00"'),
        ("scala", float("-inf"), "val x = Double.NegativeInfinity"),
        ("scala", 2**63, None),
        ("powershell", "plain text", '$x = "plain text"'),
        ("powershell", "$x", None),
        ("matlab", "ü", None),
        ("csharp", None, None),
    ],
)
def test_values_in_languages_that_write_them_differently(language: str, value: Any, written: str | None) -> None:
    problems = translators.problems("some-kernel", language, {"x": value})
    if written is None:
        assert len(problems) == 1
        assert problems[0].startswith(f"parameter 'x' can't be written in {language}: ")
    else:
        assert problems == []
        writer = translators.writer_of("some-kernel", language)
        assert papermill_translators.find_translator(writer, writer).codify({"x": value}).split("\n")[1] == written
