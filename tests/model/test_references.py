"""References to outputs: handed on they are replaced, and in no way do they pass for a value."""

import copy
import dataclasses
import functools
import inspect
import json
import math
import operator
import os
import pickle
import pprint
from collections import deque, namedtuple
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import numpy
import pydantic
import pytest

from pynb_dag_runner import OutputNotKnownError, OutputReference, Pipeline, Secret, pipeline
from pynb_dag_runner.api.loading import load
from pynb_dag_runner.errors import ParameterError, PipelineError
from pynb_dag_runner.model.graph import FunctionSource, NotebookSource, Task
from pynb_dag_runner.model.references import references_in, replace_references

Point = namedtuple("Point", ["x", "y"])
ADVICE = "hand the reference itself to a task's parameter, and do this in the task, which gets the value"


def make() -> int:
    return 1


def use(x: Any) -> Any:
    return x


def task(name: str = "make") -> Task:
    return Task(name=name, source=FunctionSource(function=make))


def problems_of(define: Callable[[Pipeline, OutputReference], Any]) -> tuple[str, ...]:
    """What is wrong with a pipeline that ``define`` adds to, given the output of its task ``make``."""

    @pipeline(name="sales")
    def sales(p: Pipeline) -> None:
        define(p, p.function(make).output())

    with pytest.raises(PipelineError) as caught:
        sales.build()
    return caught.value.problems


def test_references_come_in_order_of_appearance_and_a_circle_ends() -> None:
    a, b = task("a").output(), task("b").output()
    value: list[Any] = [{"x": a}, b]
    value.append(value)
    assert [reference.producer.name for reference in references_in(value)] == ["a", "b"]


def test_replacing_references_keeps_the_shape_of_values() -> None:
    reference = task().output()
    value = {"list": [reference], "tuple": (reference, 1), "point": Point(reference, 2)}
    assert replace_references(value, lambda _: 7) == {"list": [7], "tuple": (7, 1), "point": Point(7, 2)}


def test_a_value_without_references_is_the_same_object() -> None:
    value = [{"a": object()}]
    assert replace_references(value, lambda _: 7) is value


def test_a_reference_can_be_shown_and_copied() -> None:
    reference = task().output("y")
    assert repr(reference) == "<output 'y' of task 'make'>"
    assert pprint.pformat({"a": [reference]}) == "{'a': [<output 'y' of task 'make'>]}"
    assert copy.copy(reference) is reference
    assert copy.deepcopy([reference])[0] is reference
    assert not hasattr(reference, "_repr_html_")
    assert not hasattr(reference, "keys")


USES: list[tuple[str, Callable[[Any], Any]]] = [
    ("made into text", str),
    ("made into text", lambda x: f"{x}/x.csv"),
    ("made into text", lambda x: f"{x:>3}"),
    ("made into text", lambda x: "%s/x.csv" % x),  # noqa: UP031 - one of the ways
    ("made into text", lambda x: "{}/x.csv".format(x)),  # noqa: UP032 - one of the ways
    ("made into text", bytes),
    ("made into text", lambda x: json.dumps({"x": x}, default=str)),
    ("used as a path", Path),
    ("used as a path", lambda x: os.path.join("data", x)),  # noqa: PTH118 - one of the ways
    ("used as a path", open),
    ("used as a condition", bool),
    ("used as a condition", lambda x: x and 1),
    ("used as a condition", lambda x: 1 if x else 2),
    ("used as a condition", lambda x: not x),
    ("compared", lambda x: x == 3),
    ("compared", lambda x: x != 3),
    ("compared", lambda x: x > 3),
    ("compared", lambda x: max(x, 1)),
    ("compared", lambda x: sorted([x, 1])),
    ("compared", lambda x: x in [1, 2]),
    ("put into a set or used as a key", lambda x: x in {1, 2}),
    ("put into a set or used as a key", lambda x: {1: 2}.get(x)),
    ("put into a set or used as a key", lambda x: {x: 1}),
    ("put into a set or used as a key", lambda x: {(x, 1)}),
    ("put into a set or used as a key", functools.cache(use)),
    ("iterated over", list),
    ("iterated over", lambda x: [*x]),
    ("iterated over", lambda x: "".join(x)),
    ("iterated over", lambda x: dict(x)),
    ("iterated over", reversed),
    ("measured", len),
    ("searched", lambda x: 1 in x),
    ("indexed", lambda x: x["a"]),
    ("indexed", lambda x: x[1:2]),
    ("indexed", lambda x: operator.setitem(x, "a", 1)),
    ("used as a number", int),
    ("used as a number", float),
    ("used as a number", complex),
    ("used as a number", range),
    ("used as a number", round),
    ("used as a number", math.floor),
    ("used as a number", math.sqrt),
    ("used as a number", abs),
    ("used as a number", lambda x: -x),
    ("combined with another value", lambda x: sum([x])),
    ("combined with another value", lambda x: "data/" + x),
    ("used as a path", lambda x: Path("data") / x),
    ("combined with another value", lambda x: numpy.array([1.0]) * x),
    ("asked for its 'upper'", lambda x: x.upper()),
    ("asked for its 'name'", lambda x: x.name),
    ("pickled", pickle.dumps),
    ("entered", lambda x: operator.methodcaller("__enter__")(x)),
]


