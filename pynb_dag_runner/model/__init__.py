"""Values that cross the borders between rooms: graph, tasks, outcomes, text. All of them are frozen.

It may import the standard library, pydantic and ``errors``; it must not know files, processes or how anything runs.
"""
