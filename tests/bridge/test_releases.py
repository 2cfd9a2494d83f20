"""What the documentation says that old servers lose is what ``make test-mlflows`` holds them to."""

import re

from tests.bridge.releases.__main__ import LOST, ROOT


def test_the_table_of_old_servers_is_current() -> None:
    text = (ROOT / "docs/mlflow.md").read_text()
    [table] = re.findall(r"\| server \| it does not take \|\n\|---\|---\|\n((?:\|.*\n)+)", text)
    told: dict[str, frozenset[str]] = {}
    for row in table.splitlines():
        _, releases, lost, _ = (cell.strip() for cell in row.split("|"))
        told |= {release: frozenset(lost.split(", ")) - {"-"} for release in releases.split(", ")}
    assert told == LOST