@pytest.mark.parametrize(("use", "apply"), USES, ids=lambda value: value if isinstance(value, str) else "")
def test_what_would_need_the_value_is_refused(use: str, apply: Callable[[Any], Any]) -> None:
    with pytest.raises(OutputNotKnownError) as caught:
        apply(task().output())
    sentence = (
        f"output 'return' of task 'make' is known only when the run goes, so it can't be {use} while the pipeline"
    )
    assert str(caught.value) == f"{sentence} is written; {ADVICE}"


IDENTITY = ("is_", "is_not", "is_none", "is_not_none")
"""No class has a say in these; the latter two came with Python 3.14."""


@pytest.mark.parametrize("name", [name for name in dir(operator) if not name.startswith("_")])
def test_no_operator_gives_anything(name: str) -> None:
    function: Callable[..., Any] = getattr(operator, name)
    if name in (*IDENTITY, "attrgetter", "itemgetter", "methodcaller", "call"):
        return
    for count in (1, 2, 3):
        for place in range(count):
            arguments: list[Any] = [1] * count
            arguments[place] = task().output()
            if accepts(function, count):
                with pytest.raises((OutputNotKnownError, TypeError)):
                    function(*arguments)


def accepts(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[1] * count)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize(
    "apply", [json.dumps, Decimal, lambda x: x(), lambda x: "".join([x]), lambda x: "a".replace("a", x)]
)
def test_what_python_refuses_by_itself_is_explained(apply: Callable[[Any], Any]) -> None:
    (problem,) = problems_of(lambda _, x: apply(x))
    assert problem.startswith("the function sales() raised TypeError: ")
    assert f"; {ADVICE} at {__file__}:" in problem


def test_the_line_of_the_pipeline_is_named() -> None:
    (problem,) = problems_of(lambda p, x: p.function(use, parameters={"x": f"{x}.csv"}))
    assert problem.startswith(
        "output 'return' of task 'make' is known only when the run goes, so it can't be made into"
    )
    assert f"; {ADVICE} at {__file__}:" in problem


@pytest.mark.parametrize(
    "parameters",
    [
        lambda x: {"x": f"{x!r}.csv"},
        lambda x: {"x": str([x])},
        lambda x: {"x": [{"deep": f"{[x]}"}]},
        lambda x: {"x": {f"{x!r}": 1}},
        lambda x: {"x": Path(f"data-{x!r}", "x.csv")},
        lambda x: {"x": f"{x.producer}"},
    ],
)
def test_a_text_of_its_repr_is_recognised(parameters: Callable[[Any], dict[str, Any]]) -> None:
    (problem,) = problems_of(lambda p, x: p.function(use, parameters=parameters(x)))
    shown = "<Task 'make' (function)>" if "<Task" in problem else "<output 'return' of task 'make'>"
    sentence = f"parameter 'x' holds {shown} as text, which is known only when the run goes; {ADVICE}"
    assert problem == f"task 'use': {sentence}"


def test_a_task_named_after_an_output() -> None:
    assert problems_of(lambda p, x: p.function(make, name=f"{x!r}"))[0].startswith(
        "task \"<output 'return' of task 'make'>\": its name holds <output 'return' of task 'make'> as text"
    )


@dataclasses.dataclass
class Config:
    x: Any


class Model(pydantic.BaseModel):
    x: Any


