"""Processes by fork from one that has imported what they need: a fresh process each, without the imports' time.

It may import its neighbours in ``processes``; it must not know what its processes are for.
"""
