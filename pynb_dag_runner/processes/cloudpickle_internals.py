"""What is private to cloudpickle: the names that its pickles call to make a class that they bring along."""

from functools import cache

import cloudpickle.cloudpickle

from pynb_dag_runner.processes.changed_names import note

TESTED_RELEASES = ("2.2", "3.1")
"""The oldest and the newest minor release for which the tests pass."""

_MAKE_CLASSES = ("_make_skeleton_class", "_make_skeleton_enum")


def makes_a_class(module: str, name: str) -> bool:
    """Whether a pickle that looks up this name makes a class with it. Where the names are others, that is noted."""
    return module.startswith("cloudpickle") and name in _known()


@cache
def _known() -> tuple[str, ...]:
    missing = [name for name in _MAKE_CLASSES if not callable(getattr(cloudpickle.cloudpickle, name, None))]
    if missing:
        note(
            "cloudpickle",
            f"it has no {' and no '.join(missing)}",
            "classes that values of an earlier run bring along are not compared with the program's",
        )
    return tuple(name for name in _MAKE_CLASSES if name not in missing)
