"""Which of several MLflow runs of one key stay. Pure.

MLflow has no unique key for runs. Two uploads of copies of one folder, on two hosts, may both make a run for a key.
Each upload ends with the same rule, so that any order leads to one set: of the complete runs of a key below one parent,
the one with the smallest id stays. An incomplete one may still be in progress elsewhere and is never touched.
"""

from collections.abc import Iterable, Iterator, Sequence

from mlflow_bridge.mapping import COMPLETE, KEY, PARENT, UPLOAD
from mlflow_bridge.values import StoredRun


def is_complete(run: StoredRun) -> bool:
    """Whether an upload has sent all of it."""
    return run.tags.get(UPLOAD) == COMPLETE


def chosen(runs: Iterable[StoredRun]) -> StoredRun | None:
    """Of runs with the same key, the one to go on with: a complete one before others, then the smallest id."""
    active = [run for run in runs if not run.deleted]
    return min(active, key=lambda run: (not is_complete(run), run.id), default=None)


def nothing_to_send(runs: Sequence[StoredRun]) -> bool:
    """Whether the run that these runs of one key stand for is complete, or was deleted by someone in MLflow."""
    one = chosen(runs)
    return bool(runs) and (one is None or is_complete(one))


def superseded(runs: Iterable[StoredRun], root_key: str) -> list[StoredRun]:
    """The runs that have to go, those of a lost parent included; no run comes before the one it is nested in.

    Args:
        runs: all runs of one pipeline run.
        root_key: the key of its parent run.
    """
    active = [run for run in runs if not run.deleted]
    below: dict[str | None, list[StoredRun]] = {}
    for run in active:
        below.setdefault(run.tags.get(PARENT), []).append(run)
    return list(_losers([run for run in active if run.tags.get(KEY) == root_key], below))


def _losers(siblings: list[StoredRun], below: dict[str | None, list[StoredRun]]) -> Iterator[StoredRun]:
    by_key: dict[str, list[StoredRun]] = {}
    for run in siblings:
        by_key.setdefault(run.tags.get(KEY, ""), []).append(run)
    for same in by_key.values():
        complete = sorted((run for run in same if is_complete(run)), key=lambda run: run.id)
        for loser in complete[1:]:
            yield from _with_descendants(loser, below)
        for winner in complete[:1]:
            yield from _losers(below.get(winner.id, []), below)


def _with_descendants(run: StoredRun, below: dict[str | None, list[StoredRun]]) -> Iterator[StoredRun]:
    yield run
    for child in below.get(run.id, []):
        yield from _with_descendants(child, below)
