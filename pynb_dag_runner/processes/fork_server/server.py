"""The fork server: it imports, forks on request, and reports how each forked process ended.

``python -m pynb_dag_runner.processes.fork_server.server OWNER DIRECTORY SOCKET ENTRIES MODULES [PRELOAD ...]``.
OWNER is a pid. SOCKET is the file descriptor of the one that it listens to. ENTRIES and MODULES are names with commas
between them. An entry is a module with a function ``run(arguments, descriptors)``, which is what a process does; the
server itself imports the first one and MODULES, children of its import PRELOAD. If one of the former has a function
``prepare()``, that is called: it makes ready what processes need, and starts no thread.

It has one thread, since a fork copies no other one, and never runs a task's code itself. A process whose asker closes
its connection is killed; all of them are when the server ends, and it ends with its owner: its standard input ends.
"""

import contextlib
import importlib
import os
import resource
import selectors
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynb_dag_runner.processes.fork_server import wire
from pynb_dag_runner.processes.fork_server.child import (
    Surroundings,
    die_with,
    end_of,
    make_ready,
    read_at_imports,
    settle,
    settle_memory,
    surroundings,
    take_surroundings,
)
from pynb_dag_runner.processes.fork_server.importers import Importer, Importers, Role, key_of
from pynb_dag_runner.processes.fork_server.preloading import NOTHING, Imported, import_ahead, thread_problem
from pynb_dag_runner.processes.fork_server.wire import ForkedExit, ForkReply, ForkRequest
from pynb_dag_runner.processes.private_directory import is_same_user

_REQUEST_BOUND_S = 10.0
"""An asker sends its request at once; one that does not must not hold up the others."""


_Mine = tuple[ForkRequest, list[int]]
"""What a forked process was asked to be, and its descriptors."""


@dataclass
class _Forked:
    pid: int
    pidfd: int
    asker: socket.socket


