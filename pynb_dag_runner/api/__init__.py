"""What users write and call: pipelines, the decorator, targets, and a run of them.

It may import every room but ``cli``; it must not know the command line.
"""
