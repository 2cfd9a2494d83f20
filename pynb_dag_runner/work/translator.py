"""How parameters are written into a Python notebook: source code that means the same value again."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from papermill.translators import PythonTranslator


class LosslessPythonTranslator(PythonTranslator):  # type: ignore[misc] # papermill is untyped
    """papermill's own turns what it does not know into a string, and lets ``black`` rewrite the cell if installed."""

    @classmethod
    def codify(cls, parameters: Mapping[str, Any], comment: str = "Parameters") -> str:
        """Source of the injected cell. ``parameters`` passed :func:`pynb_dag_runner.parameters.notebook_problems`."""
        lines = [f"# {comment}"]
        if any(isinstance(value, Path) for value in parameters.values()):
            lines.append("from pathlib import Path")
        lines += [f"{name} = {source(value)}" for name, value in parameters.items()]
        return "\n".join(lines) + "\n"


def source(value: Any) -> str:
    """A Python expression for a value; ``repr`` is exact for all but floats that are no numbers."""
    if isinstance(value, Path):
        return f"Path({str(value)!r})"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if isinstance(value, list):
        return "[" + ", ".join(source(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {source(item)}" for key, item in value.items()) + "}"
    return repr(value)
