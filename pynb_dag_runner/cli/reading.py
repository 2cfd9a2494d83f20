"""Spare commands that only read run folders the handling of user code: they run none."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

from pynb_dag_runner.processes.environment import environment_with

_NO_PLUGINS = "PYDANTIC_DISABLE_PLUGINS"


@contextmanager
def only_reading() -> Iterator[None]:
    """Within the context pydantic looks for no plugins; and this process will end without a last search for garbage.

    That search takes an eighth of the time of ``show``. It is left out only here: it also writes the rest of a file
    that a user's module left open in a circle of references. Plugins watch validations: those of a user's program, not
    the reading of a folder, and finding them is a look at every installed distribution.
    """
    atexit.register(gc.freeze)
    with environment_with({_NO_PLUGINS: "__all__"}):
        yield
