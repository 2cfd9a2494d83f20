"""The options of tasks, each declared once: :class:`TaskOptions`.

A new option is a field here, the place that obeys it, and a test.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal, Self

from pynb_dag_runner.model.declarations import Amounts, Names, Number, Option, StoredInteger, declared, problems_of

MAX_RETRY_DELAY_S = 366 * 86_400.0
"""So that a delay that grows ends somewhere, and that clocks hold its end."""

Isolation = Literal["fresh", "shared"]

_COUNT, _AMOUNT, _LIMIT = Number(is_whole=True), Number(), Number(above=0)


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Options of every task."""

    retries: Annotated[StoredInteger, Option("further attempts after one that did not succeed", _COUNT)] = 0
    retry_delay_s: Annotated[float, Option("seconds between an attempt's end and the start of the next", _AMOUNT)] = 0.0
    retry_backoff: Annotated[
        float, Option("factor by which that delay grows with each further attempt: 2 doubles it", Number(least=1))
    ] = 1.0
    retry_max_delay_s: Annotated[
        float | None, Option("the delay grows no further, chance included; default: no limit", _AMOUNT)
    ] = None
    retry_jitter: Annotated[
        float,
        Option("largest share of the delay, from 0 to 1, that chance adds or takes away", Number(most=1)),
    ] = 0.0
    timeout_s: Annotated[
        float | None,
        Option("seconds an attempt may run, counted from its start, then it is ended; default: no limit", _LIMIT),
    ] = None
    num_cpus: Annotated[
        float, Option("processors that an attempt holds while it runs; fractions are allowed", _AMOUNT)
    ] = 1.0
    num_gpus: Annotated[
        float, Option("GPUs that an attempt holds while it runs; fractions below 1 are allowed", _AMOUNT)
    ] = 0.0
    memory: Annotated[
        StoredInteger | None,
        Option(
            "bytes that the scheduler sets aside for an attempt, and that it may use; default: not counted",
            _LIMIT,
            more="An attempt that uses more is ended as `CRASHED`, `OutOfMemory`",
            key="memory_bytes",
        ),
    ] = None
    resources: Annotated[
        Mapping[str, float], Option("amounts of the cluster's custom resources that an attempt holds", Amounts())
    ] = field(default_factory=dict)
    promoted_metrics: Annotated[
        Sequence[str],
        Option(
            "names of metrics of the task by which runs are compared",
            Names("metrics"),
            more="MLflow's parent run has them as `<metric>/<task>`",
        ),
    ] = ()

    def __post_init__(self) -> None:
        """Copy what callers could change later; one name alone is a list of one, not of its letters."""
        metrics: Any = self.promoted_metrics
        if isinstance(metrics, str | list):
            object.__setattr__(self, "promoted_metrics", (metrics,) if isinstance(metrics, str) else tuple(metrics))
        amounts: Any = self.resources
        if amounts is None or isinstance(amounts, Mapping):
            object.__setattr__(self, "resources", dict(amounts or {}))

    def problems(self) -> list[str]:
        """What is wrong with the values, one phrase each; empty when all is well."""
        return problems_of(self) or [*self._amount_problems(), *self._delay_problems()]

    def _amount_problems(self) -> list[str]:
        found = []
        if self.num_gpus > 1 and self.num_gpus != int(self.num_gpus):
            found.append(f"num_gpus must be a whole number if it is above 1, got {self.num_gpus!r}")
        if self.memory is not None and self.memory != int(self.memory):
            found.append(f"memory must be a whole number of bytes, got {self.memory!r}")
        return found

    def _delay_problems(self) -> list[str]:
        limit = math.inf if self.retry_max_delay_s is None else self.retry_max_delay_s
        try:
            longest = self.retry_delay_s * float(self.retry_backoff) ** max(0, self.retries - 1)
        except OverflowError:
            longest = math.inf
        if min(longest, limit) <= MAX_RETRY_DELAY_S:
            return []
        return [f"its last retry would wait more than {MAX_RETRY_DELAY_S / 86_400:g} days; set retry_max_delay_s"]


@dataclass(frozen=True, kw_only=True)
class FunctionOptions(CommonOptions):
    """Options of functions."""

    isolation: Annotated[
        Isolation,
        Option(
            "`shared`: an attempt may begin in a process in which others with this option have run, and find what they "
            "did to it; `fresh`: it begins in a process that has imported the function's module, and in which nothing "
            "else has run",
            more="`shared` is for thousands of short tasks, and for what is costly to load and kept in a global "
            "variable",
        ),
    ] = "fresh"


@dataclass(frozen=True, kw_only=True)
class NotebookOptions(CommonOptions):
    """Options of notebooks."""


@dataclass(frozen=True, kw_only=True)
class TaskOptions(NotebookOptions, FunctionOptions):
    """How a task is to run. Options that its kind of task does not have keep their defaults."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "alias_generator": lambda name: declared(TaskOptions)[name].key,
        "populate_by_name": True,  # where options are revalidated, they have the names of fields
        "allow_inf_nan": False,
        "revalidate_instances": "always",  # a record holds 1.0 where 1 was given for a number of seconds
    }
    """For the run folder, whose records hold options: read strictly, with its keys, whatever else a file has."""

    @classmethod
    def of(cls, given: CommonOptions) -> Self:
        """The options in the arguments of a kind of task."""
        names = [field.name for field in fields(cls) if hasattr(given, field.name)]
        return cls(**{name: getattr(given, name) for name in names})
