"""Ways of doing the same, measured in turn (A B C A B C ...), and what came of it as medians and ratios.

A machine is never twice the same; what is measured side by side is comparable all the same.
"""

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measuring import MeasurementFailed

Quantities = Mapping[str, float]
"""What one measurement gave, by name: ``..._s`` seconds, ``..._bytes`` bytes."""


@dataclass(frozen=True)
class Way:
    """One way of doing something.

    Attributes:
        name: for people.
        measure: does it once in an empty directory, which is removed afterwards.
        slow: left out where it only matters that everything works.
    """

    name: str
    measure: Callable[[Path], Quantities]
    slow: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity of one way.

    Attributes:
        ratio: of the median to that of the reference.
    """

    quantity: str
    way: str
    median: float
    least: float
    n: int
    ratio: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared.

    Attributes:
        title: for people.
        reference: name of the way that the others are set against.
        labels: what each quantity is, in the order in which they are shown.
        note: how to read it.
        rounds: how often each way is measured.
        conclude: sentences that follow from the rows.
    """

    title: str
    reference: str
    ways: Sequence[Way]
    labels: Mapping[str, str]
    note: str = ""
    rounds: int = 3
    conclude: Callable[[Sequence[Row]], Sequence[str]] = lambda _rows: ()


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What came of it.

    Attributes:
        failures: for each way that could not be measured, why.
    """

    title: str
    reference: str
    labels: Mapping[str, str]
    note: str
    rows: tuple[Row, ...]
    conclusions: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    def median(self, quantity: str, way: str) -> float:
        """Of one row; raises StopIteration if there is none."""
        return next(row.median for row in self.rows if (row.quantity, row.way) == (quantity, way))


def compare(comparison: Comparison, say: Callable[[str], None] = lambda _line: None) -> Compared:
    """Measure all ways once in each round.

    Args:
        say: called with a line after each measurement.
    """
    found: dict[str, list[Quantities]] = {way.name: [] for way in comparison.ways}
    failures: dict[str, str] = {}
    for number in range(comparison.rounds):
        for way in comparison.ways:
            if way.name in failures:
                continue
            try:
                with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
                    quantities = way.measure(Path(directory))
            except MeasurementFailed as failure:
                failures[way.name] = str(failure)
                say(f"{comparison.title}, {way.name}: failed: {failure}")
            else:
                found[way.name].append(quantities)
                told = ", ".join(f"{name} {value:.4g}" for name, value in quantities.items())
                say(f"{comparison.title}, round {number + 1}, {way.name}: {told}")
    rows = rows_of(found, tuple(comparison.labels), comparison.reference)
    return Compared(
        title=comparison.title,
        reference=comparison.reference,
        labels=comparison.labels,
        note=comparison.note,
        rows=rows,
        conclusions=tuple(comparison.conclude(rows)),
        failures=failures,
    )


def rows_of(found: Mapping[str, Sequence[Quantities]], quantities: Sequence[str], reference: str) -> tuple[Row, ...]:
    """Medians and their ratios; a way that lacks a quantity has no row for it."""
    rows = []
    for quantity in quantities:
        values = {
            way: [measured[quantity] for measured in rounds if quantity in measured] for way, rounds in found.items()
        }
        base = statistics.median(values[reference]) if values.get(reference) else None
        for way, measured in values.items():
            if measured:
                median = statistics.median(measured)
                ratio = median / base if base else None
                rows.append(
                    Row(
                        quantity=quantity,
                        way=way,
                        median=median,
                        least=min(measured),
                        n=len(measured),
                        ratio=ratio,
                    )
                )
    return tuple(rows)
