"""What runs in the worker of a cluster's node: one call for each task of Ray's, with the project's files around it."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynb_dag_runner.executors.hosts.supervisor import Host
from pynb_dag_runner.executors.on_ray.relay import Request, made
from pynb_dag_runner.executors.project import ROOTS_VARIABLE, here, unpack
from pynb_dag_runner.executors.watchdog import Watchdog
from pynb_dag_runner.processes.module_files import Imports, moved
from pynb_dag_runner.processes.private_directory import PrivateDirectory


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedProject:
    """The project's files, in Ray's store."""

    archive: Any
    roots: tuple[Path, ...]
    inode: int


_worker: "_NodeWorker | None" = None
"""Of this process, from its first job on."""


class _NodeWorker:
    """Ends what hosts started when the worker is killed, and keeps the project's files meanwhile."""

    def __init__(self, ray: Any, project: SharedProject | None) -> None:
        self._directory = PrivateDirectory()
        self._watchdog = Watchdog(self._directory)
        self._places: dict[str, str] = {}
        if project is not None and not _is_here(project):
            self._places = unpack(ray.get(project.archive), project.roots, self._directory.path / "project")

    def imports(self, imports: Imports) -> Imports:
        """The driver's, with what stands here for its directories, as far as something does."""
        return moved(imports, lambda path: here(path, self._environment))

    @property
    def _environment(self) -> dict[str, str]:
        return {ROOTS_VARIABLE: json.dumps(self._places)}

    def host(self) -> Host:
        """A new host, which starts in the project."""
        return Host(directory=next(iter(self._places.values()), None), environment=self._environment)


def _is_here(project: SharedProject) -> bool:
    """Whether this machine shares the driver's disk."""
    with contextlib.suppress(OSError):
        return project.roots[0].stat().st_ino == project.inode
    return False


def relay(request: Request, project: SharedProject | None, inputs: list[Any]) -> Iterator[object]:
    """In the worker: have the call made by a host process, and pass on what it says.

    Args:
        project: None: what the call needs is there already.
        inputs: in Ray's store.
    """
    global _worker
    import ray

    if _worker is None:
        _worker = _NodeWorker(ray, project)
    values = [ray.get(reference) for reference in inputs]
    yield from made(request, _worker.imports(request.imports), values, _worker.host)
