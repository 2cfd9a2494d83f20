"""Processes of a run, whatever they run: forked, found, ended. They share a private directory and the user's modules.

It may import ``errors``; it must not know tasks, notebooks or run folders.
"""
