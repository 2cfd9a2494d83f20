"""The command line itself: help, plug-ins, streams, exit codes. Tasks run inline here: no Ray is needed for that."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.cli_process import PATIENCE_S, PROGRAM, environment, pynb, write

PIPELINE = """
import os, sys
from pynb_dag_runner import Pipeline, pipeline

print("printed while loading")
os.system("echo printed by a child process")

def double(x: int | list[int]) -> int:
    print("printed by a task")
    return 2 * x

def fail(x: int) -> None:
    raise ValueError(f"{x} is too much")

@pipeline
def sums(p: Pipeline, x: int = 1, bad: bool = False) -> None:
    doubled = p.function(double, parameters={"x": x})
    if bad:
        p.function(fail, parameters={"x": doubled.output()}, retries=1)
        p.function(double, name="later", parameters={"x": [doubled.output()]}, after=["fail"])
"""
INLINE = ("--executor", "inline")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path, {"sums.py": PIPELINE})


def entry_points(directory: Path, *lines: str) -> Path:
    """A distribution that registers commands."""
    metadata = "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n"
    table = "\n".join(["[pynb_dag_runner.commands]", *lines, ""])
    return write(directory, {"other-1.0.dist-info/METADATA": metadata, "other-1.0.dist-info/entry_points.txt": table})


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from pynb_dag_runner.cli import main
code = main(["--help"])
heavy = {"ray", "mlflow", "pydantic", "rich", "papermill", "jupytext", "nbconvert", "nbformat", "psutil", "yaml"}
print(code, sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "report  Write report.html" in done.stdout


@pytest.mark.parametrize("command", ["show", "list"])
def test_what_tells_of_a_run_loads_neither_rich_nor_what_draws_or_runs(project: Path, command: str) -> None:
    folder = Path(pynb("run", "sums.py", *INLINE, cwd=project).stdout.strip())
    code = f"""
import sys
from pynb_dag_runner.cli import main
code = main(["{command}", sys.argv[1]])
heavy = {{"rich", "psutil", "jinja2", "cloudpickle", "ray", "papermill"}}
heavy |= {{"pynb_dag_runner.model.graph", "pynb_dag_runner.reports.console", "pynb_dag_runner.reports.graph"}}
print(code, sorted(heavy & set(sys.modules)))
"""
    place = folder if command == "show" else folder.parent
    done = subprocess.run([sys.executable, "-c", code, place], cwd=project, capture_output=True, text=True, check=True)
    assert "SUCCEEDED" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("command", ["show", "list"])
def test_what_only_reads_looks_for_no_plugins_of_pydantic(project: Path, command: str) -> None:
    folder = Path(pynb("run", "sums.py", *INLINE, cwd=project).stdout.strip())
    write(project, {"p/o-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: o\nVersion: 1.0\n"})
    write(project, {"p/o-1.0.dist-info/entry_points.txt": "[pydantic]\no = no_such_module:plugin\n"})
    env = {"PYTHONPATH": str(project / "p")}
    shown = pynb(command, str(folder), cwd=project, env=env)
    assert ("SUCCEEDED" in shown.stdout, shown.stderr) == (True, "")
    # Elsewhere it is looked for, and pydantic says that it can't be loaded.
    assert "Pydantic plugin" in pynb("report", str(folder), cwd=project, env=env).stderr


@pytest.mark.parametrize(("command", "searched"), [("show", False), ("list", False), ("check", True)])
def test_only_what_runs_code_of_others_looks_for_garbage_at_its_end(
    project: Path, command: str, searched: bool
) -> None:
    folder = pynb("run", "sums.py", *INLINE, cwd=project).stdout.strip()
    code = """
