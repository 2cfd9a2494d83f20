"""papermill for local files: imported without the clients of remote stores that it looks for.

With pyarrow alone that takes another 0.15 s, and pyarrow starts threads, which no fork survives. What a task imports
itself is not affected.
"""

import contextlib
import sys
from collections.abc import Iterator

_CLIENTS = ("pyarrow", "boto3", "azure", "gcsfs", "github")
"""Packages that papermill.iorw and what it imports try to import, and do without."""


@contextlib.contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    """In here, importing one of these raises ImportError, unless it has been imported before."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is how the import system marks it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _without(_CLIENTS):
    import papermill
    from papermill.engines import Engine, papermill_engines
    from papermill.translators import PythonTranslator, papermill_translators

__all__ = ["Engine", "PythonTranslator", "papermill", "papermill_engines", "papermill_translators"]
