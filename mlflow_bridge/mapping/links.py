"""Links into MLflow's UI. Pure.

MLflow 3 opens an experiment in its mode for language models, where runs are not shown, unless the link says otherwise.
"""

from urllib.parse import quote

_MODE = "?workflowType=machine_learning"

EXPERIMENTS = f"#/experiments{_MODE}"


def experiment_link(experiment_id: str) -> str:
    """The table of an experiment's runs; relative to the server's address."""
    return f"#/experiments/{quote(experiment_id)}/runs{_MODE}"


def view_link(experiment_id: str, view: str) -> str:
    """A saved view of an experiment; relative to the server's address."""
    return f"{experiment_link(experiment_id)}&viewStateShareKey={quote(view)}"


def run_link(experiment_id: str, run_id: str) -> str:
    """The page of a run; relative to the server's address."""
    return f"#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}{_MODE}"


def trace_link(experiment_id: str, trace_id: str) -> str:
    """The timeline of a run; relative to the server's address. ``trace_id``: 32 hexadecimal digits."""
    return f"#/experiments/{quote(experiment_id)}/traces/tr-{quote(trace_id)}{_MODE}"


def artifact_link(experiment_id: str, run_id: str, target: str = "") -> str:
    """The artifacts of a run, with one of them open if ``target`` is given; relative to the server's address."""
    path = f"artifacts/{quote(target)}" if target else "artifacts"
    return f"#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}/{path}{_MODE}"
