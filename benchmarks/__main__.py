"""Measure: ``python -m benchmarks [GROUP ...] [--short]``; see docs/performance.md."""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.comparing import compare
from benchmarks.groups import fixed_cost, functions, growth, latency, memory, notebooks
from benchmarks.groups.scale import Group, Scale
from benchmarks.machine import this_machine
from benchmarks.tables import put_into, to_json, to_markdown

GROUPS: dict[str, Group] = {
    "notebooks": notebooks.comparisons,
    "fixed-cost": fixed_cost.comparisons,
    "functions": functions.comparisons,
    "latency": latency.comparisons,
    "growth": growth.comparisons,
    "memory": memory.comparisons,
}
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed and memory, side by side.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all if none is given")
    parser.add_argument("--short", action="store_true", help="as little as shows that everything works; keeps nothing")
    parser.add_argument("--rounds", type=int, help="how often each way is measured, instead of what is usual")
    parser.add_argument("--output-dir", type=Path, help="where JSON and markdown go, instead of to the page")
    found = parser.parse_args()
    unknown = sorted(set(found.groups) - GROUPS.keys())
    if unknown:
        parser.error(f"there is no group {unknown[0]!r}; there are {', '.join(GROUPS)}")
    return found


def say(line: str) -> None:
    """Tell how it goes on."""
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Measure the groups; returns 1 if something could not be measured."""
    chosen = options()
    scale = Scale(short=chosen.short, rounds=chosen.rounds)
    failed = False
    for name in chosen.groups or GROUPS:
        begin = time.monotonic()
        results = [compare(comparison, say) for comparison in GROUPS[name](scale)]
        failed |= any(compared.failures for compared in results)
        machine = this_machine()
        text = to_markdown(machine, results)
        if chosen.output_dir:
            chosen.output_dir.mkdir(parents=True, exist_ok=True)
            (chosen.output_dir / f"{name}.json").write_text(to_json(name, machine, results))
            (chosen.output_dir / f"{name}.md").write_text(text)
        elif not chosen.short:
            (ROOT / "benchmarks" / "results" / f"{name}.json").write_text(to_json(name, machine, results))
            put_into(PAGE, name, text)
        print(f"## {name}, {time.monotonic() - begin:.0f} s\n\n{text}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