import atexit, gc, sys
atexit.register(lambda: print("frozen", gc.get_freeze_count() > 0))  # the first one is called last
from pynb_dag_runner.cli import main
main(sys.argv[1:])
"""
    target = "sums.py" if command == "check" else folder
    done = subprocess.run(
        [sys.executable, "-c", code, command, target], cwd=project, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == f"frozen {not searched}"


def test_version(tmp_path: Path) -> None:
    assert pynb("--version", cwd=tmp_path).stdout.split()[0] == "pynb-dag-runner"


def test_a_broken_plugin_breaks_no_other_command(tmp_path: Path) -> None:
    entry_points(tmp_path, "broken = no_such_package:command", "odd = os:path")
    env = {"PYTHONPATH": str(tmp_path)}
    shown = pynb("--help", cwd=tmp_path, env=env)
    assert (shown.returncode, "broken" in shown.stdout, "check" in shown.stdout) == (0, True, True)
    called = pynb("broken", "--any", "thing", cwd=tmp_path, env=env)
    assert called.returncode == 2
    assert "the command 'broken' can't be loaded from no_such_package:command: ModuleNotFoundError" in called.stderr


def test_a_plugin_is_called_and_its_exit_code_counts(tmp_path: Path) -> None:
    entry_points(tmp_path, "hello = other_plugin:hello", "run = other_plugin:hello")
    plugin = (
        "import click\n\n@click.command()\ndef hello():\n    '''Say hello.'''\n    click.echo('hello')\n    return 7\n"
    )
    write(tmp_path, {"other_plugin.py": plugin})
    env = {"PYTHONPATH": str(tmp_path)}
    done = pynb("hello", cwd=tmp_path, env=env)
    assert (done.stdout, done.returncode) == ("hello\n", 7)
    assert "TARGET" in pynb("run", "--help", cwd=tmp_path, env=env).stdout  # no plug-in takes the place of ours


def test_stdout_holds_the_run_folder_and_nothing_else(project: Path) -> None:
    done = pynb("run", "sums.py", *INLINE, cwd=project)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert (Path(line) / "run.json").is_file()
    assert Path(line).parent == project / "runs" / "sums"
    assert "printed while loading\n" in done.stderr
    assert "printed by a child process\n" in done.stderr


def test_plain_lines_without_a_terminal(project: Path) -> None:
    lines = pynb("run", "sums.py", *INLINE, cwd=project).stderr.splitlines()
    assert [line for line in lines if line.endswith("Z double: started")]
    assert [line for line in lines if "Z double: SUCCEEDED in" in line]
    assert [line for line in lines if line.startswith("report      runs/sums/")]


def test_a_failed_run_exits_with_1_and_says_why_even_without_progress(project: Path) -> None:
    done = pynb("run", "sums.py", "-p", "bad=true", "--no-progress", *INLINE, cwd=project)
    assert done.returncode == 1
    assert "  fail FAILED (attempt 2 of 2)\n    ValueError: 2 is too much\n" in done.stderr
    assert "started" not in done.stderr


def test_a_good_run_without_progress_says_nothing(project: Path) -> None:
    write(project, {"quiet.py": PIPELINE.replace("print(", "str(").replace("os.system(", "str(")})
    assert pynb("run", "quiet.py", "--no-progress", *INLINE, cwd=project).stderr == ""


def test_json_tells_of_each_task(project: Path) -> None:
    done = pynb("run", "sums.py", "-p", "bad=true", "--json", *INLINE, cwd=project)
    document = json.loads(done.stdout)
    assert (document["status"], Path(document["folder"]).name) == ("FAILED", document["run_id"])
    assert [(task["name"], task["status"], task["attempts"]) for task in document["tasks"]] == [
        ("double", "SUCCEEDED", 1),
        ("fail", "FAILED", 2),
        ("later", "SKIPPED", 0),
    ]
    assert document["tasks"][1]["error"] == {"kind": "ValueError", "message": "2 is too much"}
    assert document["tasks"][2]["blocked_by"] == "fail"


def test_parameters_come_from_a_file_and_the_command_line_wins(project: Path) -> None:
    write(project, {"p.yaml": "x: 5\nbad: true\n", "p.json": '{"x": 6}'})
    plans = [
        json.loads(pynb("run", "sums.py", "--dry-run", "--json", *arguments, cwd=project).stdout)["parameters"]
        for arguments in (["--parameters-file", "p.yaml", "-p", "bad=no"], ["--parameters-file", "p.json"])
    ]
    assert plans == [{"x": 5, "bad": False}, {"x": 6, "bad": False}]


def test_dry_run_shows_order_parameters_and_options_and_runs_nothing(project: Path) -> None:
    done = pynb("run", "sums.py", "-p", "bad=yes", "-p", "x=3", "--dry-run", cwd=project)
    assert done.returncode == 0
    assert [line.strip() for line in done.stdout.splitlines()] == [
        "pipeline 'sums': 3 tasks; nothing is run",
        "x = 3",
        "bad = true",
        "1. double  (function sums.double)",
        "x = 3",
        "2. fail  (function sums.fail)",
        "after double",
        "x = <output 'return' of task 'double'>",
        "with retries=1",
        "3. later  (function sums.double)",
        "after double, fail",
        "x = [\"<output 'return' of task 'double'>\"]",
    ]
    assert not (project / "runs").exists()


def test_one_task_and_what_it_needs(project: Path) -> None:
    arguments = ("run", "sums.py", "-p", "bad=true", "--task", "fail", "--dry-run", "--json")
    plan = json.loads(pynb(*arguments, "--upstream", cwd=project).stdout)
    assert [task["name"] for task in plan["tasks"]] == ["double", "fail"]
    alone = pynb(*arguments, cwd=project)
    assert (alone.returncode, "which is not selected; add --upstream" in alone.stderr) == (2, True)


def test_check_counts_the_tasks_of_a_good_pipeline(project: Path) -> None:
    done = pynb("check", "sums.py:sums", "-p", "bad=true", cwd=project)
    assert (done.returncode, done.stdout) == (0, "ok: pipeline 'sums', 3 tasks\n")


def test_closed_stderr_and_stdout_do_not_change_the_outcome(project: Path) -> None:
    command = f'exec "{PROGRAM}" run sums.py --executor inline 2>&- >&-'
    done = subprocess.run(["sh", "-c", command], cwd=project, env=environment(), timeout=PATIENCE_S, check=False)
    assert done.returncode == 0
    assert len(list((project / "runs" / "sums").iterdir())) == 1


def test_a_reader_that_goes_away_is_no_error(project: Path) -> None:
    read, written = os.pipe()
    os.close(read)
    done = subprocess.run(
        [PROGRAM, "--help"], stdout=written, stderr=subprocess.PIPE, env=environment(), cwd=project, check=False
    )
    os.close(written)
    assert (done.returncode, done.stderr) == (141, b"")


def test_show_does_not_take_a_directory_of_runs_for_a_run(project: Path) -> None:
    folder = pynb("run", "sums.py", *INLINE, cwd=project).stdout.strip()
    done = pynb("show", "runs", cwd=project)
    assert done.returncode == 2
    assert f"it is no run folder but holds 1 run; the newest is {Path(folder).relative_to(project)}" in done.stderr


def test_list_shows_damaged_folders_with_the_reason(project: Path) -> None:
    good = Path(pynb("run", "sums.py", *INLINE, cwd=project).stdout.strip())
    write(project / "runs" / "sums", {"0-damaged/run.json": "{"})
    listed = json.loads(pynb("list", "--json", cwd=project).stdout)
    assert [entry["run_id"] for entry in listed] == ["0-damaged", good.name]
    assert "run.json: it is no JSON" in listed[0]["error"]
    table = pynb("list", cwd=project)
    assert (table.returncode, "UNREADABLE" in table.stdout, "run.json: it is no JSON" in table.stdout) == (
        0,
        True,
        True,
    )


def test_list_of_a_directory_without_runs(project: Path) -> None:
    done = pynb("list", ".", cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "there are no runs in '.'\n")


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        ([], "flowchart"),
        (["--format", "dot"], "digraph"),
        (["--format", "svg"], "<svg"),
    ],
)
def test_graph_of_a_pipeline(project: Path, arguments: list[str], start: str) -> None:
    done = pynb("graph", "sums.py", "-p", "bad=true", *arguments, cwd=project)
    assert done.returncode == 0, done.stderr
    assert start in done.stdout
    assert "later" in done.stdout


def test_graph_takes_its_format_from_the_files_name(project: Path) -> None:
    done = pynb("graph", "sums.py", "--output", "dag.svg", cwd=project)
    assert (done.returncode, done.stdout) == (0, "")
    assert "<svg" in (project / "dag.svg").read_text()


def test_a_picture_that_can_not_be_drawn_is_not_filled_with_text(project: Path) -> None:
    done = pynb("graph", "sums.py", "--output", "dag.png", cwd=project)
    assert done.returncode == 2
    assert "--output: got 'dag.png', expected a name that ends in one of .svg, .dot, " in done.stderr
    assert not (project / "dag.png").exists()
    assert pynb("graph", "sums.py", "--output", "dag.png", "--format", "dot", cwd=project).returncode == 0
    assert (project / "dag.png").read_text().startswith("digraph")


def test_an_interpreter_runs_the_package() -> None:
    command = [sys.executable, "-m", "pynb_dag_runner", "list", "no such directory"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
