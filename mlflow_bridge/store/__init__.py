"""A tracking store: the few calls that an upload makes, and MLflow's own client behind them.

Beside ``capture`` no other room imports MLflow; this one does when a store is opened. MLflow's errors become ours here.

It may import the model and what the mapping makes; it must not know run folders, or which run it is sent.
"""

from mlflow_bridge.store.mlflow_store import MlflowStore
from mlflow_bridge.store.opening import check_schema, open_store
from mlflow_bridge.store.settings import upload_settings

__all__ = ["MlflowStore", "check_schema", "open_store", "upload_settings"]
