"""How much is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.comparing import Comparison, Way
from pynb_dag_runner.processes.machine import usable_cpus

WIDTH = usable_cpus()
"""Notebooks that are evaluated at once, by everybody."""


@dataclass(frozen=True)
class Scale:
    """The long form or the short one.

    Attributes:
        short: as little of everything as still shows that it works.
        rounds: how often each way is measured; None: as often as each comparison says.
    """

    short: bool
    rounds: int | None = None

    def times(self, usual: int) -> int:
        """Rounds of a comparison."""
        return 1 if self.short else self.rounds or usual

    def ways(self, *ways: Way) -> Sequence[Way]:
        """Those that are measured."""
        return [way for way in ways if not (self.short and way.slow)]

    def of(self, long: int, short: int) -> int:
        """A number of things."""
        return short if self.short else long


Group = Callable[[Scale], Sequence[Comparison]]
