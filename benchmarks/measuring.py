"""One command, measured from outside."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import watch

BOUND_S = 1800.0
"""No single command of the long form takes longer."""
_TOLD = 2000
"""Characters of what a command that failed has said."""


class MeasurementFailed(Exception):
    """The command did not do what was to be measured; the message says what it did."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a command cost.

    Attributes:
        started: when, in seconds since 1970.
        wall_s: seconds from its start to its end.
        cpu_s: processor time of it and of everything that it started, in seconds.
        peak_bytes: the largest resident memory of the command's own process.
        stdout: what it printed.
    """

    started: float
    wall_s: float
    cpu_s: float
    peak_bytes: int
    stdout: str

    @property
    def times(self) -> dict[str, float]:
        """The quantities that every comparison of whole processes has."""
        return {"wall_s": self.wall_s, "cpu_s": self.cpu_s}


def measure(
    command: Sequence[str | Path],
    directory: Path,
    *,
    environment: Mapping[str, str] | None = None,
    exit_codes: Collection[int] = (0,),
    bound_s: float = BOUND_S,
) -> Measured:
    """Run a command in a directory and wait for its end.

    Args:
        environment: variables beside those of this process.
        exit_codes: that are expected.
        bound_s: seconds after which it is killed.

    Raises:
        MeasurementFailed: another exit code, or something of it still ran some seconds later.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-watch-") as name:
        result, out, err = (Path(name, part) for part in ("result.json", "out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            watcher = subprocess.Popen(
                [sys.executable, "-I", "-S", watch.__file__, str(result), str(bound_s), *map(str, command)],
                cwd=directory,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
            with _interrupted_with_us(watcher):
                watcher.wait()
        said = f"{out.read_text(errors='replace')[-_TOLD:]}\n{err.read_text(errors='replace')[-_TOLD:]}".strip()
        words, expected = " ".join(map(str, command)), " or ".join(map(str, exit_codes))
        if not result.exists():
            raise MeasurementFailed(f"was not watched to its end: {words}\n{said}")
        found = json.loads(result.read_text())
        if found["exit_code"] not in exit_codes:
            raise MeasurementFailed(f"exit code {found['exit_code']}, expected {expected}: {words}\n{said}")
        if found["left"]:
            raise MeasurementFailed(f"left running {', '.join(found['left'])}: {words}\n{said}")
        return Measured(
            started=found["started"],
            wall_s=found["wall_s"],
            cpu_s=found["cpu_s"],
            peak_bytes=found["peak_bytes"],
            stdout=out.read_text(errors="replace"),
        )


@contextlib.contextmanager
def _interrupted_with_us(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    except BaseException:
        process.send_signal(signal.SIGINT)  # it ends what it watches
        process.wait()
        raise
