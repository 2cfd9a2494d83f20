"""Set environment variables of this process for a while, and put back what was there: a process serves many."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

Variables = Mapping[str, str | None]
"""Values by name; None: it is not set."""


def set_variables(variables: Variables) -> dict[str, str | None]:
    """Set variables, and remove those that are None.

    Returns:
        What they were before, for setting them back.
    """
    before = {name: os.environ.get(name) for name in variables}
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return before


@contextmanager
def environment_with(variables: Variables) -> Iterator[None]:
    """In here the variables are set; afterwards they are what they were."""
    before = set_variables(variables)
    try:
        yield
    finally:
        set_variables(before)
