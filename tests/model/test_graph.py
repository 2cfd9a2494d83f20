"""Names, edges, cycles and references: all that is checked of a graph before anything else."""

import pickle
from collections import namedtuple
from collections.abc import Iterable
from typing import Any

import pytest

from pynb_dag_runner.errors import PipelineError
from pynb_dag_runner.model.graph import Dag, FunctionSource, Task, make_dag
from pynb_dag_runner.model.task_options import TaskOptions

Point = namedtuple("Point", ["x", "y"])


def work() -> None: ...


def task(name: str = "a", *, after: Iterable[str] = (), owner: object = None, **values: Any) -> Task:
    return Task(name=name, source=FunctionSource(function=work), after=tuple(after), owner=owner, **values)


def problems(*tasks: Task) -> tuple[str, ...]:
    with pytest.raises(PipelineError) as caught:
        make_dag("sales", tasks)
    return caught.value.problems


def chain(length: int) -> Dag:
    return make_dag("chain", [task(f"t{n}", after=[f"t{n - 1}"] if n else []) for n in range(length)])


def test_a_graph_knows_its_edges_in_order_of_definition() -> None:
    load, fit = task("load"), task("fit", after=["load"])
    report = task("report", parameters={"score": fit.output("score")}, after=["load"])
    assert make_dag("sales", [report, load, fit]).upstream == {
        "report": ("load", "fit"),
        "load": (),
        "fit": ("load",),
    }


def test_an_output_anywhere_in_the_parameters_makes_an_edge() -> None:
    a, b, c = task("a"), task("b"), task("c")
    parameters = {"deep": [{"x": (a.output(), [b.output("y")])}], "point": Point(1, c.output())}
    assert make_dag("sales", [a, b, c, task("d", parameters=parameters)]).upstream["d"] == ("a", "b", "c")


def test_names_that_are_used_twice() -> None:
    assert problems(task("a"), task("a")) == ("two tasks are called 'a'; give one another name with name=...",)


def test_two_tasks_with_one_name_make_no_cycle_beside() -> None:
    first = task("a")
    assert problems(first, task("b", after=["a"]), task("a", parameters={"x": [first.output()]}, after=["b"])) == (
        "two tasks are called 'a'; give one another name with name=...",
    )


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (" ", "a function task has an empty name"),
        ("a\nb", "task name 'a\\nb' holds characters that can't be printed"),
        ("\ud800", "task name '\\ud800' holds characters that can't be printed"),
        ("é" * 81, f"task name '{'é' * 40}'... is longer than 160 bytes"),  # bytes, not letters
    ],
)
def test_names_that_no_one_can_read(name: str, problem: str) -> None:
    assert problems(task(name)) == (problem,)


def test_a_cycle_names_its_tasks_in_the_order_of_their_edges() -> None:
    found = problems(task("a", after=["c"]), task("b", after=["a"]), task("c", after=["b"]), task("d", after=["c"]))
    assert found == ("tasks wait for each other in a cycle: a -> b -> c -> a",)


def test_a_task_that_waits_for_itself() -> None:
    assert problems(task("a", after=["a"])) == ("tasks wait for each other in a cycle: a -> a",)


def test_a_name_in_after_that_does_not_exist() -> None:
    assert problems(task("train"), task("test", after=["trian"])) == (
        "task 'test', after: there is no task 'trian'; did you mean 'train'?",
    )


def test_an_output_of_another_pipelines_task() -> None:
    here, other = object(), task("a", owner=object())
    mine = task("b", parameters={"x": other.output("y")}, owner=here)
    assert problems(task("a", owner=here), mine) == (
        "task 'b' uses output 'y' of task 'a', which belongs to another pipeline",
    )


def test_a_pipeline_without_a_task() -> None:
    assert problems() == ("it has no task; add one with p.notebook(...) or p.function(...)",)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(PipelineError) as caught:
        make_dag("sales", [task("a", after=["x"]), task("a")], problems=["found before"])
    assert str(caught.value) == (
        "pipeline 'sales' has 3 problems:\n"
        "  - found before\n"
        "  - two tasks are called 'a'; give one another name with name=...\n"
        "  - task 'a', after: there is no task 'x'; there is 'a'"
    )


def test_the_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(PipelineError("sales", ["one", "two"])))
    assert (error.pipeline, error.problems) == ("sales", ("one", "two"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (TaskOptions(retries=-1), "retries must be a whole number from 0, got -1"),
        (TaskOptions(retries=1.5), "retries must be a whole number from 0, got 1.5"),  # type: ignore[arg-type] # the case
        (TaskOptions(retries=True), "retries must be a whole number from 0, got True"),
        (TaskOptions(retry_delay_s=float("nan")), "retry_delay_s must be a number from 0, got nan"),
        (TaskOptions(timeout_s=0), "timeout_s must be a number above 0 or None, got 0"),
        (TaskOptions(timeout_s=float("inf")), "timeout_s must be a number above 0 or None, got inf"),
        (TaskOptions(num_cpus="2"), "num_cpus must be a number from 0, got '2'"),  # type: ignore[arg-type] # the case
        (TaskOptions(num_gpus=-0.5), "num_gpus must be a number from 0, got -0.5"),
        (TaskOptions(num_gpus=1.5), "num_gpus must be a whole number if it is above 1, got 1.5"),
        (TaskOptions(memory=-1), "memory must be a number above 0 or None, got -1"),
        (TaskOptions(resources={"disk": -1}), "resources['disk'] must be a number from 0, got -1"),
    ],
)
def test_an_option_that_means_nothing(options: TaskOptions, problem: str) -> None:
    assert problems(task(options=options)) == (f"task 'a': {problem}",)


def test_selecting_a_task_keeps_it_alone() -> None:
    assert chain(3).select(["t1"], with_upstream=False).upstream == {"t1": ()}


def test_selecting_a_task_with_what_it_needs() -> None:
    assert chain(4).select(["t2"], with_upstream=True).upstream == {"t0": (), "t1": ("t0",), "t2": ("t1",)}


def test_selecting_a_task_that_does_not_exist() -> None:
    with pytest.raises(PipelineError) as caught:
        chain(2).select(["t3", "t0"], with_upstream=True)
    assert caught.value.problems == ("there is no task 't3'; there is 't0' and 't1'",)


def test_selecting_a_task_without_one_whose_output_it_uses() -> None:
    load = task("load")
    dag = make_dag("sales", [load, task("fit", parameters={"x": load.output()})])
    with pytest.raises(PipelineError) as caught:
        dag.select(["fit"], with_upstream=False)
    assert caught.value.problems == ("task 'fit' uses an output of 'load', which is not selected; add --upstream",)


def test_a_long_chain_is_no_problem() -> None:
    assert len(chain(5_000).select(["t4999"], with_upstream=True).tasks) == 5_000
