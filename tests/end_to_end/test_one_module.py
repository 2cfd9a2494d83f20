"""A pipeline's file is one module: for the driver, workers, their kernels and children, and the run that goes on."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from pynb_dag_runner import find_runs, read_run
from pynb_dag_runner.api.loading import load
from tests.end_to_end.cli_process import environment, pynb, write

PIPELINE = """
    import enum
    import multiprocessing
    import pickle
    import sys
    from dataclasses import dataclass
    from pathlib import Path

    from pynb_dag_runner import Pipeline, pipeline

    HERE = Path(__file__).parent

    class Mode(enum.Enum):
        FAST = 1
        SLOW = 2

    @dataclass
    class Model:
        size: int

    def double(model: Model) -> Model:
        return Model(model.size * 2)

    def choose() -> Mode:
        return Mode.FAST

    def train(mode: Mode) -> list:
        if (HERE / "broken").exists():
            raise ValueError("broken")
        doubled = []
        for way in ("fork", "spawn"):
            with multiprocessing.get_context(way).Pool(1) as pool:
                doubled += pool.map(double, [Model(1)])
        (HERE / "model.pkl").write_bytes(pickle.dumps(Model(3)))
        return [mode == Mode.FAST, doubled == [Model(2), Model(2)]]

    @pipeline
    def flow(p: Pipeline, mode: Mode = Mode.SLOW):
        chosen = p.function(choose)
        p.function(train, parameters={"mode": chosen.output()})
        p.notebook("notebooks/show.py", parameters={"mode": mode})

    if __name__ == "__main__":
        print(flow.run(output_dir=HERE / "runs", executor=sys.argv[1], progress=False).folder)
"""
NOTEBOOK = """
    # %% tags=["parameters"]
    mode = None
    # %%
    from pynb_dag_runner import tracking
    tracking.set_output("mode", f"{type(mode).__module__}.{mode.name}")
