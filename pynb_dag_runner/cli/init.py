"""``init``: write a small project to start from."""

import shlex
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from pynb_dag_runner.errors import UsageError

_TEMPLATES = ("pipeline.py", "notebooks/make_measurements.py", "notebooks/fit_line.py", "README.md", "gitignore")
"""Below ``templates``. Written out, since a walk would also find the caches that Python leaves there."""


@click.command(short_help="Write a small project to start from.")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
def init(directory: Path) -> int:
    """Write a small pipeline with two notebooks and a function into DIR.

    Files that are there already are never overwritten.
    """
    templates = files("pynb_dag_runner.cli") / "templates"
    targets = {directory / _file_name(name): templates / name for name in _TEMPLATES}
    existing = [str(target) for target in targets if target.exists() or target.is_symlink()]
    if existing:
        raise UsageError(f"nothing is written, since {', '.join(existing)} would be overwritten")
    for target, template in targets.items():
        _write(target, template)
    click.echo("\n".join([*(f"wrote {target}" for target in targets), "", "next:", *_next_commands(directory)]))
    return 0


def _file_name(template: str) -> str:
    """The template of ``.gitignore`` has no dot: it is not meant for our own repository."""
    return ".gitignore" if template == "gitignore" else template


def _write(target: Path, template: Traversable) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(template.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{str(target)!r} can't be written: {error.strerror}") from None


def _next_commands(directory: Path) -> list[str]:
    enter = [] if directory.resolve() == Path.cwd() else [f"  cd {shlex.quote(str(directory))}"]
    return [*enter, "  pynb-dag-runner check pipeline.py", "  pynb-dag-runner run pipeline.py"]
