"""What lives: a zombie has ended, though psutil counts it as running, and raises at a question about it.

Zombies of orphans stay for ever where the first process does not ask how they ended, as in many containers.
"""

import time
from collections.abc import Iterable

import psutil


def lives(process: psutil.Process) -> bool:
    """Whether the process has not ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def living(processes: Iterable[psutil.Process], *, timeout_s: float = 0.0) -> list[psutil.Process]:
    """Those that still live, at the latest after ``timeout_s``: sooner if all of them have ended."""
    give_up = time.monotonic() + timeout_s
    while (left := [process for process in processes if lives(process)]) and time.monotonic() < give_up:
        time.sleep(0.01)
    return left


def name_of(process: psutil.Process) -> str:
    """Empty if the process has ended."""
    try:
        return process.name() if lives(process) else ""
    except psutil.Error:
        return ""


def command_of(process: psutil.Process) -> list[str]:
    """Empty if the process has ended, or is another user's and hides it."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def environment_of(process: psutil.Process) -> dict[str, str]:
    """Empty if the process has ended, or is another user's."""
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}