"""


def project(directory: Path, name: str) -> Path:
    return write(directory, {name: dedent(PIPELINE), "notebooks/show.py": dedent(NOTEBOOK).lstrip()})


def outputs(folder: Path) -> dict[str, object]:
    return {task.name: dict(task.last_attempt.outputs) if task.last_attempt else {} for task in read_run(folder).tasks}


@pytest.mark.parametrize("executor", ["process", "ray", "inline"])
def test_what_a_file_defines_is_itself_in_workers_children_kernels_and_pickles(tmp_path: Path, executor: str) -> None:
    project(tmp_path, "flow.py")
    ran = pynb("run", "flow.py", "--executor", executor, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    made = outputs(Path(ran.stdout.strip()))
    assert made == {"choose": {}, "train": {"return": [True, True]}, "show": {"mode": "flow.SLOW"}}
    model = subprocess.run(
        [sys.executable, "-c", "import pickle; print(pickle.load(open('model.pkl', 'rb')))"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert model.stdout == "Model(size=3)\n"


@pytest.mark.parametrize("name", ["flow.py", "my-flow.py"])
def test_a_program_s_classes_are_themselves_after_a_resume(tmp_path: Path, name: str) -> None:
    """``my-flow`` can't be a module's name."""
    project(tmp_path, name)
    (tmp_path / "broken").touch()
    subprocess.run([sys.executable, name, "process"], cwd=tmp_path, env=environment(), check=True, capture_output=True)
    (folder,) = find_runs(tmp_path / "runs")
    assert outputs(folder)["train"] == {}
    (tmp_path / "broken").unlink()
    resumed = pynb("resume", folder, "--executor", "process", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert [task.name for task in read_run(folder).tasks if len(task.attempts) > 1] == ["train"]
    assert outputs(folder)["train"] == {"return": [True, True]}


def test_workers_import_the_file_as_it_was_when_the_run_began(tmp_path: Path) -> None:
    text = """
        import time
        from pathlib import Path
        from pynb_dag_runner import Pipeline, pipeline

        FILE, VALUE = Path(__file__), "old"

        def edit() -> str:
            FILE.write_text("this is no Python")
            return VALUE

        def value(before: str) -> str:
            return VALUE

        @pipeline
        def flow(p: Pipeline):
            edited = p.function(edit)
            for number in range(4):
                p.function(value, name=f"value-{number}", parameters={"before": edited.output()})
    """
    write(tmp_path, {"flow.py": dedent(text)})
    ran = pynb("run", "flow.py", "--executor", "process", "--num-cpus", "4", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert {output["return"] for output in outputs(Path(ran.stdout.strip())).values()} == {"old"}  # type: ignore[index]


def test_what_the_driver_set_after_the_import_counts_in_workers(tmp_path: Path) -> None:
    text = """
        from pynb_dag_runner import Pipeline, pipeline

        LIMIT = 1

        def limit() -> int:
            return LIMIT

        def asks() -> int:
            return limit()

        @pipeline
        def flow(p: Pipeline, limit: int = 2):
            global LIMIT
            LIMIT = limit
            p.function(asks)
    """
    write(tmp_path, {"flow.py": dedent(text)})
    ran = pynb("run", "flow.py", "-p", "limit=3", "--executor", "process", cwd=tmp_path)
    assert outputs(Path(ran.stdout.strip())) == {"asks": {"return": 3}}, ran.stderr


def test_a_program_without_a_guard_is_not_run_again_by_its_workers(tmp_path: Path) -> None:
    text = """
        from pathlib import Path
        from pynb_dag_runner import Pipeline

        with open("runs.txt", "a") as file:
            file.write("run\\n")

        def task() -> int:
            return 1

        p = Pipeline("flow")
        p.function(task)
        print(p.run(executor="process", progress=False).status)
    """
    write(tmp_path, {"flow.py": dedent(text)})
    ran = subprocess.run(
        [sys.executable, "flow.py"], cwd=tmp_path, env=environment(), check=False, capture_output=True, text=True
    )
    assert ran.stdout == "SUCCEEDED\n", ran.stderr
    assert (tmp_path / "runs.txt").read_text() == "run\n"


def test_a_kept_value_of_a_class_that_the_program_has_anew_is_not_read_back(tmp_path: Path) -> None:
    """A class that was typed into a console or a notebook goes by value; the next process has another one."""
    typed = """
        import enum, os, sys
        from pynb_dag_runner import Pipeline

        class Mode(enum.Enum):
            FAST = 1

        def choose():
            return Mode.FAST

        def compare(mode):
            assert "FAIL" not in os.environ
            return mode == Mode.FAST

        p = Pipeline("typed", base_dir=".")
        p.function(compare, parameters={"mode": p.function(choose).output()})
        options = {"executor": "process", "progress": False}
        result = p.resume(sys.argv[1], **options) if sys.argv[1:] else p.run(**options)
        print(result.folder)
    """
    command = [sys.executable, "-c", dedent(typed)]
    first = subprocess.run(
        command, cwd=tmp_path, env=environment({"FAIL": "1"}), check=True, capture_output=True, text=True
    )
    folder = first.stdout.strip()
    subprocess.run([*command, folder], cwd=tmp_path, env=environment(), check=True, capture_output=True)
    assert outputs(Path(folder))["compare"] == {"return": True}
    again = json.loads((Path(folder) / "run.json").read_text())["resumes"][0]["again"]
    assert "a class Mode that is not the one of the program" in again[0]["reason"]


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for directory in ("one", "two"):
        write(tmp_path, {f"{directory}/twofold.py": dedent(PIPELINE), f"{directory}/notebooks/show.py": "# %%\n"})
    loaded = [load(f"{directory}/twofold.py", tmp_path) for directory in ("one", "two", "one")]
    modules = [sys.modules[each.function.__module__] for each in loaded]
    assert modules[0] is modules[2]
    assert modules[0] is not modules[1]
    members = [module.Mode.FAST for module in modules]
    assert [pickle.loads(pickle.dumps(member)) is member for member in members] == [True, True, True]
    search_path = list(sys.path)
    loaded[0].run(executor="inline", progress=False, output_dir=tmp_path / "runs")
    assert sys.path == search_path
    for module in {module.__name__ for module in modules}:
        del sys.modules[module]
