"""The groups in their short form give complete output; the rest of them runs as ``make bench-smoke`` in CI."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import GROUPS, PAGE, ROOT
from benchmarks.groups.scale import Scale


def test_the_short_form_of_a_group_writes_tables_and_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "latency", "--short", "--output-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=200)
    (comparison,) = json.loads((tmp_path / "latency.json").read_text())["comparisons"]
    ways = ["functions on processes", "notebooks on processes"]
    assert [(row["quantity"], row["way"]) for row in comparison["rows"]] == [
        (quantity, way) for quantity in ("gap_s", "longest_gap_s") for way in ways
    ]
    assert all(0 < row["median"] < 60 for row in comparison["rows"])
    assert "**From one task's end to the next one's start" in (tmp_path / "latency.md").read_text()


@pytest.mark.parametrize("name", GROUPS)
def test_each_comparison_has_its_reference_and_each_group_its_place_in_the_page(name: str) -> None:
    for comparison in GROUPS[name](Scale(short=False)):
        assert comparison.labels
        assert comparison.reference in [way.name for way in comparison.ways]
    assert f"<!-- benchmarks: {name} -->" in PAGE.read_text()


def test_an_unknown_group_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks", "speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "there is no group 'speed'" in done.stderr) == (2, True)
