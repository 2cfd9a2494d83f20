"""Loaded for all tests, those of `ui-dev` included: here, and nowhere below, pytest takes a plugin's name."""

pytest_plugins = ["tests.phases"]
