"""What a piece of code opens and changes, seen through Python's audit events: nothing outside a folder, it must prove.

The events are those of the interpreter itself (docs.python.org, "Audit events table"), so that no way of opening a file
from Python is forgotten. A hook can't be taken back: there is one for the whole test process, idle most of the time.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CHANGES = {
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.link": ((0, 2), (1, 3)),
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.removexattr": ((0, None),),
    "os.rename": ((0, 2), (1, 3)),
    "os.rmdir": ((0, 1),),
    "os.setxattr": ((0, None),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
}
"""Where the arguments of an event have a path, and the descriptor of the directory that it is relative to."""

_NEVER = frozenset(
    {
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.fork",
        "os.forkpty",
        "pickle.find_class",
        "socket.connect",
        "socket.bind",
    }
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """What went wrong since it began: one line for each thing that leads out of ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.outside: list[str] = []

    def see(self, event: str, arguments: tuple[object, ...]) -> None:
        """Judge one audit event."""
        if event == "open":
            path, _, flags = arguments
            self._opened(path, int(flags) if isinstance(flags, int) else 0)
        elif event in _CHANGES:
            for at, descriptor_at in _CHANGES[event]:
                path = arguments[at]
                if isinstance(path, str | bytes):  # a descriptor was opened before, and seen then
                    descriptor = -1 if descriptor_at is None else arguments[descriptor_at]
                    above = "" if descriptor == -1 else Path(f"/proc/self/fd/{descriptor}").readlink()
                    self._touched(event, os.path.join(above, os.fsdecode(path)), follow=False)  # noqa: PTH118
        elif event in _NEVER:
            self.outside.append(f"{event} {arguments!r}")

    def _opened(self, path: object, flags: int) -> None:
        if not isinstance(path, str | bytes):
            return  # a descriptor: that was opened before, and seen then
        name = os.fsdecode(path)
        writes = bool(flags & _WRITES)
        if writes or Path(os.path.abspath(name)).is_relative_to(self.folder):
            self._touched("open to write" if writes else "open", name, follow=not flags & os.O_NOFOLLOW)

    def _touched(self, what: str, name: str, *, follow: bool) -> None:
        """``name`` may be looked up by the system now: where does that lead?"""
        above, last = os.path.split(os.path.abspath(name))
        real = Path(os.path.realpath(name)) if follow else Path(os.path.realpath(above), last)
        if not real.is_relative_to(self.folder) and str(real) != os.devnull:
            self.outside.append(f"{what} {name!r}, which is {str(real)!r}")


_watches: list[Watch] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    for watch in tuple(_watches):
        watch.see(event, arguments)


sys.addaudithook(_hook)


@contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    """Watch the body of the ``with``; afterwards ``outside`` is empty if nothing outside ``folder`` was touched."""
    watch = Watch(folder)
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)
