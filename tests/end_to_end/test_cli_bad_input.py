"""Bad input: each with one clear sentence and exit code 2, before Ray is even imported, and no run folder is made."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.cli_process import pynb, write

HEAD = "from pathlib import Path\nimport numpy\nfrom pynb_dag_runner import Pipeline, pipeline\n\n"
ONE = HEAD + (
    "def show(count: int) -> None: ...\n\n"
    "@pipeline\n"
    "def one(p: Pipeline, count: int = 1, sizes: list[float] = [1.0]) -> None:\n"
    "    p.function(show, parameters={'count': count})\n"
)
TWO = ONE + "\n@pipeline\ndef two(p: Pipeline) -> None:\n    p.function(show, parameters={'count': 2})\n"
NOTEBOOK = "# %% tags=['parameters']\nvalue = 1\n"
WRONG = HEAD + (
    "def work() -> None: ...\n\n"
    "@pipeline\n"
    "def wrong(p: Pipeline) -> None:\n"
    "    p.function(work)\n"
    "    p.function(work)\n"
    "    p.notebook('missing.py')\n"
    "    p.notebook('broken.ipynb')\n"
    "    p.notebook('good.py', name='array', parameters={'value': numpy.ones(2)})\n"
    "    p.notebook('good.py', name='object', parameters={'value': {'dir': object()}})\n"
    "    p.notebook('good.py', name='key', parameters={'value': {range(2): 1}})\n"
    "    p.function(work, name='extra', parameters={'colour': 1})\n"
    "    p.notebook('good.py', name='whole', parameters={'value': [p.notebook('good.py', name='given')]})\n"
    "    p.function(work, name='a', after=['b'])\n"
    "    p.function(work, name='b', after=['a'])\n"
)
BROKEN_OUTPUT = HEAD + (
    "from pynb_dag_runner import tracking\n\n"
    "def give(name: str = 'number') -> int:\n    tracking.set_output(name, 1)\n    return 1\n\n"
    "def take(x: int) -> None: ...\n\n"
    "@pipeline\n"
    "def outputs(p: Pipeline) -> None:\n"
    "    p.function(take, parameters={'x': p.function(give).output('no_such_output')})\n"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {
        "one.py": ONE,
        "two.py": TWO,
        "wrong.py": WRONG,
        "outputs.py": BROKEN_OUTPUT,
        "none.py": "x = 1\n",
        "good.py": NOTEBOOK,
        "broken.ipynb": "{not a notebook",
        "no_mapping.yaml": "[1, 2]\n",
        "file": "",
    }
    return write(tmp_path_factory.mktemp("project"), files)


def refused(*arguments: object, cwd: Path) -> str:
    """What a command says on stderr that ends with exit code 2 and has run nothing."""
    done = pynb(*arguments, cwd=cwd, env={"PYTHONPROFILEIMPORTTIME": "1"})
    imports = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("import time:"))
    assert (done.returncode, done.stdout) == (2, ""), said
    assert imports
    assert not [line for line in imports if line.rpartition("|")[2].strip() == "ray"]
    assert "Traceback" not in said
    assert not (cwd / "runs").exists()
    return said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["on.py"], "error: there is no file 'on.py'; did you mean 'one.py'?"),
        (["none.py"], "error: there is no pipeline in 'none.py'"),
        (["two.py"], "error: there are 2 pipelines in 'two.py'; name one of two.py:one, two.py:two"),
        (["one.py", "--output-dir", "file/runs"], "error: can't make a run folder in"),
        (["broken.ipynb"], "broken.ipynb"),
        (["one.py", "-p", "count"], "got 'count', expected KEY=VALUE"),
        (["one.py", "--parameters-file", "no_mapping.yaml"], "holds a list, expected a mapping of names to values"),
        (["one.py", "--parameters-file", "absent.yaml"], "'absent.yaml' can't be read: No such file or directory"),
        (["one.py", "--task", "shwo"], "there is no task 'shwo'; did you mean 'show'?"),
    ],
)
def test_run_refuses(project: Path, arguments: list[str], said: str) -> None:
    assert said in refused("run", *arguments, cwd=project)


def test_every_wrong_parameter_is_named_at_once(project: Path) -> None:
    said = refused("run", "one.py", "-p", "count=many", "-p", "sizes=[1, true, null]", "-p", "cuont=1", cwd=project)
    assert said.splitlines()[0] == "error: there is no parameter 'cuont'; did you mean 'count'?"
    assert "parameter 'count': got 'many', expected int" in said
    assert "parameter 'sizes'[2]: got None, expected list[float]" in said


def test_everything_wrong_with_a_pipeline_is_said_at_once(project: Path) -> None:
    lines = refused("check", "wrong.py", cwd=project).splitlines()
    assert all(line.startswith("error: ") for line in lines)
    for words in (
        ["'work'", "name"],  # two tasks of one name
        ["missing.py"],  # no such notebook
        ["broken.ipynb"],  # no notebook in the file
        ["'array'", "numpy.ndarray", "an artifact"],  # too much for a cell of source code
        ["'object'", "'dir'"],  # a value that can't be written down, inside a dict
        ["'key'", "range(0, 2)"],  # as a key
        ["'extra'", "'colour'"],  # no such argument of the function
        ["'whole'", "'value'", "'given'", ".output()"],  # a task where a value of it is meant
        ["cycle", "a -> b -> a"],  # the tasks on it
    ):
        assert [line for line in lines if all(word in line for word in words)], (words, lines)


def test_an_output_that_was_never_set_fails_the_task_that_needs_it(project: Path, tmp_path: Path) -> None:
    done = pynb(
        "run", "outputs.py", "--executor", "inline", "--json", "--no-progress", "--output-dir", tmp_path, cwd=project
    )
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert [task["status"] for task in document["tasks"]] == ["SUCCEEDED", "FAILED"]
    assert "no_such_output" in document["tasks"][1]["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--upstream"], "--task is not given"),
        (["--executor", "inline", "--num-cpus", "2"], "is for --executor ray and process"),
        (["--ray-address", "auto", "--num-cpus", "2"], "the cluster at --ray-address has its own number"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(project: Path, arguments: list[str], said: str) -> None:
    assert said in refused("run", "one.py", *arguments, cwd=project)


@pytest.mark.parametrize("command", ["show", "report", "graph"])
def test_no_run_folder(project: Path, tmp_path: Path, command: str) -> None:
    assert (
        refused(command, tmp_path, cwd=project) == f"error: {tmp_path}: it is no run folder: there is no run.json in it"
    )


def test_no_directory_to_list(project: Path) -> None:
    assert refused("list", "no_such", cwd=project) == "error: there is no directory 'no_such'"


def test_an_unknown_command_names_the_nearest(project: Path) -> None:
    assert "there is no command 'chekc'; did you mean 'check'?" in refused("chekc", "one.py", cwd=project)
