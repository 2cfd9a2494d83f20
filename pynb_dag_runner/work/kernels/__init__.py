"""Kernels for notebooks: which one, how it is started, and ending it with all that it started."""
