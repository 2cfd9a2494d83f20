"""A run from its folder to its report: it carries out what the plan decides, and writes down what happened.

It may import every room but ``api`` and ``cli``; it must not know how a pipeline was written or who asked for the run.
"""
