"""Results as JSON, and as the tables of a markdown page."""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparing import Compared, Row
from benchmarks.machine import Machine


def to_json(group: str, machine: Machine, results: Sequence[Compared]) -> str:
    """All that is known of a group's results."""
    document = {
        "group": group,
        "machine": dataclasses.asdict(machine),
        "comparisons": [dataclasses.asdict(compared) for compared in results],
    }
    return json.dumps(document, indent=1) + "\n"


def to_markdown(machine: Machine, results: Sequence[Compared]) -> str:
    """A paragraph on the machine, then a table for each comparison."""
    return "\n\n".join([_machine_words(machine), *map(_table, results)]) + "\n"


def _machine_words(machine: Machine) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    return (
        f"Measured on {machine.date}: {machine.cpus} processors ({machine.processor}), "
        f"{machine.memory_bytes / 2**30:.0f} GB, {machine.system}; load of the machine at the end {machine.load:g}.\n"
        f"{versions}."
    )


def _table(compared: Compared) -> str:
    lines = [f"**{compared.title}**", ""]
    if compared.note:
        lines += [compared.note, ""]
    lines += [f"| | | median | least | n | ratio to {compared.reference} |", "|---|---|---|---|---|---|"]
    last = None
    for row in compared.rows:
        label = compared.labels[row.quantity] if row.quantity != last else ""
        last = row.quantity
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        median, least = shown(row.quantity, row.median, row.median), shown(row.quantity, row.least, row.median)
        lines.append(f"| {label} | {row.way} | {median} | {least} | {row.n} | {ratio} |")
    for way, reason in compared.failures.items():
        first = reason.splitlines()[0].partition(":")[0]
        lines.append(f"| not measured | {way} | {first} | | | |")
    if compared.conclusions:
        lines += ["", *compared.conclusions]
    return "\n".join(lines)


def shown(quantity: str, value: float, like: float) -> str:
    """A value with its unit, in the scale that suits ``like``."""
    if quantity.endswith("_bytes"):
        return f"{value / 1e6:.1f} MB" if like >= 1e6 else f"{value / 1e3:.2f} KB"
    if like >= 10:
        return f"{value:.1f} s"
    if like >= 0.995:
        return f"{value:.2f} s"
    if like >= 0.01:
        return f"{value * 1e3:.0f} ms"
    return f"{value * 1e3:.2f} ms" if like >= 1e-4 else f"{value * 1e6:.2f} µs"


def spread(rows: Sequence[Row], quantity: str, ways: Sequence[str]) -> float | None:
    """The largest over the smallest median of a quantity; None: some are missing."""
    values = [row.median for row in rows if row.quantity == quantity and row.way in ways]
    return max(values) / min(values) if len(values) == len(ways) and min(values) > 0 else None


def put_into(page: Path, group: str, text: str) -> None:
    """Replace what stands between a group's markers in a page.

    Raises:
        LookupError: the page has no such markers.
    """
    begin, end = f"<!-- benchmarks: {group} -->", f"<!-- end of benchmarks: {group} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    before = page.read_text()
    if not pattern.search(before):
        raise LookupError(f"{page} has no {begin} ... {end}")
    page.write_text(pattern.sub(lambda _: f"{begin}\n\n{text.strip()}\n\n{end}", before))
