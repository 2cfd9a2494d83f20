"""Secret values: how they are marked, how they look in what programs write, and how they are masked there.

It may import values, processes and the names of a run folder's files; it must not know how a task runs.
"""
