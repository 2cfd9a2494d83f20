"""Import what the user asked for once, for all processes that are forked afterwards."""

import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What came of it.

    Attributes:
        refusal: why no process can come from one that has imported this; None: all can.
        remarks: what such a process will find otherwise than if it had imported by itself.
    """

    refusal: str | None = None
    remarks: tuple[str, ...] = ()


NOTHING = Imported()


def import_ahead(names: Sequence[str], entry: ModuleType) -> Imported:
    """Import modules as the entry's own processes would.

    Args:
        entry: may have ``importing_ahead(remarks)``, a context in which the imports find what they look for.
    """
    remarks: list[str] = []
    context: Callable[[list[str]], AbstractContextManager[None]]
    context = getattr(entry, "importing_ahead", lambda _: nullcontext())
    what = f"importing {', '.join(names)}"
    refusal: str | None = None
    try:
        with context(remarks):
            files = _open_files()
            refusal = next(_raised(names), None)
            left = _open_files() - files
    except Exception as error:  # noqa: BLE001 - other releases of Jupyter's; who is refused imports by himself
        return Imported(refusal=f"there is nothing that looks like a kernel to {what}: {type(error).__name__}: {error}")
    refusal = refusal or thread_problem(what)
    if refusal is None and left:
        refusal = f"{what} left files open"
    return Imported(refusal=refusal, remarks=tuple(remarks))


def _raised(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - a module may raise anything; in the notebook it will be seen
            yield f"importing {name!r} raised {type(error).__name__}: {error}"


def thread_problem(who: str) -> str | None:
    """A sentence about threads that a fork would lose; None: there are none.

    Some libraries end theirs when the process forks, and start them anew when they are needed: OpenBLAS does.
    """
    if _threads() > 1 and threading.active_count() == 1:
        _fork_for_nothing()
    number = _threads()
    return None if number == 1 else f"{who} started {number - 1} threads, which a fork would lose"


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def _fork_for_nothing() -> None:
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _open_files() -> set[str]:
    """What is open, by its target: the look itself opens a directory, under some number."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(f"{entry.name} {entry.readlink()}")
    return found
