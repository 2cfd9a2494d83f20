"""Values of every type that a notebook can receive, sent through real kernels: each arrives as it was."""

import base64
import enum
import importlib
import json
import pickle
import string
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import nbformat
import numpy
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import from_dtype
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from pynb_dag_runner import Pipeline, PipelineError, RunStatus, TaskStatus
from pynb_dag_runner.define.parameters import notebook_problems
from pynb_dag_runner.model.recorded_values import recorded
from pynb_dag_runner.notebooks.kernel_names import OWN
from pynb_dag_runner.notebooks.kernelspecs import KernelSpecs
from pynb_dag_runner.notebooks.translators import LosslessPythonTranslator
from tests.faults.kinds_of_values import Access, Colour, Fruit, Level, Odd, Outer

ROOT = Path(__file__).parents[2]
CELL_BOUND_S = 120.0

ZONES = st.sampled_from(
    [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("UTC"), timezone(timedelta(hours=-3, seconds=1), "x")]
)
MEMBERS = st.sampled_from([*Colour, *Level, *Fruit, *Access, Access.READ | Access.WRITE, Access(0), *Outer.Inner, *Odd])
PATHS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "25s")
# Without longlong and texts that end in NUL: pickles, with which the test compares, change them.
NUMPY_TYPES = [
    *("?", "f2", "f4", "f8", "c8", "c16", "U5", "S5"),
    *(f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8)),
    *(f"{kind}8[{unit}]" for kind in "Mm" for unit in UNITS),
]
NUMPY_SCALARS = st.sampled_from(NUMPY_TYPES).flatmap(
    lambda name: from_dtype(numpy.dtype(name)).map(
        lambda value: value if isinstance(value, numpy.generic) else numpy.dtype(name).type(value)
    )
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(codec="utf-8")),
    st.sampled_from(["%magic", "!ls", "x?", "{x}", "a\u2028b\r\n", "'\"\\N{DIGIT ONE}", "\0"]),
    st.binary(),
    PATHS.map(Path),
    PATHS.map(PurePosixPath),
    PATHS.map(PureWindowsPath),
    st.dates(),
    st.datetimes(timezones=st.none() | ZONES, allow_imaginary=True),
    st.datetimes().map(lambda moment: moment.replace(fold=1)),
    st.times(timezones=st.none() | ZONES),
    st.timedeltas(),
    ZONES,
    st.decimals().filter(lambda number: not number.is_snan()),  # has no hash; see the values by hand below
    st.fractions(),
    st.uuids(),
    MEMBERS,
    NUMPY_SCALARS,
)
HASHABLE = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=4
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.sets(HASHABLE, max_size=4),
    ),
    max_leaves=12,
)
SHADOWS = [
    "Path",
    "_datetime",
    "datetime",
    "float",
    "complex",
    "set",
    "frozenset",
    "numpy",
    "Decimal",
    "Colour",
    "_float",
]
NAMES = st.sampled_from(SHADOWS) | st.text(string.ascii_lowercase, min_size=1, max_size=3).map(lambda text: f"{text}_1")


@pytest.fixture(scope="module")
def kernel() -> Iterator[BlockingKernelClient]:
    """A kernel of the runner's own interpreter, which finds the tests' modules as a notebook beside them would."""
    manager = KernelManager(kernel_name=OWN, kernel_spec_manager=KernelSpecs())
    manager.start_kernel(cwd=str(ROOT))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=CELL_BOUND_S)
        run(client, "import base64, pickle\nfrom tests.faults.kinds_of_values import same")
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, cell: str, expression: str = "None") -> str:
    """Run a cell; the value of the expression after it."""
    reply = client.execute(cell, silent=True, user_expressions={"value": expression}, reply=True, timeout=CELL_BOUND_S)[
        "content"
    ]
    assert reply["status"] == "ok", "\n".join(reply.get("traceback", []))
    value = reply["user_expressions"]["value"]
    assert value["status"] == "ok", value
    return str(value["data"]["text/plain"])


