"""Pipelines and notebooks that are measured."""
