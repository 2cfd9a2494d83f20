"""A run folder in which every text that a reader takes as it is tries to break out of what it is shown in."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pynb_dag_runner.errors import RunFolderError
from pynb_dag_runner.run_folder import paths, read_attempt_details, read_run
from tests.reports.reported_runs import HOSTILE

GOLDEN = Path(__file__).parents[1] / "golden" / "run-folder-1.1"
BAD = " ".join(HOSTILE)
_NAMES = frozenset({"name", "task", "tasks", "upstream", "blocked_by"})
"""Keys under which names of tasks stand; these are changed together with the folders."""


def hostile_folder(folder: Path) -> list[str]:
    """Make the run folder; gives the places that became hostile, such as ``run.json: git.branch``.

    No list of keys is kept here: each text is replaced, and put back if the folder can't be read any more. So a key
    that is added to the format is tried, too.
    """
    shutil.copytree(GOLDEN, folder)
    _rename_tasks(folder)
    return [place for path in sorted(folder.rglob("*.json*")) for place in _spoil(folder, path)]


def _rename_tasks(folder: Path) -> None:
    names = [task["name"] for task in json.loads((folder / paths.RUN).read_text())["tasks"]]
    new = dict(zip(names, HOSTILE, strict=False))
    for path in folder.rglob("*.json*"):
        documents = [_renamed(document, new) for document in _documents(path)]
        _write(path, documents)
    for name, hostile in new.items():
        paths.task_folder(folder, name).rename(paths.task_folder(folder, hostile))


def _renamed(value: Any, new: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(item, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, new) for item in value]
    return new.get(value, value) if isinstance(value, str) else value


def _spoil(folder: Path, path: Path) -> Iterator[str]:
    documents = _documents(path)
    for holder, key, place in [found for document in documents for found in _texts(document, "")]:
        old = holder[key]
        holder[key] = BAD
        _write(path, documents)
        if _is_readable(folder):
            yield f"{path.relative_to(folder).name}: {place}"
        else:
            holder[key] = old
            _write(path, documents)


def _texts(value: Any, place: str) -> Iterator[tuple[Any, Any, str]]:
    """Every text below ``value``: what holds it, its key there, and its place in words."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        where = f"{place}.{key}".lstrip(".")
        if isinstance(item, dict | list):
            if key not in _NAMES or isinstance(item, dict) or not all(isinstance(name, str) for name in item):
                yield from _texts(item, where)
        elif isinstance(item, str) and key not in _NAMES:
            yield value, key, where


def _documents(path: Path) -> list[Any]:
    text = path.read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]


def _write(path: Path, documents: list[Any]) -> None:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents), "utf-8")


def _is_readable(folder: Path) -> bool:
    try:
        run = read_run(folder)
        for task in run.tasks:
            for attempt in task.attempts:
                read_attempt_details(run, attempt)
    except RunFolderError:
        return False
    return True
