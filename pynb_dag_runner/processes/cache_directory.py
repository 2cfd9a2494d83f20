"""The user's cache: a directory for what is quicker to find than to make, and only if nobody else can write to it.

``platformdirs`` would take a relative ``XDG_CACHE_HOME``, makes ``~/.cache`` in the current directory of a user without
a home, and checks no owner.
"""

import os
import stat
from pathlib import Path

from pynb_dag_runner.processes.private_directory import problem_above


def cache_directory(name: str) -> Path | None:
    """A directory of this user's alone in the cache, made if need be; None if there is no place for one.

    Args:
        name: of the directory; with the versions of what it depends on.
    """
    try:
        wanted = os.environ.get("XDG_CACHE_HOME", "")
        # Relative ones are to be ignored, says the XDG Base Directory Specification.
        cache = Path(wanted) if os.path.isabs(wanted) else Path.home() / ".cache"  # noqa: PTH117 - "" is no path
        directory = (cache / "pynb-dag-runner" / name).resolve()  # links could be exchanged after this
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = directory.stat()
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        return None
    mine = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return directory if mine and problem_above(directory) is None else None
