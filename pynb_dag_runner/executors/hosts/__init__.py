"""Host processes: they run one job after another for an executor, and a supervisor knows each.

It may import processes and the executors' seam; it must not know tasks, notebooks or Ray.
"""
