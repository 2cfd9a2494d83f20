"""Kernels of notebooks: starting one, talking to it, and ending it with all that it started.

It may import values, processes, notebooks and the worker's log; it must not know for which task a kernel runs.
"""
