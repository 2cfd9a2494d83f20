"""Sending runs: one or many, completed where they were cut off, without duplicates.

It may import source, mapping and the store's protocol; it must not know MLflow, or who asked.
"""
