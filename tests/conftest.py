"""Settings that every test needs."""

import os
import signal
from collections.abc import Iterator

import pytest

from pynb_dag_runner.processes.private_directory import PrivateDirectory

CONVENIENCES = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
"""Variables that build machines set and users do not: with the first, output that is stuck in a buffer goes unseen."""


def pytest_configure() -> None:
    """Start programs under test as users do, and let them receive Ctrl-C.

    A shell starts what it puts in the background with SIGINT ignored, and children inherit that: a test that interrupts
    a program would wait for ever when the tests themselves run in the background.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in CONVENIENCES:
        os.environ.pop(name, None)


@pytest.fixture(scope="module")
def directory() -> Iterator[PrivateDirectory]:
    """For what is tested without a run around it."""
    with PrivateDirectory() as made:
        yield made