def arrives(client: BlockingKernelClient, values: dict[str, Any]) -> str:
    """Send values as a notebook's parameters; the names of those that are not the same there, as a list's ``repr``."""
    originals = base64.b64encode(pickle.dumps(values)).decode()
    names = ", ".join(f"{name!r}: {name}" for name in values)
    # One cell: the names may be those of functions that a second one needs.
    check = f"__got = {{{names}}}\n" + "".join(f"del {name}\n" for name in values)
    return run(
        client,
        LosslessPythonTranslator.codify(values) + check,
        f"[n for n, v in pickle.loads(base64.b64decode('{originals}')).items() if not same(v, __got[n])]",
    )


@settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)
@given(values=st.dictionaries(NAMES, VALUES, min_size=4, max_size=8))
def test_generated_values_arrive_as_they_were(kernel: BlockingKernelClient, values: dict[str, Any]) -> None:
    assert notebook_problems(values) == []
    json.dumps(recorded(values), allow_nan=False)  # and can be written down
    assert arrives(kernel, values) == "[]", LosslessPythonTranslator.codify(values)


BY_HAND: dict[str, Any] = {
    "none": None,
    "flag": True,
    "whole": -(10**4300) + 1,
    "zero": -0.0,
    "nan": float("nan"),
    "infinities": [float("inf"), float("-inf")],
    "complex": complex(-0.0, float("nan")),
    "text": "é\u2028'\"",
    "binary": b"\xff'\0",
    "path": ROOT,
    "windows": PureWindowsPath("C:\\x"),
    "tuples": ((), (1,), (1, [2])),
    "set": {3, (1, 2)},
    "empty": [set(), frozenset(), {}],
    "frozen": frozenset({frozenset({1})}),
    "table": {1: "a", None: "b", (1, 2): "c", Level.LOW: "d", 1.5: "e"},
    "moment": datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    "naive": datetime(2026, 1, 1, microsecond=1),  # noqa: DTZ001 - the case in question
    "utc": datetime(2026, 1, 1, tzinfo=UTC),
    "day": date(2026, 1, 1),
    "clock": time(1, 2, tzinfo=timezone(timedelta(hours=1), "x")),
    "delay": timedelta(days=-1, microseconds=1),
    "decimals": [Decimal("-0"), Decimal("NaN"), Decimal("sNaN12"), Decimal("1.10"), Decimal("-Infinity")],
    "fraction": Fraction(-1, 3),
    "uuid": UUID(int=5),
    "members": [*Colour, Level.HIGH, Fruit.APPLE, Access.READ | Access.WRITE, Access(0), Outer.Inner.A, *Odd],
    "numbers": [numpy.int64(5), numpy.float32(0.1), numpy.float16("nan"), numpy.bool_(True), numpy.complex64(1 - 0j)],
    "numpy_times": [numpy.datetime64("2026-01-01", "ns"), numpy.datetime64("NaT", "s"), numpy.timedelta64(5, "s")],
    "numpy_texts": [numpy.str_("a\0b"), numpy.bytes_(b"a")],
}


def test_values_chosen_by_hand_arrive_as_they_were(kernel: BlockingKernelClient) -> None:
    assert arrives(kernel, BY_HAND) == "[]"


def test_the_deepest_nesting_that_is_allowed_can_be_read(kernel: BlockingKernelClient) -> None:
    deep: Any = complex(1, float("nan"))
    for _ in range(50):
        deep = frozenset([deep])
    values = {"lists": [], "deep": deep}
    for _ in range(100):
        values["lists"] = [values["lists"]]
    assert notebook_problems(values) == []
    assert arrives(kernel, values) == "[]"


NOTEBOOK = """
# %% tags=["parameters"]
from datetime import datetime
# %%
import base64, pickle
from tests.faults.kinds_of_values import same
from pynb_dag_runner import tracking
values = pickle.loads(base64.b64decode(originals))
tracking.set_output("different", [name for name, value in values.items() if not same(value, globals()[name])])
tracking.set_output("count", len(values))
datetime.now()  # the notebook's own names are still what they were
"""


