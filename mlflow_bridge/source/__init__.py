"""What there is to upload: run folders, archives and captured databases become values.

All of it may come from a stranger. It may import the model, limits, and the runner's reader; it must not know MLflow.
"""
