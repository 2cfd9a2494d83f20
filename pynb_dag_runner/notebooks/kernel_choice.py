"""Choose the kernelspec in which a notebook runs."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynb_dag_runner.notebooks.kernel_names import OWN
from pynb_dag_runner.notebooks.languages import PYTHON, usual_name

if TYPE_CHECKING:
    from pynb_dag_runner.notebooks.kernelspecs import KernelSpecs

_PACKAGES = {"R": "IRkernel", "bash": "bash_kernel", "julia": "IJulia", "scala": "Almond", "javascript": "IJavascript"}
"""Kernels that people may want to install."""


@dataclass(frozen=True)
class Choice:
    """A kernelspec for a notebook.

    Attributes:
        name: of the kernelspec.
        remark: what its author may not expect of the choice, as a sentence; empty: nothing.
    """

    name: str
    remark: str = ""


def choose(wanted: str | None, metadata: Mapping[str, Any], language: str = PYTHON) -> Choice:
    """The kernelspec to run a notebook in.

    Args:
        wanted: what the task's ``kernel`` option says.
        metadata: the notebook's metadata. The kernelspec that it names counts if it is installed. One that is not is
            no obstacle for a Python notebook: it carries the name of an environment on its author's machine.
        language: the notebook's, see :func:`pynb_dag_runner.notebooks.languages.of_notebook`. In one that is not
            Python, a kernelspec for the language is taken if the notebook names none that is installed.

    Raises:
        LookupError: with a sentence, when there is no kernel for the notebook.
    """
    if wanted is not None:
        if not _installed(wanted):
            raise LookupError(f"there is no kernelspec {wanted!r}; installed are {_names()}")
        return Choice(wanted)
    name = (metadata.get("kernelspec") or {}).get("name")
    if name == OWN or (not name and language == PYTHON):
        return Choice(OWN)
    if name and _installed(name):
        return Choice(name)
    if language == PYTHON:
        return Choice(OWN)
    return _for_language(name, language)


def _for_language(name: str | None, language: str) -> Choice:
    """The first installed kernelspec for a language; the remark says if there was something to choose."""
    others = [other for other in sorted(_specs().find_kernel_specs()) if other != OWN and _runs(other, language)]
    if not others:
        package = f" ({_PACKAGES[language]})" if language in _PACKAGES else ""
        named = f" and names the kernelspec {name!r}" if name else ""
        raise LookupError(
            f"it is written in {language}{named}; no kernel for {language} is installed. Install one{package}, or "
            f"choose another with kernel=; installed are {_names()}"
        )
    chosen = others[0]
    if name:
        return Choice(
            chosen, f"its kernelspec {name!r} is not installed; it runs in {chosen!r}, which is for {language}"
        )
    if len(others) > 1:
        rest = ", ".join(repr(other) for other in others[1:])
        return Choice(chosen, f"it runs in the kernelspec {chosen!r}; for {language} there is also {rest}")
    return Choice(chosen)


def is_own(name: str) -> bool:
    """Whether an installed kernelspec starts the interpreter that runs this code, under whatever name."""
    if name == OWN:
        return True
    command = _specs().get_kernel_spec(name).argv[:1]
    # jupyter_client takes these names for its own interpreter.
    generic = {"python", f"python{sys.version_info.major}", "python{}.{}".format(*sys.version_info[:2])}
    return command in ([sys.executable], *([program] for program in generic))


def language_of(name: str) -> str:
    """The language of an installed kernelspec, as :func:`~pynb_dag_runner.notebooks.languages.usual_name` gives it."""
    return PYTHON if name == OWN else usual_name(_specs().get_kernel_spec(name).language)


def _runs(name: str, language: str) -> bool:
    try:
        return language_of(name) == language
    except Exception:  # noqa: BLE001 - a broken kernelspec of somebody's is none for this notebook
        return False


def _specs() -> "KernelSpecs":
    # With jupyter_client, which takes a tenth of a second to import; most notebooks run in our own interpreter.
    from pynb_dag_runner.notebooks.kernelspecs import KernelSpecs

    return KernelSpecs()


def _installed(name: str) -> bool:
    if name == OWN:
        return True
    specs = _specs()
    from jupyter_client.kernelspec import NoSuchKernel

    try:
        specs.get_kernel_spec(name)
    except NoSuchKernel:
        return False
    return True


def _names() -> str:
    return ", ".join(repr(name) for name in sorted({OWN, *_specs().find_kernel_specs()}))
