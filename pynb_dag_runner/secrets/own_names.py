"""Names of ours and of the formats that we write: they stay when a secret is the same word or a part of one.

A secret ``json`` or ``note`` must not rename the file ``notebook.ipynb``, nor the key ``output_type`` in it: nobody
could read the folder any more, and the place of the stars would tell what the secret is.

Standard library only: the process that writes a log loads this.
"""

import re

_OF_RUN_FOLDERS = (
    "attempt",
    "blocked_by",
    "cells",
    "cells_executed",
    "cpu_time_s",
    "end",
    "error",
    "host",
    "kernel",
    "kernel_start",
    "kind",
    "message",
    "number",
    "outcome",
    "outputs",
    "parameters",
    "peak_memory_bytes",
    "pid",
    "queue_s",
    "queued",
    "redacted_outputs",
    "schema_version",
    "start",
    "task",
    "traceback",
    "how",
    "preloaded",
    "remarks",
    "params",
    "tags",
    "key",
    "value",
    "step",
    "timestamp",
    "return",
    "$float",
)
_OF_NOTEBOOKS = (
    "application/javascript",
    "application/json",
    "application/pdf",
    "application/vnd.jupyter.widget-state+json",
    "application/vnd.jupyter.widget-view+json",
    "application/vnd.plotly.v1+json",
    "attachments",
    "cell_type",
    "cells",
    "code",
    "codemirror_mode",
    "collapsed",
    "content",
    "data",
    "display_id",
    "display_name",
    "ename",
    "evalue",
    "execution",
    "execution_count",
    "execution_state",
    "file_extension",
    "id",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/svg+xml",
    "inputHidden",
    "iopub.execute_input",
    "iopub.status.busy",
    "iopub.status.idle",
    "isolated",
    "jupyter",
    "kernelspec",
    "language",
    "language_info",
    "metadata",
    "mimetype",
    "model_id",
    "model_module",
    "model_module_version",
    "model_name",
    "name",
    "nbconvert_exporter",
    "nbformat",
    "nbformat_minor",
    "orig_nbformat",
    "output_type",
    "outputs",
    "papermill",
    "payload",
    "pygments_lexer",
    "scrolled",
    "shell.execute_reply",
    "shell.execute_reply.started",
    "source",
    "state",
    "text",
    "text/html",
    "text/latex",
    "text/markdown",
    "text/plain",
    "title",
    "traceback",
    "transient",
    "version",
    "version_major",
    "version_minor",
    "wait",
    "widgets",
)

KEYS = frozenset([*_OF_RUN_FOLDERS, *_OF_NOTEBOOKS])
"""In JSON."""

VALUES = {
    "cell_type": frozenset({"code", "markdown", "raw"}),
    "display_name": frozenset({"Python 3", "Python 3 (ipykernel)"}),
    "file_extension": frozenset({".py"}),
    "language": frozenset({"python"}),
    "mimetype": frozenset({"text/x-python"}),
    "name": frozenset({"ipython", "python", "python3", "stderr", "stdout"}),
    "nbconvert_exporter": frozenset({"python"}),
    "output_type": frozenset({"display_data", "error", "execute_result", "stream"}),
    "pygments_lexer": frozenset({"ipython3"}),
    "tags": frozenset({"injected-parameters", "parameters"}),
}
"""In JSON, by their keys."""

FILES = frozenset(
    {
        "artifacts",
        "attempt.json",
        "metrics.jsonl",
        "mlflow",
        "mlflow/artifacts",
        "mlflow/mlflow.db",
        "notebook.html",
        "notebook.ipynb",
        "output.log",
        "outputs",
        "outputs/return.pkl",
        "tracking.json",
    }
)
"""In an attempt's folder, relative to it."""

MLFLOW_FILES = frozenset({"MLmodel", "artifacts", "models", "traces", "traces.json"})
"""Anywhere below ``mlflow/artifacts``."""

MLFLOW_COLUMNS = frozenset(
    {
        "assessment_type",
        "dataset_source_type",
        "destination_type",
        "lifecycle_stage",
        "source_type",
        "status",
        "version_num",
    }
)
"""Of MLflow's database: they hold words of its own."""

MLFLOW_KEY = re.compile(r"mlflow\.[A-Za-z.]{1,40}")
"""A name of MLflow's own, as of a tag."""
