"""Import papermill without the clients of remote stores that it looks for.

With pyarrow alone that takes another 0.15 s, and pyarrow starts threads, which no fork survives. What a task imports
itself is not affected.
"""

from pynb_dag_runner.processes.import_without import without

with without("pyarrow", "boto3", "azure", "gcsfs", "github"):
    import papermill
    from papermill.engines import Engine, papermill_engines
    from papermill.exceptions import PapermillException
    from papermill.translators import (
        BashTranslator,
        JuliaTranslator,
        PythonTranslator,
        RTranslator,
        ScalaTranslator,
        papermill_translators,
    )

__all__ = [
    "BashTranslator",
    "Engine",
    "JuliaTranslator",
    "PapermillException",
    "PythonTranslator",
    "RTranslator",
    "ScalaTranslator",
    "papermill",
    "papermill_engines",
    "papermill_translators",
]
