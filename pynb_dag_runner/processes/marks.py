"""Mark processes of a run by numbers that survive changes of environment, session and parent.

A process has its number as the soft limit of its file locks (``RLIMIT_LOCKS``), which Linux has not enforced since 2.4.
Limits are inherited, also by programs that are started with an empty environment, and anybody may read them; they are
set anew by what logs users in (``su``, ``sudo`` and ``cron`` where PAM is told so), and by service managers.

A number has 19 digits: ten for the run and nine for a member of it, zeros where it is the run itself.
"""

import contextlib
import resource
import secrets
import sys
from collections.abc import Iterator, Mapping

MEMBER_VARIABLE = "PYNB_DAG_RUNNER_HOST"
"""Environment variable of a process that makes attempts, and of all that it starts: its number."""

MEMBERS = 10**9
RUN_DIGITS = 10
_RUNS = 10**9, 9 * 10**9
"""The largest limit is above 9.2e18."""
_RLIMIT_LOCKS = 10
"""From Linux's asm-generic/resource.h."""
_TITLE = b"Max file locks "
"""Of its line in ``/proc/PID/limits``."""


def new_run() -> int:
    """A number for a run."""
    first, end = _RUNS
    return (first + secrets.randbelow(end - first)) * MEMBERS


def new_member(run: int) -> int:
    """A number for a member of a run; of one of its own, if there is none (0)."""
    return run_of(run or new_run()) + 1 + secrets.randbelow(MEMBERS - 1)


def run_of(number: int) -> int:
    """The number of its run."""
    return number - number % MEMBERS


def is_number(text: str) -> bool:
    """Whether a text is one."""
    return text.isdecimal() and _RUNS[0] <= int(text) // MEMBERS < _RUNS[1]


def own() -> int:
    """This process's; 0 if it has none."""
    if sys.platform != "linux":
        return 0
    soft, _ = resource.getrlimit(_RLIMIT_LOCKS)
    return soft if is_number(str(soft)) else 0


def set_number(number: int) -> None:
    """Give this process a number, or none (0). Where its limits do not allow it, it has only its environment's mark."""
    if sys.platform == "linux":
        _, hard = resource.getrlimit(_RLIMIT_LOCKS)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(_RLIMIT_LOCKS, (number or hard, hard))


def take_from(pid: int) -> None:
    """Let another process of this user have no number: what ends a run's processes shall not find it."""
    if sys.platform == "linux":
        with contextlib.suppress(ValueError, OSError):
            _, hard = resource.prlimit(pid, _RLIMIT_LOCKS)
            resource.prlimit(pid, _RLIMIT_LOCKS, (hard, hard))


def set_number_from(environment: Mapping[str, str]) -> None:
    """Give this process the number that stands in its environment, or none."""
    number = environment.get(MEMBER_VARIABLE, "")
    set_number(int(number) if is_number(number) else 0)


def environment() -> dict[str, str]:
    """Variables for processes of this one that set their number themselves."""
    return {MEMBER_VARIABLE: str(number)} if (number := own()) else {}


@contextlib.contextmanager
def with_number(number: int) -> Iterator[None]:
    """Let what is started in here have another number, or none (0)."""
    before = own()
    set_number(number)
    try:
        yield
    finally:
        set_number(before)


def is_in(limits: bytes, number: int) -> bool:
    """Whether a process is the member ``number``, or any member of the run ``number``.

    Args:
        limits: its ``/proc/PID/limits``.
    """
    start = limits.find(_TITLE)
    soft = limits[start + len(_TITLE) :].split(maxsplit=1)[0] if start >= 0 else b""
    if not soft.isdigit():
        return False
    return int(soft) == number or (number % MEMBERS == 0 and run_of(int(soft)) == number)
