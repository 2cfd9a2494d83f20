"""What jobs and the driver keep in Ray's store, under handles that are no Ray objects themselves.

A reference of Ray's that is dropped while another thread shuts Ray down ends the whole process with exit code 1 ("the
core worker has already been shutdown", seen with Ray 2.60). So all references are here, and are let go of before.
"""

import itertools
from collections.abc import Iterable
from typing import Any

from pynb_dag_runner.executors.base import Handle
from pynb_dag_runner.processes.pickling import dumps


class RayStore:
    """Kept values. Clear it before Ray is shut down.

    Args:
        ray: the module.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._references: dict[Handle, Any] = {}
        self._numbers = itertools.count()

    def put(self, value: Any) -> Handle:
        """Keep a picklable value of the driver's."""
        return self.keep(self._ray.put(dumps(value)))

    def keep(self, reference: Any) -> Handle:
        """Keep what a task of Ray's left in the store."""
        handle = Handle(next(self._numbers))
        self._references[handle] = reference
        return handle

    def references(self, handles: Iterable[Handle]) -> list[Any]:
        """Ray's names for the values."""
        return [self._references[handle] for handle in handles]

    def clear(self) -> None:
        """Let go of all values."""
        self._references.clear()
