"""Kernels for notebooks: which one, how it is started, and ending it with all that it started."""

OWN = "python3"
"""Name under which the runner's own interpreter is offered, as every Jupyter installation does."""
