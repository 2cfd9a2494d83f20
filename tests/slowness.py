"""How slow this machine is now: for limits that a test sets itself, which what it starts has to keep."""

import functools
import subprocess
import sys
import time

_MOST = 8.0
"""So that a test with such limits ends before pytest's own."""
_QUIET_S = 0.3
"""What it takes on two cores that have nothing else to do."""


@functools.cache
def slowness() -> float:
    """How many times as long as on a quiet machine a kernel's modules take to be imported: 1 to 8."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import ipykernel.kernelapp"], check=True)
    return min(max(1.0, (time.monotonic() - began) / _QUIET_S), _MOST)
