"""Values that cross the bridge's borders, all frozen.

It may import the standard library; it must not know MLflow or a run folder.
"""
