"""Which outputs code sets, read from its text; where that is not certain nothing is claimed."""

from pathlib import Path

import pytest

from pynb_dag_runner.notebooks.set_outputs import outputs_set_in

OURS = "from pynb_dag_runner import tracking\n"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x = 1", set()),
        (OURS + "tracking.set_output('a', 1)\ntracking.set_output(name='b', value=2)", {"a", "b"}),
        ("from pynb_dag_runner.tracking import set_output as so\nso('a', 1)", {"a"}),
        ("from pynb_dag_runner.tracking import *\nset_output('a', 1)", {"a"}),
        ("from pynb_dag_runner import tracking as t\nif t:\n    t.set_output('a', 1)", None),  # t itself is looked at
        ("from pynb_dag_runner import tracking as t\ndef f():\n    t.set_output('a', 1)", {"a"}),
        ("import pynb_dag_runner as p\np.tracking.set_output('a', 1)", {"a"}),
        ("import pynb_dag_runner.tracking as t\nt.log_metric('x', 1)", set()),
        ("import json, numpy, mlflow\nfrom mlflow.tracking import MlflowClient", set()),
        ("import re\nre.compile('a')\nmodel.eval()", set()),
        (OURS + "for n in names:\n    tracking.set_output(n, 1)", None),
        (OURS + "tracking.set_output(f'a{1}', 1)", None),
        (OURS + "tracking.set_output(*pair)", None),
        (OURS + "tracking.set_output(**pairs)", None),
        (OURS + "save = tracking.set_output\nsave('a', 1)", None),
        (OURS + "helper(tracking)", None),
        (OURS + "getattr(tracking, 'set_' + 'output')('a', 1)", None),
        ("exec(code)", None),
        ("from importlib import import_module", set()),
        ("import importlib\nimportlib.import_module('x')", None),
        ("get_ipython().run_line_magic('run', 'x.py')", None),
        ("import no_such_module_anywhere", None),
        ("from . import sibling", None),
        ("x = ", None),
    ],
)
def test_names_that_are_set(tmp_path: Path, source: str, names: set[str] | None) -> None:
    assert outputs_set_in([source], [tmp_path]) == names


@pytest.mark.parametrize(
    ("helper", "certain"),
    [
        ("def f(): return 1", True),
        ("import json, numpy", True),
        ("from pynb_dag_runner import tracking\ndef f(): tracking.log_metric('a', 1)", True),
        ("from pynb_dag_runner import tracking\ndef f(n): tracking.set_output(n, 1)", False),
        ("from pynb_dag_runner import tracking\ndef f(): return tracking", False),
        ("import second", False),
        ("from package.inside import g", True),
        ("from loud import g", False),
        ("no python", False),
    ],
)
def test_helpers_beside_the_code_are_read(tmp_path: Path, helper: str, certain: bool) -> None:
    (tmp_path / "helper.py").write_text(helper)
    (tmp_path / "second.py").write_text("import loud.inside")
    for name, text in (("package", "from . import other"), ("loud", "so = tracking.set_output")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "inside.py").write_text(text)
    assert (outputs_set_in(["import helper"], [tmp_path]) is not None) is certain
