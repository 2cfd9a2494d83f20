"""Evaluating a notebook: papermill drives the engine, nbclient the cells, and what they put out is bounded.

It may import kernels and the worker's log; it must not know the task's place in the pipeline.
"""
