"""Run a command as on a machine where nobody asks how orphans ended, so that their zombies stay for ever.

Such a machine is a container without an init process (``docker run`` without ``--init``). Here this process adopts the
orphans, and does not ask. A few zombies are there from the beginning, one with the name of a server of Ray's.

    python tests/odd_machine.py make test
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""


def _leave_a_zombie(name: str) -> None:
    if os.fork() == 0:
        Path("/proc/self/comm").write_text(name)
        os._exit(0)


def main(command: list[str]) -> int:
    """Returns the command's exit code."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for name in ("sleep", "raylet"):
        _leave_a_zombie(name)
    return subprocess.Popen(command).wait()  # this one alone


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
