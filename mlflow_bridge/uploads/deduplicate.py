"""Which of several MLflow runs of one key stay. Pure.

MLflow has no unique key for runs. Two uploads of copies of one folder, on two hosts, may both make a run for a key.
Each upload ends with the same rule, so that any order leads to one set: of the complete runs of a key below one parent,
the one of the latest revision stays, and of these the one with the smallest id. An incomplete one may still be in
progress elsewhere and is not touched, unless whoever made it is known to be gone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from mlflow_bridge.model.values import StoredRun
from mlflow_bridge.tags import COMPLETE, KEY, PARENT, REVISION, SUPERSEDED, UPLOAD, UPLOADER


def is_complete(run: StoredRun) -> bool:
    """Whether an upload has sent all of it."""
    return run.tags.get(UPLOAD) == COMPLETE


def is_superseded(run: StoredRun) -> bool:
    """Whether the bridge itself has put it into the bin."""
    return run.tags.get(UPLOAD) == SUPERSEDED


def revision(run: StoredRun) -> int:
    """The state of the run folder that it was made from."""
    text = run.tags.get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def chosen(runs: Iterable[StoredRun]) -> StoredRun | None:
    """Of runs with the same key, the one to go on with: the latest revision, a complete one, the smallest id."""
    active = [run for run in runs if not run.deleted and not is_superseded(run)]
    return min(active, key=lambda run: (-revision(run), not is_complete(run), run.id), default=None)


def deleted_by_user(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Of runs with the same key, those in the bin, if someone has deleted all that there was of it."""
    return [run for run in runs if run.deleted and not is_superseded(run)] if chosen(runs) is None else []


def superseded(
    runs: Iterable[StoredRun], root_key: str, is_abandoned: Callable[[str], bool] = lambda uploader: False
) -> list[StoredRun]:
    """The runs that have to go, those of a lost parent included; no run comes before the one it is nested in.

    Args:
        runs: all runs of one pipeline run.
        root_key: the key of its parent run.
        is_abandoned: whether nobody will complete what this uploader has made.
    """
    active = [run for run in runs if not run.deleted]
    below: dict[str | None, list[StoredRun]] = {}
    for run in active:
        below.setdefault(run.tags.get(PARENT), []).append(run)
    roots = [run for run in active if run.tags.get(KEY) == root_key]
    # Below a lost parent, a run may be found twice.
    return list({run.id: run for run in _losers(roots, below, is_abandoned)}.values())


def orphans(runs: Iterable[StoredRun], uploader: str) -> list[StoredRun]:
    """What an uploader has made below runs that have lost; no run comes before the one it is nested in."""
    runs = list(runs)
    below: dict[str | None, list[StoredRun]] = {}
    for run in runs:
        below.setdefault(run.tags.get(PARENT), []).append(run)
    lost = [run for root in runs if is_superseded(root) for run in _with_descendants(root, below)]
    found = {run.id: run for run in lost if not run.deleted and run.tags.get(UPLOADER) == uploader}
    return list(found.values())


def _losers(
    siblings: list[StoredRun], below: dict[str | None, list[StoredRun]], is_abandoned: Callable[[str], bool]
) -> Iterator[StoredRun]:
    by_key: dict[str, list[StoredRun]] = {}
    for run in siblings:
        by_key.setdefault(run.tags.get(KEY, ""), []).append(run)
    for same in by_key.values():
        winner = chosen(run for run in same if is_complete(run))
        for run in same:
            if run is not winner and (
                is_superseded(run) or (winner and (is_complete(run) or is_abandoned(run.tags.get(UPLOADER, ""))))
            ):
                yield from _with_descendants(run, below)
        if winner:
            yield from _losers(below.get(winner.id, []), below, is_abandoned)


def _with_descendants(run: StoredRun, below: dict[str | None, list[StoredRun]]) -> Iterator[StoredRun]:
    yield run
    for child in below.get(run.id, []):
        yield from _with_descendants(child, below)
