"""HTML pages of evaluated notebooks: made beside a run by a process of their own, or later.

It may import values, processes and the run folder; it must not know how the notebook was evaluated.
"""
