"""How fast runs come to MLflow."""
