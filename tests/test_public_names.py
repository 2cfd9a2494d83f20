"""What users import from the packages, and what that costs them."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

import mlflow_bridge
import pynb_dag_runner

HEAVY = ("ray", "jupy", "papermill", "nbconvert", "nbclient", "nbformat", "ipykernel", "IPython", "zmq", "mlflow")
"""How the names of modules begin that take long to load; jupytext and all of Jupyter's are among them."""
PACKAGES = [pynb_dag_runner, mlflow_bridge]


def heavy(modules: set[str]) -> set[str]:
    return {name for name in modules if name.startswith(HEAVY) and name.partition(".")[0] != "mlflow_bridge"}


def loaded_by(statement: str) -> set[str]:
    """Names of the modules that a fresh process has loaded after ``statement``."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stdout.split())


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_public_names_are_sorted_and_each_can_be_had(package: ModuleType) -> None:
    assert list(package.__all__) == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_a_name_that_is_not_there(package: ModuleType) -> None:
    with pytest.raises(AttributeError) as caught:
        _ = package.nonsense
    assert str(caught.value) == f"module '{package.__name__}' has no attribute 'nonsense'"


def test_dir_lists_the_public_names() -> None:
    assert dir(pynb_dag_runner) == pynb_dag_runner.__all__


def test_importing_the_packages_loads_no_engine_no_notebooks_and_no_mlflow() -> None:
    loaded = loaded_by("import pynb_dag_runner, mlflow_bridge")
    assert loaded >= {"pynb_dag_runner", "mlflow_bridge"}
    assert heavy(loaded) == set()


def test_defining_and_reading_loads_none_of_them_either() -> None:
    loaded = loaded_by("from pynb_dag_runner import Pipeline, pipeline, read_run, tracking; Pipeline('x')")
    assert heavy(loaded) == set()


def test_tracking_costs_a_task_the_standard_library_alone() -> None:
    before = loaded_by("pass")
    loaded = {name.partition(".")[0] for name in loaded_by("from pynb_dag_runner import tracking") - before}
    assert loaded - set(sys.stdlib_module_names) == {"pynb_dag_runner"}


def test_tracking_is_the_module_itself() -> None:
    assert pynb_dag_runner.tracking is importlib.import_module("pynb_dag_runner.tracking")
