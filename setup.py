"""Everything is declared in setup.cfg; this file lets older installers, which look for it, find the project."""

from setuptools import setup

setup()
