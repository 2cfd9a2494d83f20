"""The GPUs of this machine, shared out among jobs as Ray does it: each job sees those that it holds.

NVIDIA's, and whatever else goes by ``CUDA_VISIBLE_DEVICES``. A job that asks for none finds that variable as it is.
"""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Generator, Sequence
from pathlib import Path

VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable: identifiers of the GPUs that a process may use, with commas between them."""

_PARTS = 10_000
"""Of one GPU; fractions are counted in them, so that ten tenths are one."""
_LIST_BOUND_S = 30.0
_LISTED = re.compile(r"^GPU \d+:", re.MULTILINE)
_DEVICE = re.compile(r"nvidia\d+")


def find_gpus(devices: Path = Path("/dev")) -> tuple[str, ...]:
    """Identifiers of the GPUs that this process may use.

    Those that the variable names, in whatever form (numbers, ``GPU-...``, ``MIG-...``), up to the first that means
    none; without it all that have a device file, or, where devices have other files, that ``nvidia-smi`` lists.
    """
    visible = os.environ.get(VARIABLE)
    if visible is not None:
        return tuple(dict.fromkeys(_named(visible)))
    with contextlib.suppress(OSError):
        number = sum(_DEVICE.fullmatch(entry.name) is not None for entry in devices.iterdir())
        return tuple(map(str, range(number or _listed())))
    return ()


def _named(visible: str) -> Generator[str]:
    for name in map(str.strip, visible.split(",")):
        if name in ("", "NoDevFiles") or name.startswith("-"):
            return  # CUDA ignores what follows
        yield name


def _listed() -> int:
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=_LIST_BOUND_S, check=True)
    except (OSError, subprocess.SubprocessError):  # it has no driver to talk to
        return 0
    return len(_LISTED.findall(done.stdout))


class Gpus:
    """Shares them out: whole ones, or a part of one; parts go together as far as they can.

    Args:
        names: their identifiers.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._free = dict.fromkeys(names, _PARTS)

    def __len__(self) -> int:
        return len(self._free)

    def choose(self, amount: float) -> tuple[str, ...] | None:
        """Identifiers of those that a job with ``num_gpus=amount`` would get now; None: not enough is free."""
        parts = round(amount * _PARTS)
        if parts < _PARTS:
            fitting = [name for name, free in self._free.items() if free >= parts]
            return (min(fitting, key=self._free.__getitem__),) if fitting else None
        whole = [name for name, free in self._free.items() if free == _PARTS]
        number = -(-parts // _PARTS)
        return tuple(whole[:number]) if len(whole) >= number else None

    def take(self, names: Sequence[str], amount: float) -> None:
        """They are a job's now."""
        for name in names:
            self._free[name] -= min(_PARTS, round(amount * _PARTS))

    def give_back(self, names: Sequence[str], amount: float) -> None:
        """They are not any more."""
        self.take(names, -amount) if amount < 1 else self._free.update(dict.fromkeys(names, _PARTS))
