"""The saved view of an experiment: its pipeline runs without their tasks, and the columns that matter. Pure.

MLflow keeps saved views in tags of the experiment, in a form that it does not document; this one was read from the UI
of MLflow 3.17 and 3.18, and a browser test opens it. A view that can't be read leaves the experiment's page as it is.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping

from mlflow_bridge.limits import legal_keys
from mlflow_bridge.mapping.links import experiment_link, view_link
from mlflow_bridge.mapping.runs import flattened, promoted_keys
from mlflow_bridge.model.values import Experiment
from mlflow_bridge.tags import KIND, STATUS
from pynb_dag_runner.run_folder import Run

VIEW_KEY = "pynb-dag-runner"
"""Names the view in links."""
VIEW = f"mlflow.sharedViewState.{VIEW_KEY}"
"""Tag of an experiment: the view."""
VIEW_DIGEST = "pynb_dag_runner.view_digest"
"""Tag of an experiment: of the view as it was written. Another one was changed by a user, and stays; so does one that a
user has removed."""
_NAME = "Pipeline runs"
_PARAMETERS, _METRICS = 6, 8
"""At most so many columns: more do not fit beside each other."""


def view_tags(run: Run, there: Mapping[str, str]) -> dict[str, str]:
    """Tags to set on an experiment so that it has the view; empty if it has it, or if a user has taken it over.

    Args:
        there: tags of the experiment.
    """
    view = _view(run)
    before = there.get(VIEW_DIGEST)
    if before == _digest(view) or (before is not None and _digest(there.get(VIEW, "")) != before):
        return {}
    return {VIEW: view, VIEW_DIGEST: _digest(view)}


def view_page(experiment: Experiment) -> str:
    """The page of an experiment with the view, if it has it; relative to the server's address."""
    return view_link(experiment.id, VIEW_KEY) if VIEW in experiment.tags else experiment_link(experiment.id)


def _view(run: Run) -> str:
    parameters = _legal(list(flattened(run.record.parameters))[:_PARAMETERS])
    metrics = _legal(promoted_keys(run)[:_METRICS])
    state = {
        "searchFilter": f"tags.`{KIND}` = 'pipeline'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": [
            f"tags.`{STATUS}`",
            "metrics.`tasks/failed`",
            "metrics.`tasks/total`",
            *(f"metrics.`{key}`" for key in metrics),
            *(f"params.`{key}`" for key in parameters),
            *(["attributes.`Version`"] if run.record.git else []),  # the commit; MLflow shows the duration by itself
        ],
    }
    # Not compressed and without a time of its own: all uploads of the pipeline, from any machine, make the same text.
    packed = "deflate;" + base64.b64encode(zlib.compress(json.dumps(state, ensure_ascii=False).encode(), 0)).decode()
    return json.dumps({"name": _NAME, "createdAt": 0, "updatedAt": 0, "state": packed})


def _legal(keys: list[str]) -> list[str]:
    """The keys as MLflow has them, in their order."""
    legal = legal_keys(keys)
    return [legal[key] for key in keys]


def _digest(view: str) -> str:
    return hashlib.sha256(view.encode()).hexdigest()[:16]