class Server:
    """Forks on request, see the module.

    Args:
        listener: bound; askers connect to it.
        owner: file descriptor that ends with whoever this server is for.
        origin: this process's surroundings.
        entries: what its processes may run.
        preloaded: modules imported on the user's wish.
        imported: what came of that, or of the server's own imports.
        importers: its children that import ahead.
    """

    def __init__(
        self,
        listener: socket.socket,
        owner: int,
        origin: Surroundings,
        *,
        entries: Sequence[str],
        preloaded: Sequence[str] = (),
        imported: Imported = NOTHING,
        importers: Importers | None = None,
    ) -> None:
        self._listener = listener
        self._entries = tuple(entries)
        self._owner = owner
        self.origin = origin
        self._preloaded = tuple(preloaded)
        self._imported = imported
        self._importers = importers
        self._selector = selectors.EpollSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(owner, selectors.EVENT_READ, self._on_owner)
        self._forked: dict[int, _Forked] = {}
        self._over = False

    def serve(self) -> _Mine | None:
        """Serve until the owner is gone; in each forked process, return what it was asked to be, or is to import."""
        while not self._over:
            for key, _ in self._selector.select():
                callback: Callable[..., Any] = key.data
                if (mine := callback(key.fd)) is not None:
                    return mine  # type: ignore[no-any-return]
        for forked in list(self._forked.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(forked.pid, signal.SIGKILL)
        return None

    def _on_owner(self, _: int) -> None:
        self._over = True

    def _accept(self, _: int) -> _Mine | None:
        try:
            asker, _address = self._listener.accept()
        except OSError:
            return None  # it is gone already, or there are too many open files: the next one may have more luck
        descriptors: list[int] = []
        try:
            if not is_same_user(asker):
                asker.close()
                return None
            asker.settimeout(_REQUEST_BOUND_S)
            fields, descriptors = wire.receive(asker)
            request = ForkRequest(**fields)
            refusal = self._imported.refusal or self.origin.obstacle(request.environment, strict=bool(self._preloaded))
            if request.entry not in ("", *self._entries):
                refusal = f"the fork server runs no {request.entry}"
            if refusal is not None or request.purpose == wire.WAIT:
                return self._answer(asker, ForkReply(refusal=refusal))
            if request.purpose == wire.FIND:
                return self._find(request, asker)
            return self._fork(request, descriptors, asker)
        except (EOFError, ValueError, TypeError, OSError):
            asker.close()  # the asker sees that there will be no answer, and starts its process itself
            return None
        finally:
            if os.getpid() == self.origin.pid:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _answer(self, asker: socket.socket, reply: ForkReply) -> _Mine | None:
        with contextlib.suppress(OSError):  # gone already
            wire.send(asker, reply)
        asker.close()
        return None

    def _find(self, request: ForkRequest, asker: socket.socket) -> _Mine | None:
        """Tell where what has imported listens, or will in a while; in the new process, return what it is to be."""
        assert self._importers is not None
        key = key_of(request.cwd, read_at_imports(request.environment))
        importer = self._importers.known(key)
        if importer is None:
            if (refusal := self._importers.refusal(key)) is not None:
                return self._answer(asker, ForkReply(refusal=refusal))
            owner = os.dup(self._owner)
            new = self._importers.begin(key)
            if isinstance(new, Role):
                asker.close()
                self._forget_everything()
                return request, [new.listener.detach(), new.done, owner]
            os.close(owner)
            importer = new
            self._watch(new)
        return self._answer(asker, ForkReply(socket=importer.name))

    def _watch(self, importer: Importer) -> None:
        assert self._importers is not None
        importers, done = self._importers, importer.done
        assert done is not None

        def receive(_: int) -> None:
            self._selector.unregister(done)
            importers.receive(importer)

        def remove(_: int) -> None:
            self._selector.unregister(importer.pidfd)
            if importer.done is not None:
                receive(done)
            importers.remove(importer)

        self._selector.register(done, selectors.EVENT_READ, receive)
        self._selector.register(importer.pidfd, selectors.EVENT_READ, remove)

    def _fork(self, request: ForkRequest, descriptors: list[int], asker: socket.socket) -> _Mine | None:
        pid = os.fork()
        if pid == 0:
            asker.close()
            self._forget_everything()
            return request, descriptors
        forked = _Forked(pid, os.pidfd_open(pid), asker)
        self._forked[pid] = forked
        self._selector.register(forked.pidfd, selectors.EVENT_READ, lambda _: self._reap(forked))
        self._selector.register(asker, selectors.EVENT_READ, lambda _: self._on_asker(forked))
        with contextlib.suppress(OSError):  # gone already: the end of its connection will be noticed
            wire.send(asker, ForkReply(pid=pid, preloaded=self._preloaded, remarks=self._imported.remarks))
        return None

    def _on_asker(self, forked: _Forked) -> None:
        """It says nothing more, so this is its end: nobody needs the process now."""
        self._selector.unregister(forked.asker)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(forked.pidfd, signal.SIGKILL)

    def _reap(self, forked: _Forked) -> None:
        _, status = os.waitpid(forked.pid, 0)
        del self._forked[forked.pid]
        self._selector.unregister(forked.pidfd)
        os.close(forked.pidfd)
        with contextlib.suppress(OSError):
            wire.send(forked.asker, ForkedExit(returncode=os.waitstatus_to_exitcode(status)))
        with contextlib.suppress(KeyError):
            self._selector.unregister(forked.asker)
        forked.asker.close()

    def _forget_everything(self) -> None:
        """In a forked process: close what is the server's."""
        self._selector.close()
        self._listener.close()
        os.close(self._owner)
        for forked in self._forked.values():
            os.close(forked.pidfd)
            forked.asker.close()
        self._forked.clear()
        if self._importers is not None:
            self._importers.forget()


def main() -> None:
    """See the module."""
    owner_pid, directory, socket_number, entry_names, modules, *preload = sys.argv[1:]
    _end_with(int(owner_pid), directory)
    if not sys.flags.safe_path:
        del sys.path[0]  # where the server was started; its processes put their own directory there
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    origin = surroundings(files=soft)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # Ray blocks some signals, and children inherit the mask
    owner = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    listener = _listener(int(socket_number))
    entries = entry_names.split(",")
    problem = _prepared(entries[0])
    for name in filter(None, modules.split(",")):
        with contextlib.suppress(ImportError):  # the process that needs it says so
            make_ready(name)
    settle_memory()
    imported = Imported(refusal=problem or thread_problem("the server"))
    importers = Importers(Path(directory), preload)
    server = Server(listener, owner, origin, entries=entries, imported=imported, importers=importers)
    while (mine := server.serve()) is not None:
        request, descriptors = mine
        if request.purpose == wire.FORK:
            given = take_surroundings(request, descriptors, server.origin)
            end_of(lambda: _run(request.entry or entries[0], request.arguments, given))  # noqa: B023 - it ends here
        server = _importing_server(request, descriptors, server.origin, entries, preload)
    shutil.rmtree(directory, ignore_errors=True)  # its owner may have been killed


def _prepared(entry_name: str) -> str | None:
    """Import an entry and have it prepare; why that did not go well, None: it did."""
    try:
        make_ready(entry_name)
    except Exception as error:  # noqa: BLE001 - other releases of the libraries; who is refused starts its process
        return f"the fork server can't prepare {entry_name}: {type(error).__name__}: {error}"
    return None


def _run(entry_name: str, arguments: Sequence[str], descriptors: Sequence[int]) -> None:
    _run_as_program(entry_name, arguments)
    importlib.import_module(entry_name).run(list(arguments), descriptors)


def _run_as_program(entry_name: str, arguments: Sequence[str]) -> None:
    sys.argv[:] = [str(importlib.import_module(entry_name).__file__), *arguments]
    sys.orig_argv[:] = [sys.executable, "-m", entry_name, *arguments]


def _end_with(owner: int, directory: str) -> None:
    """End at once when the owner does, also in the middle of an import."""

    def end(_number: int, _frame: object) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        os._exit(0)  # the system ends its processes with it

    signal.signal(signal.SIGTERM, end)
    die_with(owner, signal.SIGTERM)


def _importing_server(
    request: ForkRequest,
    descriptors: Sequence[int],
    origin: Surroundings,
    entries: Sequence[str],
    preload: Sequence[str],
) -> Server:
    """A child of the server that imports more, so that what goes wrong with that harms it alone.

    Args:
        request: the first that it is for.
        descriptors: its listening socket, a pipe to write to when it has imported, and one that ends with the owner.
        origin: the server's.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with(origin.pid)
    listener, done, owner = descriptors
    mine = settle(request, origin)
    _run_as_program(entries[0], ["-f", str(Path(request.cwd, "kernel.json"))])
    imported = import_ahead(preload, importlib.import_module(entries[0]))
    settle_memory()
    os.write(done, b"\n")
    os.close(done)
    return Server(_listener(listener), owner, mine, entries=entries, preloaded=preload, imported=imported)


def _listener(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


if __name__ == "__main__":
    main()
