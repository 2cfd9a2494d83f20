"""Data of a run in one request, also to stores that refuse some of it when it is sent again."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag


def log_batch(
    client: "MlflowClient",
    run_id: str,
    metrics: "Sequence[Metric]",
    params: "Sequence[Param]" = (),
    tags: "Sequence[RunTag]" = (),
) -> None:
    """Send metrics, parameters and tags of a run; sending them again changes nothing.

    Up to 3.15, MLflow knows a point again that is there already, but not if its value is no number, and then refuses
    all of the request: after that, such points are left out.

    Raises:
        mlflow.exceptions.MlflowException: the store refused it for another reason, or did not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.log_batch(run_id, metrics=metrics, params=params, tags=tags)
        return
    except MlflowException:
        no_numbers = {metric.key for metric in metrics if math.isnan(metric.value)}
        there = {
            (point.key, point.timestamp, point.step)
            for key in no_numbers
            for point in client.get_metric_history(run_id, key)
            if math.isnan(point.value)
        }
        if not there:
            raise
    new = [
        metric
        for metric in metrics
        if not (math.isnan(metric.value) and (metric.key, metric.timestamp, metric.step) in there)
    ]
    client.log_batch(run_id, metrics=new, params=params, tags=tags)
