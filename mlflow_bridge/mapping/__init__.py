"""What MLflow shall hold of a run: runs, notes, timeline, saved view. Pure.

It may import the model, tags, limits and the values of a read run; it must not know a store or open a file.
"""