def test_a_notebook_receives_one_value_of_each_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "check.py").write_text(NOTEBOOK)
    originals = base64.b64encode(pickle.dumps(BY_HAND)).decode()
    pipeline = Pipeline("types", base_dir=tmp_path)
    pipeline.notebook("check.py", parameters=BY_HAND | {"originals": originals}, extra_parameters=True)
    result = pipeline.run(executor="inline", progress=False, output_dir=tmp_path / "runs")
    assert result.status is RunStatus.SUCCEEDED, result.tasks["check"]
    assert result.tasks["check"].outputs == {"different": [], "count": len(BY_HAND)}
    attempt = json.loads((result.folder / "tasks/check/attempt-1/attempt.json").read_text())
    assert attempt["parameters"]["numbers"][:2] == [5, 0.10000000149011612]
    saved = nbformat.read(result.folder / "tasks/check/attempt-1/notebook.ipynb", as_version=4)
    (cell,) = [cell for cell in saved.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert "from tests.faults.kinds_of_values import Colour" in cell.source.splitlines()
    assert "utc = _datetime.datetime(2026, 1, 1, 0, 0, tzinfo=_datetime.timezone.utc)" in cell.source


class Here(enum.Enum):
    """In a module that no kernel elsewhere finds."""

    A = 1


def test_a_member_whose_module_the_kernel_does_not_find_is_refused(tmp_path: Path) -> None:
    (tmp_path / "check.py").write_text(NOTEBOOK)
    pipeline = Pipeline("types", base_dir=tmp_path)
    pipeline.notebook("check.py", parameters={"where": [Here.A]}, extra_parameters=True)
    with pytest.raises(PipelineError) as error:
        pipeline.run(executor="inline", progress=False, output_dir=tmp_path)
    problem = f"a member of an Enum from the module 'tests' can't be handed to a notebook's kernel in {tmp_path}"
    way_out = "which does not find it; install the module, or put its directory on PYTHONPATH"
    assert f"{problem}, {way_out}" in str(error.value)


def test_a_module_of_the_same_name_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "check.py").write_text(NOTEBOOK)
    (tmp_path / "shades_of_a_test.py").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/shades_of_a_test.py").write_text("import enum\nclass Shade(enum.Enum):\n    DARK = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    dark = importlib.import_module("shades_of_a_test").Shade.DARK
    pipeline = Pipeline("types", base_dir=tmp_path)
    pipeline.notebook("check.py", parameters={"shade": dark}, extra_parameters=True)
    with pytest.raises(PipelineError, match=f"which finds {tmp_path}/shades_of_a_test.py under that name"):
        pipeline.run(executor="inline", progress=False, output_dir=tmp_path)


def test_a_function_receives_a_list_that_contains_itself(tmp_path: Path) -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    pipeline = Pipeline("circle", base_dir=tmp_path)
    upstream = pipeline.function(complex, name="upstream", parameters={"real": 1})  # an output that JSON can't hold
    pipeline.function(
        lambda value, other: [len(value), value[1] is value, other == 1],
        name="f",
        parameters={"value": circle, "other": upstream.output()},
    )
    result = pipeline.run(executor="inline", progress=False, output_dir=tmp_path / "runs")
    assert result.tasks["f"].status is TaskStatus.SUCCEEDED, result.tasks["f"]
    assert result.tasks["f"].outputs == {"return": [2, True, True]}


def test_an_output_in_a_list_that_contains_itself_is_received(tmp_path: Path) -> None:
    pipeline = Pipeline("circle", base_dir=tmp_path)
    circle: list[Any] = [pipeline.function(complex, name="upstream", parameters={"real": 1}).output()]
    circle.append(circle)
    pipeline.function(lambda value: [value[0] == 1, value[1] is value], name="f", parameters={"value": circle})
    result = pipeline.run(executor="inline", progress=False, output_dir=tmp_path / "runs")
    assert result.tasks["f"].outputs == {"return": [True, True]}


def test_an_output_in_a_value_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    pipeline = Pipeline("deep", base_dir=tmp_path)
    value: list[Any] = [pipeline.function(dict, name="upstream").output()]
    for _ in range(10_000):
        value = [value]
    pipeline.function(lambda value: value, name="f", parameters={"value": value})
    with pytest.raises(PipelineError, match=r"parameter 'value' holds another task's output in a value that is nested"):
        pipeline.run(executor="inline", progress=False, output_dir=tmp_path)
