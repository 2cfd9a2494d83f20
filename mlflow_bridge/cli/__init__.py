"""The commands ``upload`` and ``ui`` and the option ``run --upload``, which entry points add to the command line.

It may import every room of the bridge; it must not know how a run folder is made.
"""
