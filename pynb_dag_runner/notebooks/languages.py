"""Tell in which language a notebook is written: by its metadata, else by the ending of its file."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pynb_dag_runner.processes.import_without import without

with without("tornado", "jupyter_server", "notebook"):  # or Jupytext imports a user's notebook.py for Jupyter's server
    from jupytext.formats import NOTEBOOK_EXTENSIONS
    from jupytext.languages import default_language_from_metadata_and_ext, usual_language_name

PYTHON = "python"

_OTHER_NAMES = {
    **dict.fromkeys(("ipython", "ipython2", "ipython3", "python2", "python3"), PYTHON),
    **dict.fromkeys(("cpp", "cxx"), "c++"),
    **dict.fromkeys(("sh", "shell"), "bash"),
    **dict.fromkeys(("js", "node"), "javascript"),
}
_OF_KERNELS = {
    "ir": "R",
    "xr": "R",
    "sparkrkernel": "R",
    "ijulia": "julia",
    "iruby": "ruby",
    "ruby": "ruby",
    "ijavascript": "javascript",
    "jslab": "javascript",
    "deno": "typescript",
    "tslab": "typescript",
    "xcpp": "c++",
    "almond": "scala",
    "sparkkernel": "scala",
    "gophernotes": "go",
    "gonb": "go",
    "ihaskell": "haskell",
    "sagemath": "sage",
    "pysparkkernel": PYTHON,
}
"""Languages of kernelspecs that are not called like their language."""
_KERNEL_NAME = re.compile(r"(?:\.net-)?([a-z+#]+)[-_ ]?[\d.]*")
"""``julia-1.11``, ``python3``, ``.net-csharp``."""


def usual_name(language: str) -> str:
    """One name for a language that has several: ``R``, any other in lower case."""
    name = str(usual_language_name(language.strip()))
    return _OTHER_NAMES.get(name, name)


def of_notebook(metadata: Mapping[str, Any], suffix: str) -> str:
    """The language of a notebook, as :func:`usual_name` gives it.

    Args:
        metadata: the notebook's.
        suffix: of its file, with the dot. Python is what is left: an .ipynb that says nothing.
    """
    kernelspec, language_info, jupytext = (
        metadata.get(key) or {} for key in ("kernelspec", "language_info", "jupytext")
    )
    found = (
        kernelspec.get("language"),
        language_info.get("name"),
        jupytext.get("main_language"),
        _of_kernel(kernelspec.get("name") or ""),
        _of_suffix(suffix),
    )
    return next((usual_name(name) for name in found if name), PYTHON)


def _of_kernel(name: str) -> str | None:
    """What the name of a kernelspec tells."""
    called = _KERNEL_NAME.fullmatch(name.lower())
    if called is None:
        return None
    word = called[1]
    return _OF_KERNELS.get(word) or (usual_name(word) if usual_name(word) in _of_suffixes() else None)


def _of_suffix(suffix: str) -> str | None:
    return default_language_from_metadata_and_ext({}, suffix) or None


@lru_cache(maxsize=1)
def _of_suffixes() -> frozenset[str]:
    return frozenset(usual_name(name) for suffix in NOTEBOOK_EXTENSIONS if (name := _of_suffix(suffix)))
