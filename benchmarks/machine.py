"""Where and with what something was measured."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pynb_dag_runner.processes.machine import total_memory_bytes, usable_cpus

LIBRARIES = ("ray", "papermill", "jupyter_client", "ipykernel", "nbclient", "nbconvert", "pandas", "matplotlib")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What figures depend on.

    Attributes:
        load: processes that wanted to run in the last five minutes, when it was asked: others were at work, too.
    """

    cpus: int
    processor: str
    memory_bytes: int
    system: str
    date: str
    versions: dict[str, str]
    load: float


def this_machine() -> Machine:
    """The one that this process runs on."""
    return Machine(
        cpus=usable_cpus(),
        processor=_processor(),
        memory_bytes=total_memory_bytes(),
        system=f"{_distribution()}, Linux {platform.release().split('-')[0]}",
        date=datetime.now(UTC).date().isoformat(),
        versions={"Python": platform.python_version(), **_versions()},
        load=round(os.getloadavg()[1], 1),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in ("pynb-dag-runner", *LIBRARIES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
