"""Keep compiled jinja2 templates between runs: compiling them takes longer than filling them in.

They are code, so they are only taken from a directory that nobody else can write to, or put another in the place of.
"""

import contextlib
import os
import stat
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pynb_dag_runner.processes.private_directory import problem_above

if TYPE_CHECKING:
    import jinja2


def template_cache() -> "jinja2.BytecodeCache | None":
    """For an environment of jinja2's; None: there is no place for one, and templates are compiled each time."""
    import jinja2  # takes 30 ms to import: only who draws pays

    class Forgiving(jinja2.FileSystemBytecodeCache):
        """What can't be kept or found, on a full disk say, is compiled again."""

        def load_bytecode(self, bucket: "jinja2.bccache.Bucket") -> None:
            with contextlib.suppress(OSError):
                super().load_bytecode(bucket)

        def dump_bytecode(self, bucket: "jinja2.bccache.Bucket") -> None:
            with contextlib.suppress(OSError):
                super().dump_bytecode(bucket)

    directory = _directory()
    return None if directory is None else Forgiving(str(directory))


def _directory() -> Path | None:
    """One in the user's cache for these versions: jinja2 itself only tells those of Python and of a template apart."""
    try:
        wanted = os.environ.get("XDG_CACHE_HOME", "")
        # Relative ones are to be ignored, says the XDG Base Directory Specification.
        cache = Path(wanted) if os.path.isabs(wanted) else Path.home() / ".cache"  # noqa: PTH117 - "" is no path
        versions = "-".join(version(package) for package in ("pynb-dag-runner", "jinja2", "nbconvert"))
        directory = cache / "pynb-dag-runner" / f"templates-{versions}"
        directory = directory.resolve()  # links could be exchanged after this
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = directory.stat()
    except (OSError, RuntimeError, PackageNotFoundError):  # RuntimeError: there is no home directory
        return None
    mine = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return directory if mine and problem_above(directory) is None else None
