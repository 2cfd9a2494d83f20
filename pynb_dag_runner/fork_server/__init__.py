"""Processes by fork from one that has imported what they need: a fresh process each, without the imports' time."""
