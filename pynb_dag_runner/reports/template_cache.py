"""Keep compiled jinja2 templates between runs: compiling them takes longer than filling them in.

They are code, so they are only taken from a directory that nobody else can write to, or put another in the place of.
"""

import contextlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pynb_dag_runner.processes.cache_directory import cache_directory

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
    """One for these versions: jinja2 itself only tells those of Python and of a template apart."""
    try:
        versions = "-".join(version(package) for package in ("pynb-dag-runner", "jinja2", "nbconvert"))
    except PackageNotFoundError:
        return None
    return cache_directory(f"templates-{versions}")
