"""Processes of a run, whatever they run: fork, find and end them; a private directory and the user's modules for them.

It may import ``errors``; it must not know tasks, notebooks or run folders.
"""
