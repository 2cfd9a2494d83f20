"""The settings of a run, each declared once: :class:`RunSettings`.

Arguments of ``Pipeline.run`` and ``resume``, options of the command line, what ``run.json`` keeps and the tables of the
documentation derive from these fields. A new setting is a field here, the place that obeys it, and a test.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pynb_dag_runner.model.declarations import Names, Number, Option, StoredInteger, declared, problems_of

ExecutorName = Literal["ray", "process", "inline"]


@dataclass(frozen=True, kw_only=True)
class SharedSettings:
    """Settings of a run that a resume may change."""

    executor: Annotated[
        ExecutorName,
        Option(
            "`ray`, the default for pipelines; `process`, the default for a single notebook on the command line: in "
            "processes of this machine, without Ray; `inline`: in this process, one task at a time, for debuggers",
            more="`process` starts in a fraction of a second: for one notebook, for small runs, and where Ray can't "
            "start. It shares out processors, memory and GPUs (`CUDA_VISIBLE_DEVICES`), and knows no custom resources. "
            "With `inline`, `breakpoint()` works",
        ),
    ] = "ray"
    num_cpus: Annotated[
        StoredInteger | None,
        Option(
            "processors that tasks may use together on this machine; default: all that there are",
            Number(least=1, is_whole=True),
            metavar="N",
        ),
    ] = None
    ray_address: Annotated[
        str | None,
        Option(
            "run on this Ray cluster instead of a Ray of our own; `auto`: the one that this machine is a node of",
            more="Its machines need no disk in common: see [clusters](cluster.md)",
            metavar="ADDRESS",
        ),
    ] = None
    fail_fast: Annotated[
        bool,
        Option(
            "cancel everything when a task does not succeed",
            more="Without it, everything goes on that does not need that task",
        ),
    ] = False
    timeout_s: Annotated[
        float | None,
        Option(
            "the whole run's time limit in seconds: then what runs is ended, and nothing more starts",
            Number(above=0, most=1e8),
            more="Every attempt under way is ended as at a task's own timeout, with its notebook and log up to there; "
            "tasks that waited are `CANCELLED`. The run is `FAILED`, exit code 1",
            flag="--timeout",
            metavar="SECONDS",
        ),
    ] = None
    wait_for_nodes: Annotated[
        bool,
        Option(
            "the cluster adds nodes: wait for what no node has yet, instead of refusing it",
            more="The task is named at the start",
        ),
    ] = False
    html: Annotated[
        bool,
        Option(
            "make a page of each evaluated notebook, `notebook.html`; `report --html` makes it later",
            more="Pages are made beside the tasks, and what is left of them when the tasks have ended is waited for",
        ),
    ] = True

    def problems(self, named: Callable[[str], str] = str) -> list[str]:
        """What is wrong with the values, and which make no sense together: the user expected something that would not
        happen. One phrase each; empty when all is well.

        Args:
            named: gives for a setting's name what the user calls it.
        """
        return problems_of(self) or [phrase for said, phrase in self._conflicts(named) if said]

    def _conflicts(self, named: Callable[[str], str]) -> list[tuple[bool, str]]:
        cpus, address, nodes = named("num_cpus"), named("ray_address"), named("wait_for_nodes")
        executor, is_ray = named("executor"), self.executor == "ray"
        has_cpus, has_address = self.num_cpus is not None, self.ray_address is not None
        return [
            (has_address and not is_ray, f"{address} is for {executor} ray; {self.executor} uses no Ray"),
            (
                has_cpus and self.executor == "inline",
                f"{cpus} is for {executor} ray and process; inline runs one task at a time",
            ),
            (
                has_cpus and has_address,
                f"{cpus} is for a Ray of our own; the cluster at {address} has its own number",
            ),
            (self.wait_for_nodes and not has_address, f"{nodes} is for a cluster; {address} is not given"),
        ]


@dataclass(frozen=True, kw_only=True)
class RunSettings(SharedSettings):
    """How a run is to run; its run folder keeps this, so that the run can be resumed."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"allow_inf_nan": False, "revalidate_instances": "always"}

    tasks: Annotated[
        Sequence[str],
        Option("run only the tasks of this name; default: all", Names("tasks"), flag="--task", metavar="NAME"),
    ] = ()
    upstream: Annotated[bool, Option("run what the named tasks need, too")] = False

    def __post_init__(self) -> None:
        """Copy what callers could change later; one name alone is a list of one, not of its letters."""
        tasks: Any = self.tasks
        if isinstance(tasks, str | list):
            object.__setattr__(self, "tasks", (tasks,) if isinstance(tasks, str) else tuple(tasks))

    def _conflicts(self, named: Callable[[str], str]) -> list[tuple[bool, str]]:
        tasks, upstream = named("tasks"), named("upstream")
        nothing = (
            self.upstream and not self.tasks,
            f"{upstream} says what else to run beside {tasks}; {tasks} is not given",
        )
        return [nothing, *super()._conflicts(named)]

    def over(self, given: Mapping[str, Any]) -> Self:
        """These settings, of an earlier run, with those that are given now.

        Args:
            given: by name, others than settings among them; None where one is not given. Another engine forgets what
                only the old one understood.
        """
        known = declared(SharedSettings)
        changed = {name: value for name, value in given.items() if name in known and value is not None}
        is_other = changed.get("executor", self.executor) != self.executor or "ray_address" in changed
        if is_other or "num_cpus" in changed:
            changed = {"num_cpus": None, "ray_address": None, "wait_for_nodes": False, **changed}
        return replace(self, **changed)

    @classmethod
    def of(cls, given: "RunSettings") -> "RunSettings":
        """The settings alone, in what else a user chose."""
        return RunSettings(**{field.name: getattr(given, field.name) for field in fields(RunSettings)})


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a run shows while it goes on."""

    progress: Annotated[
        bool,
        Option(
            "show on standard error how the run goes",
            more="The command line sums up failures at the end in any case",
        ),
    ] = True


@dataclass(frozen=True, kw_only=True)
class RunChoices(Shown, RunSettings):
    """All that a user can choose for a new run."""

    output_dir: Annotated[
        str | os.PathLike[str],
        Option("run folders are made below it: `DIR/<pipeline>/<run id>`", metavar="DIR"),
    ] = "runs"


@dataclass(frozen=True, kw_only=True)
class ResumeChoices(Shown, SharedSettings):
    """All that a user can choose for a resume; what is not given is as the run had it."""
