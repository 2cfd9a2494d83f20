"""How parameters are written into a Python notebook: source code that means the same value again."""

from collections.abc import Mapping
from typing import Any

from pynb_dag_runner.source_code import source_code
from pynb_dag_runner.work.local_papermill import PythonTranslator
from pynb_dag_runner.work.secret_inputs import FromEnvironment


class LosslessPythonTranslator(PythonTranslator):  # type: ignore[misc] # papermill is untyped
    """papermill's own turns what it does not know into a string, and lets ``black`` rewrite the cell if installed."""

    @classmethod
    def codify(cls, parameters: Mapping[str, Any], comment: str = "Parameters") -> str:
        """Source of the injected cell. ``parameters`` passed :func:`pynb_dag_runner.parameters.notebook_problems`."""
        code = source_code(parameters, _placeholder)
        assignments = [f"{name} = {expression}" for name, expression in code.expressions.items()]
        return "\n".join([f"# {comment}", *code.imports, *assignments]) + "\n"


def _placeholder(value: Any) -> str | None:
    return value.source if isinstance(value, FromEnvironment) else None
