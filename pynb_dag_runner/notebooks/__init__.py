"""Notebook files and the kernels that they ask for: read, repair, parameterise, choose. Nothing is run.

It may import values, processes and secrets; it must not know pipelines, workers or run folders being written.
"""
