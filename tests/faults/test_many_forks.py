"""One server gives many kernels, one after the other and several at once, and is at the end what it was before."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pynb_dag_runner.processes.fork_server.client import ForkRefused, ServerPlace, ask
from pynb_dag_runner.processes.fork_server.wire import ForkRequest
from tests.faults.kernels import fork_server, kernel, printed
from tests.soak import repetitions

KERNELS = repetitions(few=20, many=1000)
"""1,000 of them take some minutes on 2 processors."""
AT_ONCE = 3
WARM = 12
"""After so many everything has been imported and every buffer made, on both sides."""
SETTLED_WITHIN_S = 120.0

GROWTH_BYTES = 1_500_000
"""What is not flat: 1,000 kernels that each leave 1.5 KB. Sizes are those of whole pages."""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerPlace]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with fork_server() as place:
        yield place


def server_at(place: ServerPlace) -> psutil.Process:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # of another test, and about to be gone
            found += [child] if str(place.directory) in child.cmdline() else []
    (server,) = found
    return server


def becomes(what: Callable[[], object], expected: object) -> bool:
    """A process tells of an end, and lets go of what it had for that, one after the other."""
    give_up = time.monotonic() + SETTLED_WITHIN_S
    while (now := what()) != expected and time.monotonic() < give_up:
        time.sleep(0.01)
    return now == expected


async def use(folder: Path, place: ServerPlace, number: int) -> None:
    here = folder / str(number)
    here.mkdir()
    async with kernel(here, place) as one:
        assert (one.how and one.how.how) == "forked", one.how
        assert await printed(one, f"print({number} * 2)") == f"{number * 2}\n"
    assert not (here / "output.log").exists(), (here / "output.log").read_text()  # where a slow shutdown is told


async def use_many(folder: Path, place: ServerPlace, first: int, last: int) -> None:
    numbers = iter(range(first, last))

    async def one_after_another() -> None:
        for number in numbers:
            await use(folder, place, number)

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))


@pytest.mark.soak
@pytest.mark.timeout(60 + 2 * KERNELS)
def test_many_kernels_leave_server_and_asker_as_they_were(tmp_path: Path, place: ServerPlace) -> None:
    asker, server = psutil.Process(), server_at(place)
    asyncio.run(use_many(tmp_path, place, 0, WARM))
    before = [(one.num_fds(), one.memory_full_info().uss) for one in (server, asker)]
    asyncio.run(use_many(tmp_path, place, WARM, WARM + KERNELS))
    assert becomes(lambda: [one.num_fds() for one in (server, asker)], [files for files, _ in before])
    assert becomes(server.children, [])
    after = [(one.num_fds(), one.memory_full_info().uss) for one in (server, asker)]
    print(f"{KERNELS} kernels; server and asker before {before}, after {after}", file=sys.stderr)
    assert after[0][1] - before[0][1] < GROWTH_BYTES


def test_a_kernel_that_dies_while_it_starts_leaves_no_descriptor(tmp_path: Path, place: ServerPlace) -> None:
    asyncio.run(use(tmp_path, place, 1))
    before = psutil.Process().num_fds()

    async def killed_at_once() -> None:
        async with kernel(tmp_path, place) as one:
            one.kill()

    for _ in range(3):
        asyncio.run(killed_at_once())
    assert becomes(psutil.Process().num_fds, before)


@pytest.mark.soak
def test_a_start_that_is_given_up_leaves_nothing(tmp_path: Path, place: ServerPlace) -> None:
    asyncio.run(use(tmp_path, place, 1))
    before, server = psutil.Process().num_fds(), server_at(place)

    async def given_up(after_steps: int) -> None:
        """Let it start for so many rounds of the loop, then want it no more."""
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(use(tmp_path, place, 100 + after_steps))
            for _ in range(after_steps):
                await asyncio.sleep(0)
            starting.cancel()

    for after_steps in range(1, 40, repetitions(few=3, many=1)):
        asyncio.run(given_up(after_steps))
    assert becomes(psutil.Process().num_fds, before)
    assert becomes(server.children, [])


def test_what_is_forked_for_nobody_is_killed(tmp_path: Path, place: ServerPlace) -> None:
    ours, theirs = os.pipe()
    request = ForkRequest(arguments=["-f", str(tmp_path / "k")], cwd=str(tmp_path), environment=dict(os.environ))
    ask(place.socket, request, [2, 2, theirs]).close()
    os.close(theirs)
    with open(ours, "rb") as until_it_is_gone:
        until_it_is_gone.read()
    assert becomes(server_at(place).children, [])


@pytest.mark.soak
def test_a_refusal_is_always_heard(place: ServerPlace) -> None:
    """Also where the server has answered and closed before the asker is done."""
    refused = ForkRequest(arguments=[], cwd="/", environment={**os.environ, "PYTHONHASHSEED": "1"})
    for _ in range(repetitions(few=100, many=5000)):
        with pytest.raises(ForkRefused, match="variables that are read once differ: PYTHONHASHSEED"):
            ask(place.socket, refused, [2, 2]).answer()


@pytest.mark.parametrize("sent", [b"", b"\0", b"\0\0\0\2{}", b"\377" * 8, b"\0\0\0\4null"])
def test_who_talks_nonsense_is_no_trouble_for_the_others(tmp_path: Path, place: ServerPlace, sent: bytes) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as odd:
        odd.connect(str(place.socket))
        odd.sendall(sent)
        odd.shutdown(socket.SHUT_WR)
        assert odd.recv(1) == b""
    asyncio.run(use(tmp_path, place, 1))
