"""The only room that imports MLflow, and only when a store is opened. Its errors become ours here."""

from mlflow_bridge.client.opening import check_schema, open_store
from mlflow_bridge.client.settings import upload_settings
from mlflow_bridge.client.store import MlflowStore

__all__ = ["MlflowStore", "check_schema", "open_store", "upload_settings"]