@pytest.mark.parametrize(
    "hide",
    [
        Config,
        lambda x: Model(x=x),
        lambda x: deque([x]),
        lambda x: numpy.array([x], dtype=object),
        lambda x: functools.partial(use, x),
        lambda x: [Config({"y": x})],
        lambda x: lambda: x,
    ],
)
def test_where_it_is_not_looked_for_it_is_refused(hide: Callable[[Any], Any]) -> None:
    (problem,) = problems_of(lambda p, x: p.function(use, parameters={"x": hide(x)}))
    hidden = "parameter 'x' hides output 'return' of task 'make', which is looked for in lists, tuples and dicts only"
    assert problem == f"task 'use': {hidden}; {ADVICE}"


def test_a_view_and_a_generator_are_refused_too() -> None:
    hides: list[Callable[[Any], Any]] = [lambda x: {"a": x}.items(), lambda x: (y for y in [x])]
    for hide in hides:
        (problem,) = problems_of(lambda p, x, hide=hide: p.function(use, parameters={"x": hide(x)}))  # type: ignore[misc]
        assert problem.startswith(("task 'use': parameter 'x' hides output", "task 'use': parameter 'x' can't be sent"))


def test_a_function_that_carries_one_is_refused() -> None:
    (problem,) = problems_of(lambda p, x: p.function(functools.partial(use, x=x), name="use"))
    assert problem.startswith("task 'use': function ")
    assert "hides output 'return' of task 'make', which is looked for in lists, tuples and dicts only" in problem


def test_a_function_of_the_pipelines_file_that_reads_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reading.py").write_text(
        "from pynb_dag_runner import Pipeline\n"
        "p = Pipeline('p')\n"
        "def make(): return 1\n"
        "number = p.function(make).output()\n"
        "def use(x=number): return x\n"
        "def read(): return repr(number)\n"
        "p.function(use)\n"
        "p.function(read)\n"
    )
    with pytest.raises(PipelineError) as caught:
        cast(Pipeline, load("reading.py", tmp_path)).build()
    assert [problem.partition("; ")[0] for problem in caught.value.problems] == [
        "task 'use': function reading.use has a default of 'x', which holds output 'return' of task 'make'",
        "task 'read': function reading.read reads the variable 'number', which holds output 'return' of task 'make'",
    ]


def test_a_notebook_is_given_none_in_an_object(tmp_path: Path) -> None:
    (tmp_path / "n.py").write_text("# %%\n1\n")
    (problem,) = problems_of(lambda p, x: p.notebook(tmp_path / "n.py", parameters={"x": Config(x)}))
    assert "parameter 'x' is a " in problem


def test_one_in_a_secret_is_refused() -> None:
    with pytest.raises(OutputNotKnownError):
        p = Pipeline("sales")
        p.function(use, parameters={"x": Secret[str](p.function(make).output())})  # type: ignore[arg-type] # the case
        p.build()


@pytest.mark.parametrize(
    ("define", "problem"),
    [
        (
            lambda p, x: p.function(use, parameters={"x": 1}, after=x),
            "task 'use', after: got output 'return' of task 'make', expected the task 'make' itself",
        ),
        (
            lambda p, x: p.function(use, parameters={"x": 1}, after=[x]),
            "task 'use', after: got output 'return' of task 'make', expected the task 'make' itself",
        ),
        (
            lambda p, x: p.function(use, parameters={"x": 1}, retries=x),
            "task 'use': retries must be a whole number from 0, got <output 'return' of task 'make'>",
        ),
        (
            lambda p, x: p.function(use, parameters={"x": cast(Any, x.producer).output(x)}),
            "task 'use' uses output <output 'return' of task 'make'> of task 'make': an output's name is a text",
        ),
    ],
)
def test_in_the_place_of_a_task_or_an_option(define: Callable[[Pipeline, OutputReference], Any], problem: str) -> None:
    assert problems_of(define) == (problem,)


def test_as_a_parameter_of_another_pipeline() -> None:
    @pipeline
    def inner(p: Pipeline, path: str) -> None:
        p.function(use, parameters={"x": path})

    with pytest.raises(ParameterError, match="parameter 'path': got <output 'return' of task 'make'>, expected str"):
        inner.build({"path": task().output()})


def test_a_source_and_a_working_directory(tmp_path: Path) -> None:
    p = Pipeline("sales", base_dir=tmp_path)
    reference: Any = p.function(make).output()
    with pytest.raises(OutputNotKnownError):
        p.notebook(reference)
    with pytest.raises(OutputNotKnownError):
        p.notebook("n.py", cwd=reference)


def test_a_task_says_what_it_is() -> None:
    assert repr(Task(name="eda", source=NotebookSource(path=Path("/x/eda.py")))) == "<Task 'eda' (notebook)>"
