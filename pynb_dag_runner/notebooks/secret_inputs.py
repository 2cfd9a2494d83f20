"""Give secret parameters to a notebook: its injected cell says where they are, and holds none of them.

They come in the kernel's environment, and the cell takes them out of it as it reads them, so that nothing which the
notebook starts inherits them. That works in every Python kernel, needs no package of ours, and touches no disk.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VARIABLE_PREFIX = "PYNB_DAG_RUNNER_SECRET_"


@dataclass(frozen=True)
class FromEnvironment:
    """Stands in the parameters of a notebook for a secret value.

    Attributes:
        variable: of the kernel's environment; holds the value as JSON.
    """

    variable: str

    @property
    def source(self) -> str:
        """A Python expression for the value; it can be evaluated once, and leaves no names behind."""
        return f'__import__("json").loads(__import__("os").environ.pop("{self.variable}"))'


class SecretInputs:
    """The secrets among one notebook's parameters."""

    def __init__(self) -> None:
        self._environment: dict[str, str] = {}

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for the kernel."""
        return self._environment

    def add(self, value: Any) -> FromEnvironment:
        """What stands for ``value``, which passed the check of what notebooks can receive."""
        variable = f"{VARIABLE_PREFIX}{len(self._environment) + 1}"
        self._environment[variable] = json.dumps(value)
        return FromEnvironment(variable)
